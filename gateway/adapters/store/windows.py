"""What a claim reads of the queue: small windows in fair order, at any depth.

The head of the queue is one window for all. Only when jobs in it cannot run on the workers that ask does each class of
requirements get a window of its own, so that any number of jobs which only a busy worker can run never hide the
others. Where tenants that run as much as they may fill such a window, each other tenant's lane (its jobs of that
class) is read from its own head: first the heads of all, then what is behind those that come first.

Windows have only what order needs. The rest of a job is read by `Seen` when it is first met: most that one claim sees,
the next one sees again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from gateway.adapters.store import engines, known, rows, schema, statements
from gateway.domain import model
from gateway.domain.costs import sketch as sketches

WINDOW: Final = 64
WARM_WINDOW: Final = 16  #: jobs that are looked at of a class whose models an idle worker holds
WARM_CLASSES: Final = 8  #: such classes that are looked at in one claim
ENOUGH: Final = 16  #: jobs that a window has to offer; below that, what is behind full tenants is looked at
PROBE: Final = 8  #: jobs that are looked at first where the last claim found the head blocked
FEW: Final = 2  #: classes that are read without looking first whether any job of them is queued
IN_LANES: Final = (3, 8, ENOUGH, WINDOW)  #: jobs of a lane that are read: the more, the fewer lanes there are
LANES: Final = ENOUGH  #: the first ENOUGH jobs of a class are in the lanes whose heads are the first ENOUGH

_jobs = schema.jobs
_ORDER: Final = (_jobs.c.priority.desc(), _jobs.c.vt, _jobs.c.id)
_PLACE: Final = ("id", "tenant", "requirements", "priority", "vt", "attempts")
_MORE: Final = ("id", "created_at", "avoid", "not_before", "template", "size", "room", "sketch")


def _columns(names: Sequence[str]) -> sa.Select[Any]:
    return sa.select(*(_jobs.c[name] for name in names))


def _is_due(jobs: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.and_(
        jobs.c.status == schema.QUEUED, jobs.c.priority > schema.FLOOR, jobs.c.not_before <= sa.bindparam("now")
    )


def _first(window: int) -> sa.Select[Any]:
    return _columns(_PLACE).where(_is_due(_jobs)).order_by(*_ORDER).limit(schema.few(window))


def _first_of_class(window: int) -> sa.Select[Any]:
    return _first(window).where(_jobs.c.requirements == sa.bindparam("key"))


#: Short, since psycopg reads a statement of more than four thousand characters anew each time.
_DUE: Final = (
    "WITH due AS NOT MATERIALIZED (SELECT {columns} FROM jobs WHERE status = {queued} AND priority > {floor}"
    " AND not_before <= :now AND requirements = :key) {lanes}"
)
_LANE: Final = (
    "SELECT * FROM (SELECT * FROM due WHERE tenant = :{name} ORDER BY priority DESC, vt, id LIMIT {n}) {name}"
)


def _of_lanes(window: int) -> sa.TextualSelect:
    """The first jobs of some tenants in a class."""
    names = [f"tenant{number}" for number in range(LANES)]
    lanes = " UNION ALL ".join(_LANE.format(name=name, n=window) for name in names)
    due = _DUE.format(columns=", ".join(_PLACE), queued=schema.QUEUED, floor=schema.FLOOR, lanes=lanes)
    values = [sa.bindparam(name, type_=_jobs.c.tenant.type) for name in ("key", *names)]
    return sa.text(due).bindparams(*values).columns(*(_jobs.c[name] for name in _PLACE))


def _heads() -> sa.Select[Any]:
    """The first job of each tenant in a class, found by hopping from lane to lane along the index. Hops may end on jobs
    that have sunk, since to look for others would be to read all of those."""
    lane, head = _jobs.alias("lane"), _jobs.alias("head")
    first = (
        sa.select(engines.lies_at(lane.c.id))
        .where(
            lane.c.status == schema.QUEUED,
            lane.c.requirements == sa.bindparam("key"),
            lane.c.not_before <= sa.bindparam("now"),
        )
        .order_by(lane.c.tenant, lane.c.priority.desc(), lane.c.vt, lane.c.id)
        .limit(schema.few(1))
    )
    heads = _columns(_PLACE).where(engines.lies_at(_jobs.c.id) == first.scalar_subquery()).cte("heads", recursive=True)
    following = first.where(lane.c.tenant > heads.c.tenant).correlate(heads).scalar_subquery()
    heads = heads.union_all(
        sa.select(*(head.c[name] for name in _PLACE)).join_from(heads, head, engines.lies_at(head.c.id) == following)
    )
    return sa.select(*(heads.c[name] for name in _PLACE)).where(heads.c.priority > schema.FLOOR)


_FIRST: Final = {window: _first(window) for window in (PROBE, WINDOW)}
_OF_CLASS: Final = _first_of_class(WINDOW)
_OF_LANES: Final = {window: _of_lanes(window) for window in IN_LANES}
_HEADS: Final = _heads()
_REST: Final = _columns(_MORE).where(_jobs.c.id.in_(sa.bindparam("ids", expanding=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Queued jobs in fair order, and how many jobs of any kind could run now, as far as a window tells."""

    rows: Sequence[rows.Row]
    due: int


class Seen:
    """The candidates of the last claim: most are candidates of the next one too. So is what blocks the head."""

    def __init__(self) -> None:
        self._last: Mapping[tuple[str, int, int], model.Candidate] = {}
        self.is_blocked = False  #: whether nothing at the head of the queue was for those who asked

    def candidates(self, tx: statements.Transaction, queued: Sequence[rows.Row]) -> Sequence[model.Candidate]:
        """What placement sees of these rows. A candidate only changes with its priority and the number of its attempts;
        one that was just taken by another gateway may be missing."""
        last = self._last
        versions = [(row.id, row.attempts, row.priority) for row in queued]
        new = [row for row, version in zip(queued, versions, strict=True) if version not in last]
        made = {row.id: _candidate(row, more) for row, more in _with_more(tx, new)}
        found = [(version, last.get(version) or made.get(version[0])) for version in versions]
        self._last = seen = {version: candidate for version, candidate in found if candidate is not None}
        return list(seen.values())


def _with_more(tx: statements.Transaction, queued: Sequence[rows.Row]) -> list[tuple[rows.Row, rows.Row]]:
    """The rows with what windows leave out."""
    by_id = {row.id: row for row in queued}
    return [(by_id[more.id], more) for ids in chunks(list(by_id)) for more in tx.execute(_REST, {"ids": ids})]


def chunks(ids: list[str]) -> Iterator[list[str]]:
    """Ids in lists of few different lengths, the last one repeated, so that few statements are compiled."""
    for start in range(0, len(ids), WINDOW):
        chunk = ids[start : start + WINDOW]
        yield chunk + chunk[-1:] * ((1 << (len(chunk) - 1).bit_length()) - len(chunk))


def _candidate(row: rows.Row, more: rows.Row) -> model.Candidate:
    return model.Candidate(
        job_id=row.id,
        tenant=row.tenant,
        requirements_key=row.requirements,
        priority=row.priority,
        created_at=more.created_at,
        avoid=frozenset(more.avoid or ()),
        since=more.not_before,
        template=more.template,
        size=more.size,
        room=rows.room(more.room),
        sketch=sketches.Sketch.unpack(more.sketch),
    )


def read(
    tx: statements.Transaction, slots: Sequence[model.Slot], *, now: float, room: Mapping[str, int], last: Seen
) -> Windows:
    """The windows of all slots together, with no more jobs of a capped tenant than there is `room` for."""
    look_at = _Look(tx=tx, now=now, room=room)
    seen, head, is_deep = look_at.head(slots, last)
    look_at.crowded = frozenset({row.requirements for row in seen if len(head) < ENOUGH})
    due = len(head) + is_deep  # behind a full window there may be more
    at_head = {row.requirements for row in head}
    is_crowded = is_deep and (last.is_blocked or len(head) < ENOUGH)
    warm = _warm_behind(slots, at_head) if is_deep else ()
    if not warm and not is_crowded and all(at_head <= slot.accepts for slot in slots):
        return Windows(rows=head, due=due)
    found: dict[str, rows.Row] = {row.id: row for key in warm for row in look_at.of_class(key)[:WARM_WINDOW]}
    for accepts in {slot.accepts for slot in slots}:
        mine = [row for row in head if row.requirements in accepts]
        if is_deep and (is_crowded or len(mine) < len(head)):  # something at the head cannot run here: look behind it
            mine = _merge([look_at.of_class(key) for key in look_at.queued(accepts)])
        found.update((row.id, row) for row in mine)
    return Windows(rows=sorted(found.values(), key=_fair), due=due)


@dataclass(slots=True, kw_only=True)
class _Look:
    """Behind the head of the queue, for one claim."""

    tx: statements.Transaction
    now: float
    room: Mapping[str, int]  #: how many more jobs of a capped tenant may run
    crowded: frozenset[str] = frozenset()  #: classes that full tenants are known to have at the head
    classes: dict[str, Sequence[rows.Row]] = field(default_factory=dict[str, Sequence[rows.Row]])
    keys: Sequence[str] | None = None  #: of all queued jobs, once they were asked for

    def head(self, slots: Sequence[model.Slot], last: Seen) -> tuple[Sequence[rows.Row], Sequence[rows.Row], bool]:
        """The head of the queue, what of it may run somewhere, and whether there may be more behind it.

        While nothing of it is for these slots, little of it is read: what is for them is behind it.
        """
        accepted = frozenset[str]().union(*(slot.accepts for slot in slots))
        if last.is_blocked:
            seen = self._first(PROBE)
            head = self.runnable(seen)
            if len(seen) == PROBE and all(row.requirements not in accepted for row in head):
                return seen, head, True
        seen = self._first(WINDOW)
        head = self.runnable(seen)
        is_deep = len(seen) == WINDOW
        last.is_blocked = is_deep and all(row.requirements not in accepted for row in head)
        return seen, head, is_deep

    def _first(self, window: int) -> Sequence[rows.Row]:
        return self.tx.execute(_FIRST[window], {"now": self.now}).all()

    def queued(self, accepts: Set[str]) -> Sequence[str]:
        """Which of these classes may have queued jobs."""
        if len(accepts) <= FEW:
            return sorted(accepts)
        if self.keys is None:
            self.keys = self.tx.execute(known.QUEUED_KEYS).scalars()
        return [key for key in self.keys if key in accepts]

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
        seen = self.tx.execute(_OF_CLASS, {"now": self.now, "key": key}).all()
        kept = self.runnable(seen)
        return self._of_lanes(key) if len(seen) == WINDOW and len(kept) < ENOUGH else kept

    def _of_lanes(self, key: str) -> Sequence[rows.Row]:
        """The first jobs of a class, tenant by tenant. A lane that may go on before the first ENOUGH are full is read
        deeper: a tenant with a larger share may have most of what is next."""
        heads = [row for row in self.tx.execute(_HEADS, {"key": key, "now": self.now}) if self._has_room(row)]
        heads.sort(key=_fair)
        each = next(window for window in IN_LANES if window * len(heads) >= WINDOW or window == WINDOW)
        lanes: dict[str, Sequence[rows.Row]] = {row.tenant: [row] for row in heads}
        lanes.update(self._lanes(key, [row.tenant for row in heads[:LANES]], each))
        merged = _in_order(lanes)
        last = _fair(merged[ENOUGH - 1]) if len(merged) >= ENOUGH else None
        cut = [
            name for name, lane in lanes.items() if len(lane) == each and last is not None and _fair(lane[-1]) < last
        ]
        if cut:
            lanes.update(self._lanes(key, cut, ENOUGH))
            merged = _in_order(lanes)
        return self.runnable(merged)

    def _lanes(self, key: str, tenants: Sequence[str], each: int) -> Mapping[str, Sequence[rows.Row]]:
        """The first jobs of these tenants in a class."""
        if not tenants:
            return {}
        names = {f"tenant{number}": tenant for number, tenant in enumerate([*tenants, *[None] * LANES][:LANES])}
        lanes: dict[str, list[rows.Row]] = {tenant: [] for tenant in tenants}
        for row in self.tx.execute(_OF_LANES[each], {"now": self.now, "key": key, **names}):
            lanes[row.tenant].append(row)
        return lanes

    def _has_room(self, row: rows.Row) -> bool:
        return self.room.get(row.tenant, 1) > 0


def _warm_behind(slots: Sequence[model.Slot], at_head: Set[str]) -> list[str]:
    """Classes that these workers hold the models of, and of which no job is at the head: one may be behind it."""
    return sorted({key for slot in slots if at_head.isdisjoint(slot.warm) for key in slot.warm})[:WARM_CLASSES]


def _merge(windows: Sequence[Sequence[rows.Row]]) -> Sequence[rows.Row]:
    if len(windows) == 1:
        return windows[0]
    merged = heapq.merge(*windows, key=_fair)
    return [row for row, _ in zip(merged, range(WINDOW), strict=False)]


def _in_order(lanes: Mapping[str, Sequence[rows.Row]]) -> list[rows.Row]:
    return sorted((row for lane in lanes.values() for row in lane), key=_fair)[:WINDOW]


def _fair(row: rows.Row) -> tuple[int, float, str]:
    return (-row.priority, row.vt, row.id)
