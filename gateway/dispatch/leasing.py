"""Keeping the leases of our workers, and what comes with a new one: attempts that are found open are taken up, and what
was lost or broken there before is remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from gateway import ports
from gateway.dispatch import drive, fleet, watching
from gateway.domain import model
from gateway.domain.states import Outcome

_log = structlog.get_logger("gateway.dispatch")
_LOST_SECONDS: Final = 86_400.0  #: a prompt that was given up longer ago does not show up any more


@dataclass(slots=True, kw_only=True)
class Leasing:
    """`keep` the leases every second or so; they are renewed when a quarter of their time has gone."""

    workers: ports.Workers
    queue: ports.Queue
    fleet: fleet.Fleet
    driver: drive.Driver
    watchdog: watching.Watchdog
    clock: ports.Clock
    start: Callable[[model.Claim], None]  #: take up an attempt that was found open
    owner: str
    seconds: float
    _renewed_at: float = 0.0

    async def keep(self) -> None:
        """Take or renew the leases of all members."""
        members = dict(self.fleet.members)
        now = self.clock()
        fresh = any(member.epoch is None for member in members.values())
        if not members or (not fresh and now - self._renewed_at < self.seconds / 4):
            return
        held = await self.workers.lease(tuple(members), owner=self.owner, seconds=self.seconds)
        self._renewed_at = now
        for worker, member in members.items():
            epoch = held.get(worker)
            member.leased_until = 0.0 if epoch is None else now + self.seconds
            if epoch != member.epoch:
                await self._changed(member, epoch, now)

    async def _changed(self, member: fleet.Member, epoch: int | None, now: float) -> None:
        worker = member.worker.id
        if member.epoch is not None:
            _log.warning("lease_lost", worker=worker)
            await self.driver.drop(member)
        if epoch is not None:
            for claim in await self.queue.open_claims((worker,)):
                _log.info("attempt_found_open", job=claim.job_id, attempt=claim.attempt.id, worker=worker)
                self.start(claim)
            await self._remember(member, now)
        member.epoch = epoch

    async def _remember(self, member: fleet.Member, now: float) -> None:
        """What was lost on this worker before we drove it may still show up there; what broke it may have it still."""
        before = await self.queue.given_up(member.worker.id, since=now - _LOST_SECONDS)
        member.link.suspect(attempt.id for attempt in before if attempt.outcome is Outcome.LOST)
        await self.watchdog.remember(member, before)
