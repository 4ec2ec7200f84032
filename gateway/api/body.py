"""Reading request bodies: bounded, parsed once, everything that is wrong told at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar, get_args

import orjson
from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.domain import errors, wording

T = TypeVar("T", bound="RequestBody")


class RequestBody(BaseModel):
    """Base of all JSON request bodies: strict types, closed objects."""

    model_config = ConfigDict(extra="forbid", strict=True)

    #: Keys that mean something elsewhere, with what to do instead.
    reserved: ClassVar[Mapping[str, str]] = {}
    #: What is said of a key that is like none of ours.
    otherwise: ClassVar[str] = ""


async def read(request: Request, *, limit: int) -> bytes:
    """The request's body; PayloadTooLarge beyond `limit`, whatever its Content-Length claims."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limit: int) -> errors.PayloadTooLarge:
    return errors.PayloadTooLarge(f"the body is larger than {limit} bytes", details={"limit": limit})


def parse_json(data: bytes) -> Any:
    """Strict JSON: MalformedBody for anything else, NaN, infinite numbers and lone surrogates included."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise errors.MalformedBody(f"the body is not JSON: {error}") from None


async def read_object(request: Request, shape: type[T], *, limit: int) -> T:
    """The body as a `shape`: MalformedBody when it is not JSON, InvalidRequest with every fault otherwise."""
    value = parse_json(await read(request, limit=limit))
    if not isinstance(value, dict):
        raise errors.InvalidRequest(f"the body must be a JSON object, not {_json_type(value)}")
    return validated(shape, value)


async def read_object_if_any(request: Request, shape: type[T], *, limit: int) -> T:
    """As `read_object`; an empty body is an empty object."""
    value = parse_json(await read(request, limit=limit) or b"{}")
    if not isinstance(value, dict):
        raise errors.InvalidRequest("the body must be a JSON object, or empty")
    return validated(shape, value)


def validated(shape: type[T], value: Mapping[str, Any]) -> T:
    """`value` as a `shape`; InvalidRequest with every fault, near misses of unknown keys suggested."""
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        faults = [_fault(problem, shape) for problem in problems]
        raise errors.InvalidRequest("; ".join(fault.message for fault in faults), faults=faults) from None


def _fault(problem: Any, shape: type[RequestBody]) -> errors.Fault:
    place = ".".join(str(part) for part in problem["loc"])[:200]
    if problem["type"] == "extra_forbidden" and place in shape.reserved:
        reason, message = "reserved_field", f"`{place}`: {shape.reserved[place]}"
    elif problem["type"] == "extra_forbidden":
        reason, message = "unknown_field", f"`{place}` is not known here{_suggestion(problem['loc'], shape)}"
    elif problem["type"] == "missing":
        reason, message = "missing_field", f"`{place}` is missing"
    else:
        reason, message = "invalid_value", f"`{place}`: {wording.said(problem)}"
    return errors.Fault(reason=reason, message=message, field=place)


def _suggestion(loc: Sequence[str | int], shape: type[BaseModel]) -> str:
    """The nearest field of the same object."""
    *above, name = map(str, loc)
    holder: type[BaseModel] | None = shape
    for part in above:
        holder = _object_in(holder, part) if holder else None
    close = difflib.get_close_matches(name[:100], holder.model_fields if holder else (), n=1)
    if close:
        return f"; did you mean `{'.'.join((*above, close[0]))}`?"
    return f": {shape.otherwise}" if not above and issubclass(shape, RequestBody) and shape.otherwise else ""


def _object_in(shape: type[BaseModel], name: str) -> type[BaseModel] | None:
    field = shape.model_fields.get(name)
    kinds = (field.annotation, *get_args(field.annotation)) if field else ()
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _json_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "a number"


def documented(
    shape: type[BaseModel], *, example: Mapping[str, Any] | None = None, required: bool = True
) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads its JSON body with `read_object`, or (not `required`) with
    `read_object_if_any`."""
    content: dict[str, Any] = {"schema": _inlined(shape.model_json_schema())}
    if example is not None:
        content["example"] = example
    return {"requestBody": {"required": required, "content": {"application/json": content}}}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema without `$defs`: each reference replaced by what it refers to."""
    definitions: Mapping[str, Any] = schema.pop("$defs", {})

    def resolved(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return resolved(definitions[str(part["$ref"]).rpartition("/")[2]])
            return {key: resolved(value) for key, value in part.items()}
        if isinstance(part, list):
            return [resolved(item) for item in part]
        return part

    return resolved(schema)
