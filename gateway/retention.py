"""Forgetting: queued jobs past their limit expire, ended jobs and assets past retention go, and blobs go with the
last asset over them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

from gateway import assets, ports
from gateway.domain import errors, model
from gateway.domain.states import JobStatus

_log = structlog.get_logger("gateway.retention")
_PRUNE_BATCH: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """The loop that forgets; times in seconds."""

    queue: ports.Queue
    assets: assets.Assets
    bus: ports.Bus
    clock: ports.Clock
    queue_limit: float  #: a job queued for longer is expired
    interval: float = 30.0

    async def run(self) -> None:
        """Forget what is due, for ever."""
        while True:
            try:
                await self.sweep()
            except errors.StoreUnavailable as error:
                _log.warning("store_unavailable", reason=error.message)
            await asyncio.sleep(self.interval)

    async def sweep(self) -> None:
        """Forget everything that is due now."""
        now = self.clock()
        for job_id in await self.queue.expire(now=now, queued_before=now - self.queue_limit):
            _log.info("job_expire", job=job_id)
            self.bus.publish(job_id, model.StatusChanged(status=JobStatus.EXPIRED))
        while unused := await self.queue.prune(now=now, limit=_PRUNE_BATCH):
            await self.assets.discard(unused)
            _log.info("pruned", blobs=len(unused))
