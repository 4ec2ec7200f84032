"""Giving queued jobs to idle workers, in one transaction.

Candidates are read in fair order through small windows (see windows.py); jobs of what is paused lie below them (see
pausing.py). Who gets what is the pure function's to say; a job is taken by compare-and-set, and its attempt is written
before anything is sent.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from gateway import ports
from gateway.adapters.store import edges, owing, pausing, rows, schema, statements, windows
from gateway.domain import model, pauses, webhooks
from gateway.domain.costs import sketch as sketches
from gateway.domain.states import Edge, JobStatus

SINKING: Final = 3  #: times that one claim meets jobs of what is paused, at most

_jobs = schema.jobs
_workers = schema.workers
_tenants = schema.tenants
_open = schema.attempts.c.ended_at.is_(None)

#: The workers whose lease this boot holds; locked so that a take-over waits for the claim, and then finds it.
HELD_WORKERS: Final = (
    sa.select(_workers.c.id, _workers.c.lease_epoch)
    .where(_workers.c.id.in_(sa.bindparam("ids", expanding=True)), _workers.c.lease_boot == sa.bindparam("boot"))
    .order_by(_workers.c.id)
    .with_for_update(read=True)
)
_CAPS: Final = (
    sa.select(_tenants.c.id, _tenants.c.max_running)
    .where(_tenants.c.max_running.is_not(None))
    .order_by(_tenants.c.id)
    .with_for_update()
)
_OPEN_JOBS: Final = sa.select(schema.attempts.c.job_id).where(_open)
_TENANTS_OF: Final = sa.select(_jobs.c.id, _jobs.c.tenant).where(_jobs.c.id.in_(sa.bindparam("ids", expanding=True)))
_ADD_ATTEMPTS: Final = sa.insert(schema.attempts)

_CLAIMED: Final = (
    sa.select(
        schema.attempts,
        _jobs.c.tenant,
        _jobs.c.expires_at,
        _jobs.c.template,
        _jobs.c.needs_secret,
        _jobs.c.webhook,
        _jobs.c.status,
        _jobs.c.requirements,
        _jobs.c.size,
        _jobs.c.tries,
        _jobs.c.avoid,
        _jobs.c.room,
        _jobs.c.run_limit,
        _jobs.c.idle_limit,
        _jobs.c.sketch,
        schema.job_graphs.c.graph,
        schema.job_graphs.c.packed,
    )
    .join_from(schema.attempts, _jobs, _jobs.c.id == schema.attempts.c.job_id)
    .join(schema.job_graphs, schema.job_graphs.c.job_id == schema.attempts.c.job_id)
)
_CLAIMED_BY_ID: Final = _CLAIMED.where(schema.attempts.c.id.in_(sa.bindparam("ids", expanding=True)))
_CLAIMED_OPEN: Final = _CLAIMED.where(_open, schema.attempts.c.worker == sa.bindparam("worker")).order_by(
    schema.attempts.c.created_at, schema.attempts.c.id
)
_RECORDED: Final = (
    sa.select(schema.outputs.c.node_id, schema.assets.c.hash)
    .join(schema.assets, schema.assets.c.id == schema.outputs.c.asset_id)
    .where(schema.outputs.c.job_id == sa.bindparam("job_id"), schema.outputs.c.attempt_id == sa.bindparam("attempt"))
)
_REFENCE: Final = (
    sa.update(schema.attempts)
    .where(_open, schema.attempts.c.worker == sa.bindparam("b_worker"))
    .values(epoch=sa.bindparam("epoch"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One call of claim."""

    slots: Sequence[model.Slot]
    choose: ports.Choose
    now: float
    new_id: ports.NewId
    boot: str
    paused: pauses.Pauses = field(default_factory=pauses.Pauses)


class Owners:
    """Whose the open attempts are. A job's tenant never changes, so each is looked up once."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def add(self, job: str, tenant: str) -> None:
        """Take note of a job that was read anyway."""
        self._known[job] = tenant

    def running(self, tx: statements.Transaction) -> Counter[str]:
        """Open attempts by tenant."""
        jobs = tx.execute(_OPEN_JOBS).scalars()
        known = self._known
        for ids in windows.chunks([job for job in jobs if job not in known]):
            known.update((row.id, row.tenant) for row in tx.execute(_TENANTS_OF, {"ids": ids}))
        self._known = {job: known[job] for job in jobs if job in known}
        return Counter(self._known.values())


def claim(tx: statements.Transaction, ask: Ask, seen: windows.Seen, owners: Owners) -> model.Claimed:
    """Claim what `choose` assigns; assignments that lost a race are left out."""
    slots = _held(tx, ask)
    if not slots:
        return model.Claimed(claims=(), waiting=True)  # for all we know
    room = _room(tx, owners)
    found, candidates = _unpaused(tx, ask, slots, room, seen)
    assignments = ask.choose(candidates, slots) if candidates else ()
    by_id = {row.id: row for row in found.rows} if assignments else {}
    by_worker = {slot.worker: slot for slot in slots}
    taken: list[dict[str, Any]] = []
    for assignment in assignments:
        job = by_id[assignment.job_id]
        if room.get(job.tenant, 1) <= 0:
            continue
        attempt = _take(tx, job, by_worker[assignment.worker], reason=assignment.reason, ask=ask)
        if attempt is not None:
            taken.append(attempt)
            if room:  # else nobody asks, and nothing would ever be forgotten
                owners.add(job.id, job.tenant)
            if job.tenant in room:
                room[job.tenant] -= 1
    return model.Claimed(
        claims=_claims(tx, taken), waiting=any(left <= 0 for left in room.values()) or found.due > len(taken)
    )


def _unpaused(
    tx: statements.Transaction, ask: Ask, slots: Sequence[model.Slot], room: Mapping[str, int], seen: windows.Seen
) -> tuple[windows.Windows, Sequence[model.Candidate]]:
    """The windows, and their candidates without those of what is paused; such as came after the pause sink now."""
    for left in reversed(range(SINKING + 1)):
        found = windows.read(tx, slots, now=ask.now, room=room, last=seen)
        candidates = seen.candidates(tx, found.rows)
        if not ask.paused.hold_jobs:
            return found, candidates
        kept = [one for one in candidates if not ask.paused.holds(one.tenant, one.template)]
        if len(kept) == len(candidates) or not left or not pausing.sink(tx):
            return found, kept
    raise AssertionError("the last look returns")


def look(tx: statements.Transaction, slots: Sequence[model.Slot], *, now: float) -> Sequence[model.Candidate]:
    """What a claim for these places would let placement see."""
    seen = windows.Seen()
    return seen.candidates(tx, windows.read(tx, slots, now=now, room={}, last=seen).rows)


def adopt(tx: statements.Transaction, workers: Iterable[model.WorkerId], *, boot: str) -> tuple[model.Claim, ...]:
    """Open attempts on the workers that this boot leases, fenced with the epochs it holds."""
    ids = sorted(workers)
    adopted: list[model.Claim] = []
    for held in tx.execute(HELD_WORKERS, {"ids": ids, "boot": boot}).all():
        tx.execute(_REFENCE, {"b_worker": held.id, "epoch": held.lease_epoch})
        adopted += [_adopted(tx, row) for row in tx.execute(_CLAIMED_OPEN, {"worker": held.id}).all()]
    return tuple(adopted)


def _adopted(tx: statements.Transaction, row: rows.Row) -> model.Claim:
    recorded = tx.execute(_RECORDED, {"job_id": row.job_id, "attempt": row.id})
    outputs = tuple((output.node_id, output.hash) for output in recorded)
    return dataclasses.replace(_claim(row, resumed=True), recorded=outputs)


def _held(tx: statements.Transaction, ask: Ask) -> list[model.Slot]:
    """The slots whose lease is still ours, of workers that are not paused."""
    ids = sorted({slot.worker for slot in ask.slots} - ask.paused.workers)
    if not ids or ask.paused.queue is not None:
        return []
    epochs = {row.id: row.lease_epoch for row in tx.execute(HELD_WORKERS, {"ids": ids, "boot": ask.boot})}
    return [slot for slot in ask.slots if epochs.get(slot.worker) == slot.epoch]


def _room(tx: statements.Transaction, owners: Owners) -> dict[str, int]:
    """How many more jobs each capped tenant may have running; tenants without a cap are absent."""
    caps = {row.id: row.max_running for row in tx.execute(_CAPS)}
    if not caps:
        return {}
    running = owners.running(tx)
    return {tenant: cap - running[tenant] for tenant, cap in caps.items()}


def _take(
    tx: statements.Transaction, job: rows.Row, slot: model.Slot, *, reason: str, ask: Ask
) -> dict[str, Any] | None:
    """Compare-and-set one job; the attempt's row, or None when somebody else was faster."""
    attempt = ask.new_id()
    number = job.attempts + 1
    after = edges.follow(
        tx,
        job.id,
        JobStatus.QUEUED,
        Edge.CLAIM,
        at=ask.now,
        hook=None,  # it is read, and owed, with the claim itself: `_claims`
        data={"attempt": attempt, "worker": slot.worker, "number": number, "reason": reason},
        worker=slot.worker,
        attempt_id=attempt,
        attempts=number,
        started_at=ask.now,
        simulated=slot.simulated,
    )
    if after is None:
        return None
    return {
        "id": attempt,
        "job_id": job.id,
        "worker": slot.worker,
        "epoch": slot.epoch,
        "number": number,
        "created_at": ask.now,
        "client_id": slot.client_id,
    }


def _claims(tx: statements.Transaction, taken: Sequence[Mapping[str, Any]]) -> tuple[model.Claim, ...]:
    if not taken:
        return ()
    tx.execute(_ADD_ATTEMPTS, list(taken))
    ids = [attempt["id"] for attempt in taken]
    found = {row.id: row for row in tx.execute(_CLAIMED_BY_ID, {"ids": ids})}
    for row in found.values():
        owing.owe(tx, row.job_id, row.webhook, webhooks.EventType.STARTED, at=row.created_at)
    return tuple(_claim(found[attempt], resumed=False) for attempt in ids)


def _claim(row: rows.Row, *, resumed: bool) -> model.Claim:
    return model.Claim(
        attempt=rows.attempt(row),
        job_id=row.job_id,
        tenant=row.tenant,
        graph=rows.unpack_graph(row),
        expires_at=row.expires_at,
        template=row.template,
        needs_secret=bool(row.needs_secret),
        webhook=rows.webhook(row.webhook),
        canceling=row.status == JobStatus.CANCELING,
        resumed=resumed,
        requirements_key=row.requirements,
        size=row.size,
        tries=row.tries,
        avoid=frozenset(row.avoid or ()),
        room=rows.room(row.room),
        limits=model.Limits(run=row.run_limit, idle=row.idle_limit),
        sketch=sketches.Sketch.unpack(row.sketch),
    )
