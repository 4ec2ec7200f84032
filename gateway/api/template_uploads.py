"""A template as a request body: JSON, a form with files, or the very file that ComfyUI saved."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final

import orjson
from fastapi import Request
from pydantic import Field

from gateway.api import body, multipart
from gateway.domain import errors
from gateway.domain.embedded import reading

MAX_FILE: Final = 50 * 2**20  #: of a workflow, or the picture or film that carries one
MAX_SIDECAR: Final = 2**20
MAX_DEFAULTS: Final = 100 * 2**20  #: of the default files together
_NAME, _WORKFLOW, _SIDECAR, _FILES = "name", "workflow", "sidecar", "files"


class TemplateUpload(body.RequestBody):
    """A template: its workflow, in either of ComfyUI's formats, and what its sidecar says."""

    name: str | None = Field(default=None, max_length=64, description="Of POST; PUT has it in the path.")
    workflow: dict[str, Any] = Field(description="As `Export (API)` or `Save` writes it.")
    sidecar: dict[str, Any] | str | None = Field(
        default=None, description="What NAME.toml says, as TOML text or as an object."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What came in."""

    name: str | None
    workflow: object
    text: str = ""  #: the sidecar's
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


async def read(request: Request) -> Upload:
    """The template in this body; MalformedBody, InvalidRequest, TemplateError, PayloadTooLarge."""
    if multipart.is_multipart(request):
        return await _form(request)
    data = await body.read(request, limit=MAX_FILE)
    if reading.container_of(data) is not None:
        return Upload(name=None, workflow=await _workflow(data, "the file"))
    value = await asyncio.to_thread(body.parse_json, data)
    if not isinstance(value, dict) or not _is_wrapped(value):
        return Upload(name=None, workflow=value)
    shape = body.validated(TemplateUpload, value)
    return Upload(name=shape.name, workflow=shape.workflow, text=_text(shape.sidecar))


def _is_wrapped(value: Mapping[str, Any]) -> bool:
    """Whether this is an upload, not a workflow itself: one in API format has nodes, the editor's has `nodes`."""
    if isinstance(value.get("nodes"), list):
        return False
    return not any(isinstance(node, dict) and "class_type" in node for node in value.values())


def _text(sidecar: dict[str, Any] | str | None) -> str:
    if isinstance(sidecar, dict):
        return orjson.dumps(sidecar, option=orjson.OPT_SORT_KEYS).decode() if sidecar else ""
    return sidecar or ""


async def _form(request: Request) -> Upload:
    reader = multipart.Reader(request, limit=MAX_FILE + MAX_DEFAULTS + multipart.OVERHEAD)
    name: str | None = None
    workflow: object = None
    text = ""
    files: dict[str, bytes] = {}
    while (part := await reader.next_part()) is not None:
        if part.name == _NAME:
            name = (await reader.text(part)).strip()
        elif part.name == _WORKFLOW:
            file = part.filename or "the workflow"
            workflow = await _workflow(await _bytes(reader, part.name, MAX_FILE), file)
            name = name or (PurePath(part.filename).stem if part.filename else None)
        elif part.name == _SIDECAR:
            text = _utf8(await _bytes(reader, part.name, MAX_SIDECAR))
        elif part.name == _FILES and part.filename:
            files[part.filename] = await _bytes(reader, part.filename, MAX_FILE)
        else:
            raise _refused(part.name, "unknown_field", "is not known here: send name, workflow, sidecar and files")
    if workflow is None:
        raise _refused(_WORKFLOW, "missing_field", "is missing: the file that ComfyUI saved")
    return Upload(name=name, workflow=workflow, text=text, files=files)


async def _bytes(reader: multipart.Reader, name: str, limit: int) -> bytes:
    data = bytearray()
    async for chunk in reader.chunks():
        data += chunk
        if len(data) > limit:
            raise errors.PayloadTooLarge(f"`{name[:80]}` is larger than {limit} bytes", details={"limit": limit})
    return bytes(data)


async def _workflow(data: bytes, file: str) -> object:
    try:
        return await asyncio.to_thread(reading.read_workflow, data, source=PurePath(file).name[:80])
    except errors.InvalidRequest as error:
        raise errors.TemplateError(error.message, faults=error.faults) from None


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _refused(_SIDECAR, "invalid_text", "is not UTF-8") from None


def _refused(name: str, reason: str, complaint: str) -> errors.InvalidRequest:
    fault = errors.Fault(reason=reason, message=f"`{name[:80]}` {complaint}", field=name[:80])
    return errors.InvalidRequest(fault.message, faults=[fault])
