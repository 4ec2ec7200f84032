"""Forgetting: queued jobs past their limit expire, ended jobs and assets past retention go, and blobs go with the
last asset over them. With a disk budget the oldest ended jobs go before their time, then uploads that nothing needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from gateway import assets, ports
from gateway.domain import errors, model
from gateway.domain.states import JobStatus

_log = structlog.get_logger("gateway.retention")
_PRUNE_BATCH: Final = 500
_REST: Final = 20.0  #: weighing takes at most one part in so many of the time
_UNFINISHED_SECONDS: Final = 10.0  #: a large order that was taken so long ago is queued by nobody any more
_TIDY_SECONDS: Final = 86_400.0  #: between two searches for blobs without a record
_ORPHAN_SECONDS: Final = 86_400.0  #: a blob without a record that was put longer ago is nobody's


@dataclass(slots=True, kw_only=True)
class Tally:
    """What retention did since the start; `held` is None until it was weighed."""

    held: int | None = None  #: bytes of all blobs that have a record
    evicted_jobs: int = 0
    evicted_uploads: int = 0
    evicted_bytes: int = 0
    orphans: int = 0  #: blobs without a record that were deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """The loop that forgets, and that finishes what nobody else will; times in seconds."""

    queue: ports.Queue
    assets: assets.Assets
    bus: ports.Bus
    clock: ports.Clock
    queue_limit: float  #: a job queued for longer is expired
    budget: int | None = None  #: bytes that all blobs together may have
    interval: float = 30.0
    tally: Tally = field(default_factory=Tally)
    monotonic: Callable[[], float] = time.monotonic

    async def run(self) -> None:
        """Forget what is due, for ever."""
        weigh_at = 0.0
        tidy_at = self.monotonic() + self.interval * 10  # not amid all that a start has to do
        while True:
            try:
                await self.sweep()
                if self.budget is not None and (began := self.monotonic()) >= weigh_at:
                    await self.keep_budget(self.budget)
                    weigh_at = began + _REST * (self.monotonic() - began)
                if self.monotonic() >= tidy_at:
                    tidy_at = self.monotonic() + _TIDY_SECONDS
                    await self.tidy()
            except errors.StoreUnavailable as error:
                _log.warning("store_unavailable", reason=error.message)
            await asyncio.sleep(self.interval)

    async def sweep(self) -> None:
        """Forget everything that is due now; queue what a gateway that died, or a full disk, left of large orders."""
        if finished := await self.queue.finish_orders(age=_UNFINISHED_SECONDS):
            _log.info("orders_finished", jobs=finished)
            self.bus.signal(model.WorkQueued())
        now = self.clock()
        for job_id in await self.queue.expire(now=now, queued_before=now - self.queue_limit):
            _log.info("job_expire", job=job_id)
            self.bus.publish(job_id, model.StatusChanged(status=JobStatus.EXPIRED))
        await self._prune(now)

    async def _prune(self, now: float) -> None:
        while unused := await self.queue.prune(now=now, limit=_PRUNE_BATCH):
            await self.assets.discard(unused)
            _log.info("pruned", blobs=len(unused))

    async def keep_budget(self, budget: int) -> None:
        """Evict until all blobs together have no more bytes than this, or nothing is left that may go."""
        held = self.tally.held = await self.queue.weigh()
        while held > budget:
            now = self.clock()
            evicted = await self.queue.evict(now=now, excess=held - budget)
            if not evicted.jobs and not evicted.uploads:
                reason = "what is left belongs to jobs that have not ended or is still to be told of"
                _log.warning("budget_exceeded", bytes=held, budget=budget, reason=reason)
                return
            self._count(evicted)
            _log.warning(
                "evicted",
                jobs=evicted.jobs,
                uploads=evicted.uploads,
                bytes=evicted.bytes,
                reason=f"{held} bytes are kept, the budget is {budget}: the oldest go before their time",
            )
            await self._prune(now)
            held = self.tally.held = await self.queue.weigh()

    def _count(self, evicted: model.Evicted) -> None:
        self.tally.evicted_jobs += evicted.jobs
        self.tally.evicted_uploads += evicted.uploads
        self.tally.evicted_bytes += evicted.bytes

    async def tidy(self) -> None:
        """Delete blobs that no record ever came to: of attempts that died between storing and recording an output."""
        gone = await self.assets.discard_orphans(before=self.clock() - _ORPHAN_SECONDS)
        self.tally.orphans += gone
        if gone:
            _log.info("orphans_deleted", blobs=gone)
