"""Much work for one request, a little at a time, so that everybody else's goes on meanwhile."""

from __future__ import annotations

import asyncio
from typing import Final

SECONDS: Final = 0.0005  #: that one request works at a stretch, about


class Breath:
    """Called between two small pieces of work: gives way to others when it is time."""

    def __init__(self) -> None:
        self._until = asyncio.get_running_loop().time() + SECONDS

    async def __call__(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() >= self._until:
            await asyncio.sleep(0)
            self._until = loop.time() + SECONDS
