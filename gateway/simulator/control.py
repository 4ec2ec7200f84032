"""The simulator's own routes: scripted faults, and the log of what happened to each prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.simulator import faults, wire, worklog
from gateway.simulator.answers import json_response

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Control:
    """`/simulator/faults` and `/simulator/log`."""

    def __init__(self, name: str, script: faults.Script, log: worklog.WorkLog) -> None:
        self._name = name
        self._script = script
        self._worklog = log
        self.table: dict[str, dict[str, Handler]] = {
            "/simulator/faults": {
                "GET": self._get_faults,
                "POST": self._post_fault,
                "DELETE": self._delete_faults,
            },
            "/simulator/log": {"GET": self._get_log, "DELETE": self._delete_log},
        }

    async def _get_faults(self, request: web.BaseRequest) -> web.Response:
        del request
        return json_response({"faults": self._script.as_json(), "card_is_broken": self._script.card_is_broken})

    async def _post_fault(self, request: web.BaseRequest) -> web.Response:
        try:
            body, _ = wire.loads(await request.read())
            fault = faults.parse(body)
        except (faults.BadFault, ValueError) as complaint:
            return json_response({"error": str(complaint)}, 400)
        asyncio.get_running_loop().call_soon(self._script.add, fault)
        return json_response(fault.as_json(), 201)

    async def _delete_faults(self, request: web.BaseRequest) -> web.Response:
        del request
        self._script.clear()
        return web.Response()

    async def _get_log(self, request: web.BaseRequest) -> web.Response:
        del request
        return json_response({"name": self._name, "prompts": self._worklog.as_json()})

    async def _delete_log(self, request: web.BaseRequest) -> web.Response:
        del request
        self._worklog.clear()
        return web.Response()
