"""Reading an event stream, frame by frame."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import orjson


@dataclass(frozen=True, slots=True)
class Frame:
    """An event, or a comment (`name` is empty)."""

    name: str
    data: Any


async def frames(response: httpx.Response) -> AsyncIterator[Frame]:
    """The frames of a stream until it ends."""
    name = ""
    async for line in response.aiter_lines():
        if line.startswith(":"):
            yield Frame("", line[1:].strip())
        elif line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield Frame(name, orjson.loads(line.removeprefix("data: ")))
