"""Server-sent events, decoded: bytes in, events out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a stream."""

    name: str
    data: str


class Decoder:
    """Feed it the stream's bytes as they come; comments and fields that we do not use are passed over."""

    def __init__(self) -> None:
        self._rest = b""
        self._after_cr = False
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that these bytes complete."""
        if self._after_cr and chunk.startswith(b"\n"):  # the second half of a line's end
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        lines = (self._rest + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            event = self._line(line.decode("utf-8", "replace"))
            if event is not None:
                yield event

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatched()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        return None

    def _dispatched(self) -> Event | None:
        name, data = self._name, self._data
        self._name, self._data = "", []
        return Event(name=name or "message", data="\n".join(data)) if data else None
