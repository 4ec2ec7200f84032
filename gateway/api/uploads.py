"""Reading an uploaded file with what is said about it, and minting the asset."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from fastapi import Request
from pydantic import Field

from gateway import assets
from gateway.api import multipart, parts
from gateway.assets import names
from gateway.domain import errors, model
from gateway.domain.comfy import structure

EXPIRES_IN: Final = (60, 604_800)
MAX_TAGS: Final = 32
MAX_TAG: Final = 100

Tag = Annotated[str, Field(min_length=1, max_length=MAX_TAG, pattern=r"^[^\x00-\x1f\x7f]+$")]
Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS, description="Category tags, such as `input`.")]

_ONCE: Final = ("file_path", "content_type", "expected_hash", "expires_in")
_KNOWN: Final = ("file", "tags", *_ONCE)


@dataclass(slots=True, kw_only=True)
class _Form:
    """What came in so far."""

    received: assets.Received | None = None
    values: dict[str, str] = field(default_factory=dict[str, str])
    tags: list[str] = field(default_factory=list[str])
    faults: list[errors.Fault] = field(default_factory=list[errors.Fault])


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """What the client said about its file, checked."""

    file_path: str
    content_type: str
    expected_hash: str | None
    expires_in: int | None


async def read_and_mint(
    request: Request, known: parts.Parts, tenant: model.TenantId, *, idempotency_key: str | None
) -> assets.Minted:
    """The asset that a multipart body makes; every fault at once, and nothing kept when there is one."""
    form = _Form()
    try:
        await _read(request, known, form)
        received, about = _checked(form)
        return await known.assets.mint(
            tenant,
            received,
            file_path=about.file_path,
            content_type=about.content_type,
            tags=form.tags,
            expires_in=about.expires_in,
            expected_hash=about.expected_hash,
            idempotency_key=idempotency_key,
        )
    except BaseException:
        if form.received is not None:
            await known.assets.discard([form.received.hash])
        raise


async def _read(request: Request, known: parts.Parts, form: _Form) -> None:
    limit = known.limits.upload
    reader = multipart.Reader(request, limit=limit + multipart.OVERHEAD)
    while (part := await reader.next_part()) is not None:
        if part.name == "file":
            if form.received is not None:
                form.faults.append(fault("file", "repeated_field", "is there twice; upload one file at a time"))
                continue
            await known.assets.space.require()
            form.received = await known.assets.receive(reader.chunks(), limit=limit)
        elif part.name == "tags":
            form.tags.append(await reader.text(part))
        elif part.name not in _ONCE:
            form.faults.append(_unknown(part.name))
        elif part.name in form.values:
            form.faults.append(fault(part.name, "repeated_field", "is there twice"))
        else:
            form.values[part.name] = await reader.text(part)


def _unknown(name: str) -> errors.Fault:
    shown = structure.shown_text(name)
    near = difflib.get_close_matches(name[:100], _KNOWN, n=1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    return errors.Fault(reason="unknown_field", message=f"`{shown}` is not known here{hint}", field=shown)


def _checked(form: _Form) -> tuple[assets.Received, _About]:
    """The file and what was said about it; InvalidRequest with every fault."""
    faults = [*form.faults]
    if form.received is None:
        faults.append(fault("file", "missing_field", "is missing"))
    path = _given(form, "file_path", faults)
    if path is not None and (complaint := names.path_complaint(path)) is not None:
        faults.append(fault("file_path", "invalid_file_path", complaint))
    declared = _given(form, "content_type", faults)
    media_type = names.media_type(declared) if declared is not None else None
    if declared is not None and media_type is None:
        faults.append(fault("content_type", "invalid_content_type", "is no media type, such as image/png"))
    expected = _expected_hash(form.values.get("expected_hash"), faults)
    seconds = _seconds(form.values.get("expires_in"), faults)
    faults.extend(_tag_faults(form.tags))
    if faults or form.received is None or path is None or media_type is None:
        raise refusal(faults)
    return form.received, _About(file_path=path, content_type=media_type, expected_hash=expected, expires_in=seconds)


def _given(form: _Form, name: str, faults: list[errors.Fault]) -> str | None:
    if name not in form.values:
        faults.append(fault(name, "missing_field", "is missing"))
    return form.values.get(name)


def _expected_hash(text: str | None, faults: list[errors.Fault]) -> str | None:
    found = None if text is None else names.content_hash(text)
    if text is not None and found is None:
        faults.append(fault("expected_hash", "invalid_hash", "is written blake3: and 64 hex digits"))
    return found


def _seconds(text: str | None, faults: list[errors.Fault]) -> int | None:
    if text is None:
        return None
    plain = text.strip()
    shortest, longest = EXPIRES_IN
    if plain.isascii() and plain.isdecimal() and len(plain) <= 9 and shortest <= int(plain) <= longest:
        return int(plain)
    faults.append(fault("expires_in", "invalid_value", f"is a number of seconds from {shortest} to {longest}"))
    return None


def _tag_faults(tags: Sequence[str]) -> list[errors.Fault]:
    if len(tags) > MAX_TAGS:
        return [fault("tags", "too_many", f"are more than {MAX_TAGS}")]
    good = all(0 < len(tag) <= MAX_TAG and tag.isprintable() for tag in tags)
    return [] if good else [fault("tags", "invalid_value", f"are 1 to {MAX_TAG} printable characters each")]


def fault(name: str, reason: str, complaint: str) -> errors.Fault:
    """A fault of one field; `complaint` continues the sentence that its name begins."""
    return errors.Fault(reason=reason, message=f"`{name}` {complaint}", field=name)


def refusal(faults: Sequence[errors.Fault]) -> errors.InvalidRequest:
    """All faults as one error."""
    return errors.InvalidRequest("; ".join(each.message for each in faults), faults=faults)


def documented() -> Mapping[str, Any]:
    """The upload's request body for the API document."""
    properties = {
        "file": {"type": "string", "format": "binary", "description": "The raw bytes."},
        "content_type": {"type": "string", "example": "image/png"},
        "file_path": {
            "type": "string",
            "maxLength": names.MAX_PATH_BYTES,
            "description": "Where it belongs: a relative path without `..`. A workflow may name the file by it.",
            "example": "photo.png",
        },
        "expected_hash": {
            "type": "string",
            "description": "`blake3:<64 hex digits>`, verified: 409 `hash_mismatch`, and nothing is kept.",
        },
        "tags": {"type": "array", "maxItems": MAX_TAGS, "items": {"type": "string", "maxLength": MAX_TAG}},
        "expires_in": {
            "type": "integer",
            "minimum": EXPIRES_IN[0],
            "maximum": EXPIRES_IN[1],
            "description": "Seconds to keep it, in place of the gateway's default.",
        },
    }
    schema = {"type": "object", "required": ["file", "content_type", "file_path"], "properties": properties}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
