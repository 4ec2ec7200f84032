"""Looking at pictures before a worker does: each content once, and few at a time, since a look takes memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from gateway import assets
from gateway.domain import errors, model
from gateway.submission.recent import Recent

Probe = Callable[[bytes], object]  #: raises InvalidInputs; slow, called in a thread

_AT_ONCE: Final = 2


class Pictures:
    """Tells what is wrong with pictures."""

    def __init__(self, library: assets.Assets, *, probe: Probe, bomb_probe: Probe, max_bytes: int) -> None:
        """`probe` refuses what is no sound picture; `bomb_probe` only what is far too large once it is unpacked."""
        self._library = library
        self._probe = probe
        self._bomb_probe = bomb_probe
        self._max_bytes = max_bytes
        self._sound = Recent[str, bool]()  #: hashes and digests of what `probe` has passed
        self._harmless = Recent[str, bool]()  #: hashes of what `bomb_probe` has passed
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def faults_of_bytes(self, key: str, data: bytes) -> Sequence[errors.Fault]:
        """What is wrong with these bytes as a picture; `key` names their content."""
        if self._sound.get(key):
            return ()
        return await self._faults(self._probe, self._sound, key, data)

    async def faults_of_asset(self, asset: model.Asset) -> Sequence[errors.Fault]:
        """What is wrong with this asset as a picture."""
        if self._sound.get(asset.hash):
            return ()
        if asset.size_bytes > self._max_bytes:
            message = f"The picture has more than {self._max_bytes} bytes."
            return (errors.Fault(reason="too_large", message=message),)
        return await self._faults(self._probe, self._sound, asset.hash, await self._read(asset))

    async def dangers_of_asset(self, asset: model.Asset) -> Sequence[errors.Fault]:
        """Whether this asset is a picture that would fill a worker's memory. What cannot be told may pass: workers
        know more kinds of files than we do."""
        if self._harmless.get(asset.hash) or self._sound.get(asset.hash) or asset.size_bytes > self._max_bytes:
            return ()
        return await self._faults(self._bomb_probe, self._harmless, asset.hash, await self._read(asset))

    async def _read(self, asset: model.Asset) -> bytes:
        return b"".join([chunk async for chunk in self._library.chunks(asset)])

    async def _faults(self, probe: Probe, passed: Recent[str, bool], key: str, data: bytes) -> Sequence[errors.Fault]:
        async with self._gate:
            try:
                await asyncio.to_thread(probe, data)
            except errors.InvalidInputs as error:
                return error.faults
        passed.put(key, True)
        return ()
