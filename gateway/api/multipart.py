"""multipart/form-data, part by part as it arrives: a file goes where the caller sends it, not to memory or a spool."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from fastapi import Request
from python_multipart import exceptions, multipart

from gateway.domain import errors

MAX_PARTS: Final = 200
MAX_TEXT: Final = 64 * 1024  #: bytes of a part that is read as text
OVERHEAD: Final = 1024 * 1024  #: for boundaries, headers and text beside the files


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part's headers. `content_type` and `filename` are what the client said."""

    name: str
    filename: str | None
    content_type: str | None


def is_multipart(request: Request) -> bool:
    """Whether the body claims to be multipart/form-data."""
    kind, _ = multipart.parse_options_header(request.headers.get("content-type"))
    return kind == b"multipart/form-data"


class Reader:
    """Reads a body once: `next_part`, then `chunks` or `text` of that part, and again until None."""

    def __init__(self, request: Request, *, limit: int) -> None:
        """`limit`: bytes of the whole body; PayloadTooLarge beyond it."""
        self._limit = limit
        _refuse_declared(request, limit)
        self._stream = request.stream()
        self._size = 0
        self._ended = False
        self._count = 0
        self._headers: dict[str, str] = {}
        self._header_name = bytearray()
        self._header_value = bytearray()
        #: A Part begins, bytes belong to it, None ends it.
        self._events: deque[Part | bytes | None] = deque()
        self._parser = self._new_parser(_boundary(request))

    def _new_parser(self, boundary: bytes) -> multipart.MultipartParser:
        callbacks: multipart.MultipartCallbacks = {
            "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
            "on_header_end": self._header_ended,
            "on_headers_finished": self._part_began,
            "on_part_data": lambda data, start, end: self._events.append(data[start:end]),
            "on_part_end": lambda: self._events.append(None),
            "on_end": self._body_ended,
        }
        try:
            return multipart.MultipartParser(boundary, callbacks)
        except exceptions.FormParserError as error:
            raise _malformed(str(error)) from None

    def _header_ended(self) -> None:
        name = self._header_name.decode("latin-1").lower()
        self._headers[name] = self._header_value.decode("utf-8", "replace")
        self._header_name.clear()
        self._header_value.clear()

    def _part_began(self) -> None:
        headers, self._headers = self._headers, {}
        kind, options = _disposition(headers.get("content-disposition", ""))
        name = options.get("name")
        if kind != "form-data" or name is None:
            raise _malformed("a part has no name")
        self._count += 1
        if self._count > MAX_PARTS:
            raise _malformed(f"there are more than {MAX_PARTS} parts")
        part = Part(name=name, filename=options.get("filename"), content_type=headers.get("content-type"))
        self._events.append(part)

    def _body_ended(self) -> None:
        self._ended = True

    async def next_part(self) -> Part | None:
        """The next part, what is left of the one before skipped; None after the last."""
        while True:
            event = await self._next_event()
            if event is _End or isinstance(event, Part):
                return event if isinstance(event, Part) else None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes of the part that `next_part` returned."""
        while isinstance(event := await self._next_event(), bytes):
            yield event

    async def text(self, part: Part) -> str:
        """The part's bytes as text; InvalidRequest when they are too many or no UTF-8."""
        data = bytearray()
        async for chunk in self.chunks():
            data += chunk
            if len(data) > MAX_TEXT:
                raise _refused(part.name, "too_large", f"holds more than {MAX_TEXT} bytes")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise _refused(part.name, "invalid_text", "is not UTF-8") from None

    async def _next_event(self) -> Part | bytes | type[_End] | None:
        while not self._events:
            chunk = await anext(self._stream, b"")
            if not chunk:
                if self._ended:
                    return _End
                raise _malformed("it ends before its closing boundary")
            self._size += len(chunk)
            if self._size > self._limit:
                raise _too_large(self._limit)
            self._parse(chunk)
        return self._events.popleft()

    def _parse(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except exceptions.FormParserError as error:
            raise _malformed(str(error)) from None


class _End:
    """After the last part."""


def _boundary(request: Request) -> bytes:
    if not is_multipart(request):
        raise errors.MalformedBody("send the body as multipart/form-data")
    _, options = multipart.parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if not boundary:
        raise _malformed("its Content-Type names no boundary")
    return boundary


def _disposition(header: str) -> tuple[str, dict[str, str]]:
    try:
        kind, options = multipart.parse_options_header(header.encode().decode("latin-1"))
        return kind.decode(), {key.decode(): value.decode("utf-8", "replace") for key, value in options.items()}
    except UnicodeDecodeError:
        return "", {}


def _refuse_declared(request: Request, limit: int) -> None:
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> errors.PayloadTooLarge:
    return errors.PayloadTooLarge(f"the body is larger than {limit} bytes", details={"limit": limit})


def _malformed(why: str) -> errors.MalformedBody:
    return errors.MalformedBody(f"the body is not multipart/form-data: {why}")


def _refused(name: str, reason: str, complaint: str) -> errors.InvalidRequest:
    fault = errors.Fault(reason=reason, message=f"`{name}` {complaint}", field=name)
    return errors.InvalidRequest(fault.message, faults=[fault])
