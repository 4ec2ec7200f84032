"""What POST /prompt makes of a body: an entry for the queue, or a refusal in ComfyUI's words."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

from aiohttp import web

from gateway.simulator.answers import json_response
from gateway.simulator.options import Options
from gateway.simulator.prompt_queue import SENSITIVE, Entry
from gateway.simulator.validation import Validator

#: The only form of an id that 0.33 takes.
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Acceptance:
    """Numbers, ids, validation: all that happens before a prompt is queued."""

    def __init__(self, options: Options, validator: Validator) -> None:
        self._options = options
        self._validator = validator
        self._number = 0

    def accept(self, body: Any) -> tuple[Entry | None, web.Response]:
        """Judge a posted body: an entry to be queued, or none, and the answer."""
        number = self._draw_number(body)
        if "prompt" not in body:
            text = "No prompt provided"
            return None, _refuse({"type": "no_prompt", "message": text, "details": text, "extra_info": {}})
        prompt = body["prompt"]
        prompt_id = self._prompt_id(body)
        if prompt_id is None:
            return None, _refuse(
                {
                    "type": "invalid_prompt_id",
                    "message": "prompt_id must be a valid UUID",
                    "details": (
                        "prompt_id must be a UUID string in canonical lowercase hyphenated form; "
                        "omit it to let the server generate one"
                    ),
                    "extra_info": {},
                }
            )
        verdict = self._validator.check(prompt, body.get("partial_execution_targets"))
        extra_data = body.get("extra_data", {})
        if "client_id" in body:
            extra_data["client_id"] = body["client_id"]
        if verdict.error is not None:
            return None, _refuse(verdict.error, verdict.node_errors)
        sensitive: dict[str, Any] = {}
        if self._options.is_new:
            sensitive = {name: extra_data.pop(name) for name in SENSITIVE if name in extra_data}
            extra_data["create_time"] = int(time.time() * 1000)
        else:
            extra_data.get("client_id")
        entry = Entry(
            number=number,
            prompt_id=prompt_id,
            prompt=prompt,
            extra_data=extra_data,
            outputs=verdict.outputs,
            sensitive=sensitive,
        )
        answer = {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}
        return entry, json_response(answer)

    def _draw_number(self, body: Any) -> float:
        if "number" in body:
            return float(body["number"])
        number = self._number
        if "front" in body and body["front"]:  # noqa: RUF019 - the body may be a list
            number = -number
        self._number += 1
        return number

    def _prompt_id(self, body: Any) -> str | None:
        if not self._options.is_new:
            return str(body.get("prompt_id", uuid.uuid4()))
        given = body.get("prompt_id")
        if given is None:
            return str(uuid.uuid4())
        return given if isinstance(given, str) and UUID.fullmatch(given) else None


def _refuse(error: dict[str, Any], node_errors: dict[str, Any] | None = None) -> web.Response:
    return json_response({"error": error, "node_errors": node_errors or {}}, 400)
