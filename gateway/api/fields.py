"""What several kinds of orders have in common: metadata, priority, Idempotency-Key, Prefer, ids."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Request
from pydantic import Field, WithJsonSchema

from gateway.domain import errors

MAX_PAIRS = 16
MAX_VALUE_BYTES = 256
PRIORITIES = (-100, 100)

_KEY = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_WAIT = re.compile(r"wait=(\d{1,9}(?:\.\d{1,9})?)")
_PRINTABLE = re.compile(r"[ -~]{1,255}")

#: Fields of request bodies. Metadata is checked by `metadata`, whose error code is the contract's own.
Metadata = Annotated[
    Any,
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": MAX_PAIRS,
            "propertyNames": {"pattern": "^[A-Za-z0-9_.-]{1,40}$"},
            "additionalProperties": {"type": "string", "maxLength": MAX_VALUE_BYTES},
            "description": "String labels, kept with the job and matched by lists. Values up to 256 bytes.",
        }
    ),
]
EXPIRES_IN = (60, 10 * 365 * 86400)
ExpiresIn = Annotated[
    int,
    Field(
        ge=EXPIRES_IN[0],
        le=EXPIRES_IN[1],
        description="Seconds to keep the job and its outputs, from now; default: the template's, else the gateway's.",
    ),
]
LONGEST_DEADLINE_MS = 30 * 86_400_000
DeadlineMs = Annotated[
    int,
    Field(
        ge=1,
        le=LONGEST_DEADLINE_MS,
        description="Milliseconds from now by which it has to be done. Refused at once (`deadline_too_soon`) when the "
        "estimate is later; a job that no worker has begun by then expires.",
    ),
]
Priority = Annotated[int, Field(ge=PRIORITIES[0], le=PRIORITIES[1], description="Higher goes first; default 0.")]


def metadata(value: object) -> Mapping[str, str]:
    """`value` as metadata; InvalidMetadata naming every pair that breaks a rule."""
    if not isinstance(value, dict):
        raise errors.InvalidMetadata("metadata must be an object of strings")
    if len(value) > MAX_PAIRS:
        raise errors.InvalidMetadata(f"metadata has {len(value)} pairs, at most {MAX_PAIRS} are kept")
    faults = [fault for key, text in value.items() if (fault := _metadata_fault(key, text)) is not None]
    if faults:
        raise errors.InvalidMetadata("; ".join(fault.message for fault in faults), faults=faults)
    return value


def _metadata_fault(key: str, value: object) -> errors.Fault | None:
    place = f"metadata.{key[:60]}"
    if not _KEY.fullmatch(key):
        message = f"the metadata key {key[:60]!r} is not 1 to 40 of A-Za-z0-9_-."
    elif not isinstance(value, str):
        message = f"the metadata value of {key!r} is not a string"
    elif len(value.encode()) > MAX_VALUE_BYTES:
        message = f"the metadata value of {key!r} has more than {MAX_VALUE_BYTES} bytes"
    elif "\0" in value:
        message = f"the metadata value of {key!r} holds a NUL"
    else:
        return None
    return errors.Fault(reason="invalid_metadata", message=message, field=place)


_KEY_MEANING = (
    "Single-use for 24 hours: a second request with the same key is refused with 422 `idempotency_key_reuse` and never "
    "executed. 1 to 255 printable ASCII characters."
)
#: How a route documents the header that `idempotency_key_of` reads.
IDEMPOTENCY_KEY: Mapping[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": f"^{_PRINTABLE.pattern}$"},
    "description": _KEY_MEANING,
}
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description=_KEY_MEANING,
        json_schema_extra={"pattern": f"^{_PRINTABLE.pattern}$"},
    ),
]


def idempotency_key(key: str | None) -> str | None:
    """The key, if it is one; InvalidRequest."""
    if key is not None and not _PRINTABLE.fullmatch(key):
        fault = errors.Fault(
            reason="invalid_value", message="1 to 255 printable ASCII characters", field="header.Idempotency-Key"
        )
        raise errors.InvalidRequest("the Idempotency-Key is not 1 to 255 printable ASCII characters", faults=[fault])
    return key


def idempotency_key_of(request: Request) -> str | None:
    """The request's key; InvalidRequest."""
    return idempotency_key(request.headers.get("idempotency-key"))


async def _idempotency_key(key: IdempotencyKey = None) -> str | None:
    return idempotency_key(key)


IdempotencyKeyDep = Annotated[str | None, Depends(_idempotency_key)]


def prefer_wait(request: Request, *, longest: float) -> float | None:
    """The seconds of `Prefer: wait=N`, capped; None without one. What cannot be read is ignored (RFC 7240)."""
    for header in request.headers.getlist("prefer"):
        for preference in re.split(r"[,;]", header.lower()):
            found = _WAIT.fullmatch(preference.replace(" ", "").replace('"', ""))
            if found:
                return min(float(found[1]), longest)
    return None


def wants_image(request: Request) -> bool:
    """Whether the client asked for a picture rather than for JSON."""
    return request.headers.get("accept", "").strip().lower().startswith("image/")


def seconds(milliseconds: int | None) -> float | None:
    """The same in seconds."""
    return None if milliseconds is None else milliseconds / 1000


def uuid_or_missing(raw: str, *, what: str) -> str:
    """An id from a path, in the form we store; NotFound for anything that cannot be one."""
    try:
        return str(uuid.UUID(raw)) if len(raw) == 36 else _missing(what)
    except ValueError:
        return _missing(what)


def _missing(what: str) -> str:
    raise errors.NotFound(f"there is no such {what}")


def _id_in_path(description: str, example: str) -> dict[str, Any]:
    """How a plain route documents the `{id}` in its path."""
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "description": description,
        "example": example,
    }


_JOB = ("The job's id.", "7f3d2c1b-9a8e-4d6f-b012-3c4d5e6f7a8b")
_ASSET = ("The asset's id.", "9f8a1c0d-2b3e-4f56-8a7b-1c2d3e4f5a6b")
JOB_ID: Mapping[str, Any] = _id_in_path(*_JOB)
ASSET_ID: Mapping[str, Any] = _id_in_path(*_ASSET)
JobId = Annotated[str, Path(description=_JOB[0], examples=[_JOB[1]])]


async def _asset_id(
    id: Annotated[str, Path(description=_ASSET[0], examples=[_ASSET[1]])],  # noqa: A002
) -> str:
    return uuid_or_missing(id, what="asset")


AssetIdDep = Annotated[str, Depends(_asset_id)]
