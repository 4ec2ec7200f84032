"""The Queue port: what dispatch and retention do with jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from gateway import ports
from gateway.adapters.store import (
    canceling,
    claims,
    evicting,
    known,
    owing,
    pausing,
    retention,
    rows,
    settling,
    slices,
    units,
    windows,
)
from gateway.domain import errors, model, pauses
from gateway.domain.comfy.graph import Requirements

_log = structlog.get_logger("gateway.store")
_NOTHING: Final = model.Claimed(claims=(), waiting=True)  #: for all we know
EXPIRE_AT_ONCE: Final = 500  #: jobs expired in one transaction


class Queue:
    """`ports.Queue` over SQL. `boot` names this opening of the store: what it holds, no other may write about."""

    def __init__(
        self,
        run: units.Units,
        known_requirements: known.Known,
        bell: owing.Bell,
        paused: pausing.Pauses,
        *,
        boot: str,
        clock: ports.Clock,
    ) -> None:
        self._run = run
        self._pauses = paused
        self._known = known_requirements
        self._bell = bell
        self._boot = boot
        self._clock = clock
        self._seen = windows.Seen()
        self._owners = claims.Owners()

    async def requirements(self) -> Mapping[str, Requirements]:
        """Requirement keys that queued and running jobs have, with their meaning; at most a second old."""
        now = self._clock()
        if not self._known.fresh(now):
            await self._run.read(lambda tx: self._known.read(tx, now=now))
        return self._known.all

    async def pauses(self) -> pauses.Pauses:
        """What takes nothing new."""
        return await self._pauses.all()

    async def claim(
        self, slots: Sequence[model.Slot], choose: ports.Choose, *, now: float, new_id: ports.NewId
    ) -> model.Claimed:
        """Give queued jobs to idle workers, in one transaction."""
        paused = await self._pauses.all()
        ask = claims.Ask(slots=slots, choose=choose, now=now, new_id=new_id, boot=self._boot, paused=paused)
        claimed = await self._run.write(self._claiming(ask), quick=True)
        self._bell.claimed(claimed.claims)
        return claimed

    def _claiming(self, ask: claims.Ask) -> units.Unit[model.Claimed]:
        return lambda tx: claims.claim(tx, ask, self._seen, self._owners)

    async def submitting(
        self, submit: units.Unit[units.T], offer: Callable[[], ports.Offer | None] | None, *, quick: bool
    ) -> units.T:
        """Run a unit that queues jobs (`quick`: few), and claim for them in the same transaction when there is an
        offer."""
        paused = self._pauses.now  # dispatch asks each second; an order never waits for it
        offered = offer() if offer is not None and paused is not None and self._run.grouped else None
        if offered is None or paused is None:
            return await self._run.write(submit, quick=quick)
        ask = claims.Ask(
            slots=offered.slots,
            choose=offered.choose,
            now=offered.now,
            new_id=offered.new_id,
            boot=self._boot,
            paused=paused,
        )
        try:
            submitted, claimed = self._run.write_together(submit, self._claiming(ask), quick=quick)
        except errors.StoreUnavailable:
            offered.given(_NOTHING)
            raise
        claimed.add_done_callback(lambda done: self._give(done, offered))
        return await submitted

    def _give(self, done: asyncio.Future[model.Claimed], offered: ports.Offer) -> None:
        """If it went wrong, dispatch looks again by itself, and meets the same."""
        error = None if done.cancelled() else done.exception()
        if error is not None:
            _log.warning("claim_failed", reason=str(error))
        claimed = _NOTHING if error is not None or done.cancelled() else done.result()
        offered.given(claimed)
        self._bell.claimed(claimed.claims)

    async def look(self, slots: Sequence[model.Slot], *, now: float) -> Sequence[model.Candidate]:
        """The candidates that placement would see for these places; nothing is claimed."""
        return await self._run.read(lambda tx: claims.look(tx, slots, now=now))

    async def mark_posted(self, attempt: model.AttemptId, *, at: float, node_errors: Mapping[str, object]) -> None:
        """Keep what only the answer to POST told; LeaseLost."""
        told = dict(node_errors) or None
        await self._run.write(
            lambda tx: settling.mark_posted(tx, attempt, at=at, node_errors=told, boot=self._boot), quick=True
        )

    async def add_outputs(
        self, attempt: model.AttemptId, outputs: Sequence[model.NewOutput]
    ) -> tuple[model.Output, ...]:
        """Record outputs of an attempt that still runs; LeaseLost."""
        made, hooked = await self._run.write(
            lambda tx: settling.add_outputs(tx, attempt, outputs, boot=self._boot), quick=True
        )
        if hooked:
            self._bell.ring()
        return made

    async def settle(self, attempt: model.AttemptId, ending: model.Ending) -> model.Job:
        """End an attempt and follow the edge it means for the job; LeaseLost."""
        job = await self._run.write(lambda tx: settling.settle(tx, attempt, ending, boot=self._boot), quick=True)
        self._bell.changed([job])
        return job

    async def open_claims(self, workers: Sequence[model.WorkerId]) -> tuple[model.Claim, ...]:
        """Open attempts on those of these workers whose lease we hold, re-fenced with its epoch."""
        if not workers:
            return ()
        adopted = await self._run.write(lambda tx: claims.adopt(tx, workers, boot=self._boot))
        self._bell.claimed(adopted)
        return adopted

    async def given_up(self, worker: model.WorkerId, *, since: float) -> tuple[model.Attempt, ...]:
        """Attempts on this worker that were lost or broken since then, oldest first."""
        values = {"worker": worker, "since": since}
        found = await self._run.read(lambda tx: tx.execute(settling.GIVEN_UP_ON, values).all())
        return tuple(rows.attempt(row) for row in found)

    async def canceling(self) -> frozenset[model.AttemptId]:
        """Open attempts whose job somebody wants canceled."""
        return frozenset(await self._run.read(lambda tx: tx.execute(canceling.CANCELING).scalars()))

    async def expire(self, *, now: float, queued_before: float | None = None) -> tuple[model.JobId, ...]:
        """Expire jobs that have been queued past their own limit, and those queued since before `queued_before`."""
        overdue = await self._run.read(lambda tx: retention.overdue(tx, now=now, before=queued_before))
        expired: tuple[model.JobId, ...] = ()
        for start in range(0, len(overdue), EXPIRE_AT_ONCE):
            ids = overdue[start : start + EXPIRE_AT_ONCE]
            expired += await self._run.write(lambda tx, ids=ids: retention.expire(tx, ids, now=now))
        return expired

    async def finish_orders(self, *, age: float) -> int:
        """Queue what is left of large orders that were taken; how many jobs."""
        return await slices.finish(self._run, age=age)

    async def weigh(self) -> int:
        """Bytes of all blobs that have a record, each counted once."""
        return int(await self._run.read(lambda tx: tx.execute(evicting.WEIGHT).scalar_one()))

    async def evict(self, *, now: float, excess: int) -> model.Evicted:
        """End the retention of the oldest ended jobs, or else of uploads that nothing needs."""
        return await self._run.write(lambda tx: evicting.evict(tx, now=now, excess=excess))

    async def prune(self, *, now: float, limit: int = 500) -> tuple[str, ...]:
        """Forget what is past retention; returns hashes of blobs that nothing uses now."""
        while True:
            unused, more = await self._run.write(lambda tx: retention.prune(tx, now=now, limit=limit, boot=self._boot))
            if unused or not more:  # to call again says that the bytes are gone, so the caller has to
                return unused
