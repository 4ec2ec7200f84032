"""Whose turn it is to claim: the loop's rounds and orders that are claimed for as they are queued take turns.

Both give away the places that are free at that moment; two at a time would give the same ones away twice. An order
never waits for its turn: when it is not free, the loop's next round claims for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Turn:
    """Whose turn it is to claim."""

    _is_free: asyncio.Event = field(default_factory=asyncio.Event)
    _waiting: int = 0

    def __post_init__(self) -> None:
        self._is_free.set()

    @property
    def is_free(self) -> bool:
        """Whether nobody claims right now, or waits to: who waits comes first."""
        return self._is_free.is_set() and not self._waiting

    def take(self) -> None:
        """Take the turn, which is free."""
        self._is_free.clear()

    def release(self) -> None:
        """Let others have it."""
        self._is_free.set()

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncGenerator[None]:
        """The turn, once it is free."""
        self._waiting += 1
        try:
            while not self._is_free.is_set():  # somebody else who waited may have been faster
                await self._is_free.wait()
        finally:
            self._waiting -= 1
        self.take()
        try:
            yield
        finally:
            self.release()
