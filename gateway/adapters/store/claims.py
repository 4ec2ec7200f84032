"""Giving queued jobs to idle workers, in one transaction.

Candidates are read in fair order through small windows. The head of the queue is one window for all; only when
jobs in it cannot run on the workers that ask does each class of requirements get a window of its own, so that any
number of jobs which only a busy worker can run never hide the others, and a claim stays cheap at any depth. Where
tenants that run as much as they may fill such a window, each other tenant's lane (its jobs of that class) is read from
its own head. Jobs of what is paused lie below the windows (see pausing.py). Who
gets what is the pure function's to say; a job is taken by compare-and-set, and its attempt is written before
anything is sent.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from gateway import ports
from gateway.adapters.store import edges, known, owing, pausing, rows, schema, statements
from gateway.domain import model, pauses, webhooks
from gateway.domain.costs import sketch as sketches
from gateway.domain.states import Edge, JobStatus

WINDOW: Final = 64
WARM_WINDOW: Final = 16  #: jobs that are looked at of a class whose models an idle worker holds
WARM_CLASSES: Final = 8  #: such classes that are looked at in one claim
ENOUGH: Final = 16  #: jobs that a window has to offer; below that, what is behind full tenants is looked at
LANES: Final = 16  #: tenants whose jobs are read by one statement
SINKING: Final = 3  #: times that one claim meets jobs of what is paused, at most

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
    .where(
        _jobs.c.status == schema.QUEUED,
        _jobs.c.priority > schema.FLOOR,
        _jobs.c.not_before <= sa.bindparam("now"),
    )
    .order_by(_jobs.c.priority.desc(), _jobs.c.vt, _jobs.c.id)
    .limit(sa.bindparam("window"))
)
_OF_CLASS: Final = _QUEUED.where(_jobs.c.requirements == sa.bindparam("key"))


def _lane(number: int) -> sa.Select[Any]:
    """The first jobs of one tenant in a class."""
    whole = _OF_CLASS.where(_jobs.c.tenant == sa.bindparam(f"tenant{number}")).subquery(f"lane{number}")
    return sa.select(*whole.c)


_OF_LANE: Final = _lane(0)
_OF_LANES: Final = sa.union_all(*(_lane(number) for number in range(LANES)))
_TENANTS_OF_CLASS: Final = known.hops(_jobs.c.tenant, _jobs.c.requirements == sa.bindparam("key"))

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
_whose = (_jobs.c.tenant + "").label("tenant")  #: no column of an index, which would lead through all jobs
_RUNNING: Final = (
    sa.select(_whose, sa.func.count().label("n"))
    .join_from(schema.attempts, _jobs, _jobs.c.id == schema.attempts.c.job_id)
    .where(_open)
    .group_by(_whose)
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
    paused: pauses.Pauses = field(default_factory=pauses.Pauses)


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
    windows = _unpaused(tx, ask, slots, room)
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
    return model.Claimed(
        claims=_claims(tx, taken), waiting=any(left <= 0 for left in room.values()) or windows.due > len(taken)
    )


def _unpaused(tx: statements.Transaction, ask: Ask, slots: Sequence[model.Slot], room: Mapping[str, int]) -> _Windows:
    """The windows without jobs of what is paused; those that came after the pause are sunk now."""
    windows = _windows(tx, slots, now=ask.now, room=room)
    if not ask.paused.hold_jobs:
        return windows
    for _ in range(SINKING):
        kept = [row for row in windows.rows if not ask.paused.holds(row.tenant, row.template)]
        if len(kept) == len(windows.rows) or not pausing.sink(tx):
            break
        windows = _windows(tx, slots, now=ask.now, room=room)
    kept = [row for row in windows.rows if not ask.paused.holds(row.tenant, row.template)]
    return dataclasses.replace(windows, rows=kept)


def look(tx: statements.Transaction, slots: Sequence[model.Slot], *, now: float) -> list[model.Candidate]:
    """What a claim for these places would let placement see."""
    return [_candidate(row) for row in _windows(tx, slots, now=now, room={}).rows]


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


def _windows(
    tx: statements.Transaction, slots: Sequence[model.Slot], *, now: float, room: Mapping[str, int]
) -> _Windows:
    """The windows of all slots together, with no more jobs of a capped tenant than there is `room` for."""
    look_at = _Look(tx=tx, now=now, room=room)
    seen = tx.execute(_QUEUED, {"now": now, "window": WINDOW}).all()
    head = look_at.runnable(seen)
    is_deep = len(seen) == WINDOW
    look_at.crowded = frozenset({row.requirements for row in seen if len(head) < ENOUGH})
    due = len(head) + is_deep  # behind a full window there may be more
    at_head = {row.requirements for row in head}
    is_crowded = is_deep and len(head) < ENOUGH
    warm = _warm_behind(slots, at_head) if is_deep else ()
    if not warm and not is_crowded and all(at_head <= slot.accepts for slot in slots):
        return _Windows(rows=head, due=due)
    queued: list[str] | None = None
    found: dict[str, rows.Row] = {row.id: row for key in warm for row in look_at.of_class(key)[:WARM_WINDOW]}
    for accepts in {slot.accepts for slot in slots}:
        mine = [row for row in head if row.requirements in accepts]
        if is_deep and (is_crowded or len(mine) < len(head)):  # something at the head cannot run here: look behind it
            queued = queued if queued is not None else list(tx.execute(known.QUEUED_KEYS).scalars())
            mine = _merge([look_at.of_class(key) for key in queued if key in accepts])
        found.update((row.id, row) for row in mine)
    return _Windows(rows=sorted(found.values(), key=_fair), due=due)


@dataclass(slots=True, kw_only=True)
class _Look:
    """Behind the head of the queue, for one claim."""

    tx: statements.Transaction
    now: float
    room: Mapping[str, int]  #: how many more jobs of a capped tenant may run
    crowded: frozenset[str] = frozenset()  #: classes that full tenants are known to have at the head
    classes: dict[str, Sequence[rows.Row]] = field(default_factory=dict[str, Sequence[rows.Row]])

    def runnable(self, found: Sequence[rows.Row]) -> Sequence[rows.Row]:
        """The first ones of each tenant, as many as may run."""
        if not self.room:
            return found
        left = dict(self.room)
        kept: list[rows.Row] = []
        for row in found:
            if left.get(row.tenant, 1) > 0:
                kept.append(row)
                if row.tenant in left:
                    left[row.tenant] -= 1
        return kept

    def of_class(self, key: str) -> Sequence[rows.Row]:
        """The first jobs of a class."""
        if key not in self.classes:
            self.classes[key] = self._of_lanes(key) if key in self.crowded else self._of_window(key)
        return self.classes[key]

    def _of_window(self, key: str) -> Sequence[rows.Row]:
        """The same by one window, unless full tenants have most of it."""
        seen = self.tx.execute(_OF_CLASS, self._values(key, WINDOW)).all()
        kept = self.runnable(seen)
        return self._of_lanes(key) if len(seen) == WINDOW and len(kept) < ENOUGH else kept

    def _of_lanes(self, key: str) -> Sequence[rows.Row]:
        """The first jobs of a class, tenant by tenant."""
        tenants = [
            one for one in self.tx.execute(_TENANTS_OF_CLASS, {"key": key}).scalars() if self.room.get(one, 1) > 0
        ]
        each = max(2, 2 * WINDOW // max(1, len(tenants)))
        found: list[rows.Row] = []
        for start in range(0, len(tenants), LANES):
            group = [*tenants[start : start + LANES], *[None] * LANES][:LANES]
            values = {f"tenant{number}": tenant for number, tenant in enumerate(group)}
            found += self.tx.execute(_OF_LANES, {**self._values(key, each), **values}).all()
        lanes: dict[str, Sequence[rows.Row]] = {}
        for row in found:
            lanes[row.tenant] = [*lanes.get(row.tenant, ()), row]
        return self.runnable(self._deepened(key, lanes, each))

    def _deepened(self, key: str, lanes: dict[str, Sequence[rows.Row]], each: int) -> Sequence[rows.Row]:
        """The lanes merged. One that ends too early because only `each` of it was read is read deeper: a tenant with
        a larger share may have most of what is next."""
        cut = sorted((_fair(lane[-1]), tenant) for tenant, lane in lanes.items() if len(lane) == each)
        merged = _merge(list(lanes.values()))
        for end, tenant in cut:
            if len(merged) < ENOUGH or end >= _fair(merged[ENOUGH - 1]):
                break
            values = {**self._values(key, WINDOW), "tenant0": tenant}
            lanes[tenant] = self.tx.execute(_OF_LANE, values).all()
            merged = _merge(list(lanes.values()))
        return merged

    def _values(self, key: str, window: int) -> dict[str, Any]:
        return {"now": self.now, "window": window, "key": key}


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
