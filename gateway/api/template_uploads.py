"""A template as a request body: JSON, a form with files, the very file that ComfyUI saved, or a pipeline's TOML."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

import orjson
from fastapi import Request
from pydantic import Field

from gateway.api import body, multipart
from gateway.authoring import editing
from gateway.domain import errors
from gateway.domain.embedded import reading

MAX_FILE: Final = 50 * 2**20  #: of a workflow, or the picture or film that carries one
MAX_SIDECAR: Final = 2**20
MAX_DEFAULTS: Final = 100 * 2**20  #: of the default files together
_NAME, _WORKFLOW, _SIDECAR, _FILES, _PIPELINE = "name", "workflow", "sidecar", "files", "pipeline"
_PIPELINE_END: Final = ".pipeline.toml"  #: of a pipeline's file name
TOML: Final = ("application/toml", "text/toml", "application/x-toml", "text/x-toml")


class TemplateUpload(body.RequestBody):
    """A template: its workflow, in either of ComfyUI's formats, and what its sidecar says; or a pipeline."""

    name: str | None = Field(default=None, max_length=64, description="Of POST; PUT has it in the path.")
    workflow: dict[str, Any] | None = Field(default=None, description="As `Export (API)` or `Save` writes it.")
    sidecar: dict[str, Any] | str | None = Field(
        default=None, description="What NAME.toml says, as TOML text or as an object."
    )
    pipeline: dict[str, Any] | str | None = Field(
        default=None,
        description="In place of `workflow` and `sidecar`: what NAME.pipeline.toml says, as TOML text or as an object.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What came in."""

    name: str | None
    given: editing.Given


async def read(request: Request) -> Upload:
    """The template in this body; MalformedBody, InvalidRequest, TemplateError, PayloadTooLarge."""
    if multipart.is_multipart(request):
        return await _form(request)
    if _kind(request) in TOML:
        data = await body.read(request, limit=MAX_SIDECAR)
        return Upload(name=None, given=editing.Given(pipeline=_utf8(data, "the body")))
    data = await body.read(request, limit=MAX_FILE)
    if reading.container_of(data) is not None:
        return Upload(name=None, given=editing.Given(workflow=await _workflow(data, "the file")))
    value = await asyncio.to_thread(_parsed, data)
    if not isinstance(value, dict) or not _is_wrapped(value):
        return Upload(name=None, given=editing.Given(workflow=value))
    return _wrapped(body.validated(TemplateUpload, value))


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _parsed(data: bytes) -> Any:
    try:
        reading.refuse_large(data, source="the body")
        return body.parse_json(data)
    except errors.InvalidWorkflow as error:
        raise errors.TemplateError(error.message, faults=error.faults) from None
    except errors.MalformedBody as error:
        if b"[[steps]]" not in data:
            raise
        hint = f"A pipeline's TOML is sent as Content-Type: {TOML[0]}."
        raise errors.MalformedBody(f"{error.message}. {hint}") from None


def _wrapped(shape: TemplateUpload) -> Upload:
    if shape.pipeline is not None:
        _refuse_beside_a_pipeline({_WORKFLOW: shape.workflow, _SIDECAR: shape.sidecar})
        return Upload(name=shape.name, given=editing.Given(pipeline=_text(_PIPELINE, shape.pipeline)))
    if shape.workflow is None:
        raise _nothing_sent()
    return Upload(name=shape.name, given=editing.Given(workflow=shape.workflow, text=_text(_SIDECAR, shape.sidecar)))


def _refuse_beside_a_pipeline(parts: Mapping[str, object]) -> None:
    for name, sent in parts.items():
        if sent:
            raise _refused(
                name, "unknown_field", "does not go with a pipeline: send its steps' templates by themselves"
            )


def _nothing_sent() -> errors.InvalidRequest:
    return _refused(_WORKFLOW, "missing_field", "is missing: the file that ComfyUI saved; or else `pipeline`")


def _is_wrapped(value: Mapping[str, Any]) -> bool:
    """Whether this is an upload, not a workflow itself: one in API format has nodes, the editor's has `nodes`."""
    if isinstance(value.get("nodes"), list):
        return False
    return not any(isinstance(node, dict) and "class_type" in node for node in value.values())


def _text(name: str, sent: dict[str, Any] | str | None) -> str:
    """The file's text; PayloadTooLarge."""
    if not sent:
        return ""
    text = orjson.dumps(sent, option=orjson.OPT_SORT_KEYS).decode() if isinstance(sent, dict) else sent
    if len(text) > MAX_SIDECAR or len(text.encode()) > MAX_SIDECAR:
        raise _too_large(name, MAX_SIDECAR)
    return text


async def _form(request: Request) -> Upload:
    reader = multipart.Reader(request, limit=MAX_FILE + MAX_DEFAULTS + multipart.OVERHEAD)
    name: str | None = None
    workflow: object = None
    pipeline: str | None = None
    text = ""
    files: dict[str, bytes] = {}
    while (part := await reader.next_part()) is not None:
        if part.name == _NAME:
            name = (await reader.text(part)).strip()
        elif part.name == _PIPELINE or (part.name == _WORKFLOW and (part.filename or "").endswith(_PIPELINE_END)):
            pipeline = _utf8(await _bytes(reader, part.name, MAX_SIDECAR), part.name)
            name = name or (
                PurePath(part.filename).stem.removesuffix(PurePath(_PIPELINE_END).stem) if part.filename else None
            )
        elif part.name == _WORKFLOW:
            file = part.filename or "the workflow"
            workflow = await _workflow(await _bytes(reader, part.name, MAX_FILE), file)
            name = name or (PurePath(part.filename).stem if part.filename else None)
        elif part.name == _SIDECAR:
            text = _utf8(await _bytes(reader, part.name, MAX_SIDECAR), part.name)
        elif part.name == _FILES and part.filename:
            files[part.filename] = await _bytes(reader, part.filename, MAX_FILE)
        else:
            known = "send name, workflow, sidecar and files, or name and pipeline"
            raise _refused(part.name, "unknown_field", f"is not known here: {known}")
    if pipeline is not None:
        _refuse_beside_a_pipeline({_WORKFLOW: workflow, _SIDECAR: text, _FILES: files})
        return Upload(name=name, given=editing.Given(pipeline=pipeline))
    if workflow is None:
        raise _nothing_sent()
    return Upload(name=name, given=editing.Given(workflow=workflow, text=text, files=files))


async def _bytes(reader: multipart.Reader, name: str, limit: int) -> bytes:
    data = bytearray()
    async for chunk in reader.chunks():
        data += chunk
        if len(data) > limit:
            raise _too_large(name, limit)
    return bytes(data)


def _too_large(name: str, limit: int) -> errors.PayloadTooLarge:
    return errors.PayloadTooLarge(f"`{name[:80]}` is larger than {limit} bytes", details={"limit": limit})


async def _workflow(data: bytes, file: str) -> object:
    try:
        return await asyncio.to_thread(reading.read_workflow, data, source=PurePath(file).name[:80])
    except errors.InvalidRequest as error:
        raise errors.TemplateError(error.message, faults=error.faults) from None


def _utf8(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _refused(name, "invalid_text", "is not UTF-8") from None


def _refused(name: str, reason: str, complaint: str) -> errors.InvalidRequest:
    fault = errors.Fault(reason=reason, message=f"`{name[:80]}` {complaint}", field=name[:80])
    return errors.InvalidRequest(fault.message, faults=[fault])
