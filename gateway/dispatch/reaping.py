"""Attempts on workers that are not here any more: a gateway that came back with fewer, a host that died.

Nobody drives such a worker, so nobody would ever end its attempts. Once its lease has run out (or is our own) we take
the lease, which fences whoever had it, and give the attempts back without spending a try.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog

from gateway import ports
from gateway.domain import errors, model
from gateway.domain.states import Outcome

_log = structlog.get_logger("gateway.dispatch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaper:
    """The loop that looks for them; times in seconds."""

    queue: ports.Queue
    workers: ports.Workers
    bus: ports.Bus
    clock: ports.Clock
    owner: str
    present: Callable[[], Collection[model.WorkerId]]  #: the workers that we drive or try to
    lease: float = 45.0
    interval: float = 30.0

    async def run(self) -> None:
        """Reap for ever. Start it when all workers that are meant to be here are present."""
        while True:
            try:
                await self.sweep()
            except errors.StoreUnavailable as error:
                _log.warning("store_unavailable", reason=error.message)
            await asyncio.sleep(self.interval)

    async def sweep(self) -> None:
        """Give back what is open on workers that are gone."""
        present = self.present()
        gone = [worker.id for worker in await self.workers.all() if worker.id not in present]
        if not gone:
            return
        ours = await self.workers.lease(gone, owner=self.owner, seconds=self.lease)
        for claim in await self.queue.open_claims(tuple(ours)):
            await self._give_back(claim)

    async def _give_back(self, claim: model.Claim) -> None:
        worker = claim.attempt.worker
        reason = f"{worker} is not here any more"
        ending = model.Ending(outcome=Outcome.RELEASED, reason=reason, ended_at=self.clock())
        try:
            job = await self.queue.settle(claim.attempt.id, ending)
        except errors.LeaseLost:  # somebody else was quicker
            return
        _log.info("job_reap", job=job.id, attempt=claim.attempt.id, worker=worker, reason=reason)
        self.bus.publish(job.id, model.StatusChanged(status=job.status))
        self.bus.signal(model.WorkQueued())
