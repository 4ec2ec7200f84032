"""Giving queued jobs to idle workers, in one transaction.

Candidates are read in fair order through small windows. The head of the queue is one window for all; only when
jobs in it cannot run on the workers that ask does each class of requirements get a window of its own, so that any
number of jobs which only a busy worker can run never hide the others, and a claim stays cheap at any depth. Who
gets what is the pure function's to say; a job is taken by compare-and-set, and its attempt is written before
anything is sent.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from gateway import ports
from gateway.adapters.store import edges, known, owing, rows, schema, statements
from gateway.domain import model, webhooks
from gateway.domain.costs import sketch as sketches
from gateway.domain.states import Edge, JobStatus

WINDOW: Final = 64
WARM_WINDOW: Final = 16  #: jobs that are looked at of a class whose models an idle worker holds
WARM_CLASSES: Final = 8  #: such classes that are looked at in one claim

_jobs = schema.jobs
_workers = schema.workers
_tenants = schema.tenants
_open = schema.attempts.c.ended_at.is_(None)

_QUEUED: Final = (
    sa.select(
        _jobs.c.id,
        _jobs.c.tenant,
        _jobs.c.requirements,
        _jobs.c.priority,
        _jobs.c.vt,
        _jobs.c.created_at,
        _jobs.c.avoid,
        _jobs.c.attempts,
        _jobs.c.not_before,
        _jobs.c.template,
        _jobs.c.size,
        _jobs.c.room,
        _jobs.c.sketch,
    )
    .where(_jobs.c.status == schema.QUEUED, _jobs.c.not_before <= sa.bindparam("now"))
    .order_by(_jobs.c.priority.desc(), _jobs.c.vt, _jobs.c.id)
    .limit(sa.bindparam("window"))
)
_OF_CLASS: Final = _QUEUED.where(_jobs.c.requirements == sa.bindparam("key"))
_uncapped = _jobs.c.tenant.not_in(sa.bindparam("capped", expanding=True))
_QUEUED_UNCAPPED: Final = _QUEUED.where(_uncapped)
_OF_CLASS_UNCAPPED: Final = _OF_CLASS.where(_uncapped)


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
_RUNNING: Final = (
    sa.select(_jobs.c.tenant, sa.func.count().label("n"))
    .join(schema.attempts, schema.attempts.c.job_id == _jobs.c.id)
    .where(_open)
    .group_by(_jobs.c.tenant)
)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Windows:
    """Queued jobs in fair order, and how many jobs of any kind could run now, as far as a window tells."""

    rows: Sequence[rows.Row]
    due: int


class Seen:
    """The candidates of the last claim: most are candidates of the next one too."""

    def __init__(self) -> None:
        self._last: Mapping[tuple[str, int], model.Candidate] = {}

    def candidates(self, queued: Iterable[rows.Row]) -> Sequence[model.Candidate]:
        """What placement sees of these rows. A candidate only changes with the number of its attempts."""
        last = self._last
        seen: dict[tuple[str, int], model.Candidate] = {}
        for row in queued:
            key = (row.id, row.attempts)
            seen[key] = last.get(key) or _candidate(row)
        self._last = seen
        return list(seen.values())


def _candidate(row: rows.Row) -> model.Candidate:
    return model.Candidate(
        job_id=row.id,
        tenant=row.tenant,
        requirements_key=row.requirements,
        priority=row.priority,
        created_at=row.created_at,
        avoid=frozenset(row.avoid or ()),
        since=row.not_before,
        template=row.template,
        size=row.size,
        room=rows.room(row.room),
        sketch=sketches.Sketch.unpack(row.sketch),
    )


def claim(tx: statements.Transaction, ask: Ask, seen: Seen) -> model.Claimed:
    """Claim what `choose` assigns; assignments that lost a race are left out."""
    slots = _held(tx, ask)
    if not slots:
        return model.Claimed(claims=(), waiting=True)  # for all we know
    room = _room(tx)
    full = [tenant for tenant, left in room.items() if left <= 0]
    windows = _windows(tx, slots, now=ask.now, capped=full)
    found = {row.id: row for row in windows.rows}
    assignments = ask.choose(seen.candidates(windows.rows), slots) if found else ()
    by_worker = {slot.worker: slot for slot in slots}
    taken: list[dict[str, Any]] = []
    for assignment in assignments:
        job = found[assignment.job_id]
        if room.get(job.tenant, 1) <= 0:
            continue
        attempt = _take(tx, job, by_worker[assignment.worker], reason=assignment.reason, ask=ask)
        if attempt is not None:
            taken.append(attempt)
            if job.tenant in room:
                room[job.tenant] -= 1
    return model.Claimed(claims=_claims(tx, taken), waiting=bool(full) or windows.due > len(taken))


def look(tx: statements.Transaction, slots: Sequence[model.Slot], *, now: float) -> list[model.Candidate]:
    """What a claim for these places would let placement see."""
    return [_candidate(row) for row in _windows(tx, slots, now=now, capped=()).rows]


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
    """The slots whose lease is still ours."""
    ids = sorted({slot.worker for slot in ask.slots})
    if not ids:
        return []
    epochs = {row.id: row.lease_epoch for row in tx.execute(HELD_WORKERS, {"ids": ids, "boot": ask.boot})}
    return [slot for slot in ask.slots if epochs.get(slot.worker) == slot.epoch]


def _room(tx: statements.Transaction) -> dict[str, int]:
    """How many more jobs each capped tenant may have running; tenants without a cap are absent."""
    caps = {row.id: row.max_running for row in tx.execute(_CAPS)}
    if not caps:
        return {}
    running = {row.tenant: row.n for row in tx.execute(_RUNNING)}
    return {tenant: cap - running.get(tenant, 0) for tenant, cap in caps.items()}


def _windows(tx: statements.Transaction, slots: Sequence[model.Slot], *, now: float, capped: Sequence[str]) -> _Windows:
    """The windows of all slots together."""
    values: dict[str, Any] = {"now": now, "window": WINDOW}
    if capped:
        values["capped"] = capped
    head = tx.execute(_QUEUED_UNCAPPED if capped else _QUEUED, values).all()
    due = len(head) + (len(head) == WINDOW)  # behind a full window there may be more
    at_head = {row.requirements for row in head}
    warm = _warm_behind(slots, at_head) if len(head) == WINDOW else ()
    if not warm and all(at_head <= slot.accepts for slot in slots):
        return _Windows(rows=head, due=due)
    of_class = _OF_CLASS_UNCAPPED if capped else _OF_CLASS
    windows: dict[str, Sequence[rows.Row]] = {}

    def window(key: str) -> Sequence[rows.Row]:
        if key not in windows:
            windows[key] = tx.execute(of_class, {**values, "key": key}).all()
        return windows[key]

    queued: list[str] | None = None
    found: dict[str, rows.Row] = {row.id: row for key in warm for row in window(key)[:WARM_WINDOW]}
    for accepts in {slot.accepts for slot in slots}:
        mine = [row for row in head if row.requirements in accepts]
        if len(mine) < len(head) == WINDOW:  # something at the head cannot run here: look behind it
            queued = queued if queued is not None else list(tx.execute(known.QUEUED_KEYS).scalars())
            mine = _merge([window(key) for key in queued if key in accepts])
        found.update((row.id, row) for row in mine)
    return _Windows(rows=sorted(found.values(), key=_fair), due=due)


def _warm_behind(slots: Sequence[model.Slot], at_head: Set[str]) -> list[str]:
    """Classes that these workers hold the models of, and of which no job is at the head: one may be behind it."""
    return sorted({key for slot in slots if at_head.isdisjoint(slot.warm) for key in slot.warm})[:WARM_CLASSES]


def _merge(windows: Sequence[Sequence[rows.Row]]) -> list[rows.Row]:
    merged = heapq.merge(*windows, key=_fair)
    return [row for row, _ in zip(merged, range(WINDOW), strict=False)]


def _fair(row: rows.Row) -> tuple[int, float, str]:
    return (-row.priority, row.vt, row.id)


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
        room=rows.room(row.room),
        limits=model.Limits(run=row.run_limit, idle=row.idle_limit),
        sketch=sketches.Sketch.unpack(row.sketch),
    )
