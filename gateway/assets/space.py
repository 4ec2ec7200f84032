"""Whether there is room for more bytes: the brake that keeps a full disk from costing finished work.

Two marks. *Low*: little is left, so new orders and uploads are refused (`queue_full`) while what is queued goes on and
its outputs still fit. *Shut*: a write failed, so nothing new is claimed either, and outputs wait on their workers until
a write succeeds again. Nobody has to restart anything: whoever asks next looks again, at most once a second.
"""

from __future__ import annotations

from typing import Final

import structlog

from gateway import ports
from gateway.domain import errors

LOOK_SECONDS: Final = 1.0  #: how long the last look is believed
RETRY_SECONDS: Final = 15  #: what refused clients are told

_log = structlog.get_logger("gateway.space")


class Space:
    """The room of one blob store. `floor`: bytes that are to stay free on its disk."""

    def __init__(self, blobs: ports.Blobs, *, clock: ports.Clock, floor: int = 0) -> None:
        self._blobs = blobs
        self._clock = clock
        self._floor = floor
        self._looked_at = float("-inf")
        self.shut: str | None = None  #: why nothing can be written
        self.low: str | None = None  #: why nothing more should come in

    def failed(self, reason: str) -> None:
        """A write failed just now."""
        if self.shut is None:
            _log.warning("storage_shut", reason=reason)
        self.shut = reason
        self._looked_at = self._clock()

    async def doubt(self, reason: str) -> bool:
        """A read failed: True when it is the store as a whole that cannot be used."""
        try:
            await self._blobs.check()
        except errors.StoreUnavailable:
            self.failed(reason)
        return self.shut is not None

    async def look(self) -> None:
        """Bring both marks up to date, unless that was done a moment ago."""
        now = self._clock()
        if 0 <= now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now  # one look for all who ask meanwhile
        try:
            if self.shut is not None:
                await self._blobs.check()
            free = await self._blobs.free()
        except errors.StoreUnavailable as error:
            self.failed(error.message)
            return
        self._open()
        self._measure(free)

    def _open(self) -> None:
        if self.shut is not None:
            _log.info("storage_open")
            self.shut = None

    def _measure(self, free: int | None) -> None:
        low = None
        if free is not None and free < self._floor:
            low = f"only {_mib(free)} are free on the disk of the blobs, and {_mib(self._floor)} are to stay free"
        if (low is None) != (self.low is None):
            _log.warning("storage_low", reason=low) if low else _log.info("storage_has_room")
        self.low = low

    async def require(self) -> None:
        """QueueFull when nothing more should come in."""
        await self.look()
        reason = self.shut or self.low
        if reason is not None:
            raise errors.QueueFull(f"Nothing more is taken for now: {reason}", retry_after=RETRY_SECONDS)

    async def is_open(self) -> bool:
        """Whether outputs of what would be run now could be kept."""
        if self.shut is not None:
            await self.look()
        return self.shut is None


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
