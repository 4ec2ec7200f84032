"""How much is queued, near enough, so that the queue is bounded without counting it for each order.

What this process queued since the last count is added to that count; it never falls between counts, so it errs towards
counting again, not towards a queue that is too long. Several gateways over one database can exceed a bound by what the
others queued since the last count.

Counting a long queue takes as long as a hundred orders. So it is counted beside the writing, by a reader, before the
last count is too old; only when that came too late is it counted within an order.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from gateway.adapters.store import schema, statements
from gateway.domain import errors

FRESH_SECONDS: Final = 5.0  #: how long a count is believed while there is room
AGAIN_SECONDS: Final = 1.0  #: a long queue that was full is not counted again sooner
LONG: Final = 5_000  #: jobs from which on counting takes its time

_jobs = schema.jobs
_tenant = (_jobs.c.tenant + "").label("tenant")  #: no column of an index, which would lead through all jobs
_COUNT: Final = (
    sa.select(
        _tenant,
        sa.func.count().label("jobs"),
        sa.cast(sa.func.sum(_jobs.c.graph_bytes), sa.BigInteger).label("bytes"),
    )
    .where(_jobs.c.status == schema.QUEUED)
    .group_by(_tenant)
)
_slices = schema.slices
_marks = _slices.alias("marks")
#: Of large orders that were taken, what is still to be written.
_COUNT_LEFT: Final = (
    sa.select(
        _slices.c.tenant,
        sa.cast(sa.func.sum(_slices.c.jobs), sa.BigInteger).label("jobs"),
        sa.cast(sa.func.sum(_slices.c.bytes), sa.BigInteger).label("bytes"),
    )
    .where(sa.exists(sa.select(_marks.c.number).where(_marks.c.order_id == _slices.c.order_id, _marks.c.number == 0)))
    .group_by(_slices.c.tenant)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much may wait; None is no bound."""

    jobs: int | None = None
    bytes: int | None = None

    def __bool__(self) -> bool:
        return self.jobs is not None or self.bytes is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Queued jobs and the bytes of their graphs, as they are stored."""

    jobs: int = 0
    bytes: int = 0

    def __add__(self, other: Load) -> Load:
        return Load(jobs=self.jobs + other.jobs, bytes=self.bytes + other.bytes)

    def fits(self, bounds: Bounds) -> bool:
        """Whether this is within the bounds."""
        return not (
            (bounds.jobs is not None and self.jobs > bounds.jobs)
            or (bounds.bytes is not None and self.bytes > bounds.bytes)
        )


@dataclass(slots=True)
class Depth:
    """The last count, and what was queued since, of all and of each tenant."""

    whole: Load = field(default_factory=Load)
    tenants: dict[str, Load] = field(default_factory=dict[str, Load])
    counted_at: float = float("-inf")
    is_full: bool = False  #: for whoever ordered last
    since: dict[str, Load] | None = None  #: what was queued since a reader was asked to count; None: none was
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(
        self, tx: statements.Transaction, tenant: str, load: Load, overall: Bounds, theirs: Bounds, *, now: float
    ) -> None:
        """Make room for an order of `tenant`; QueueFull when there is none."""
        if not overall and not theirs:
            return
        with self.lock:
            age = now - self.counted_at
            has_room = self._room(tenant, load, overall, theirs)
            again = not has_room and (self.whole.jobs < LONG or age >= AGAIN_SECONDS)
            if again or not (0 <= age < FRESH_SECONDS or self.since is not None):
                self._set(count(tx), now)
                has_room = self._room(tenant, load, overall, theirs)
            self.is_full = not has_room
            if not has_room:
                raise self._full(tenant, load, overall, theirs)
            self.whole += load
            self.tenants[tenant] = self._of(tenant) + load
            if self.since is not None:
                self.since[tenant] = self.since.get(tenant, Load()) + load

    def begin(self, now: float, flying: Iterable[tuple[str, Load]]) -> bool:
        """Whether a reader shall count now; then `end` has to follow. What is `flying`, on its way to the disk, and
        what is queued from now on is added to what it finds, be it counted twice."""
        with self.lock:
            old = (AGAIN_SECONDS if self.is_full else FRESH_SECONDS) / 2
            if self.since is not None or self.whole.jobs < LONG or 0 <= now - self.counted_at < old:
                return False
            self.since = {}
            for tenant, load in flying:
                self.since[tenant] = self.since.get(tenant, Load()) + load
            return True

    def end(self, counted: Mapping[str, Load] | None, now: float) -> None:
        """What the reader counted, which began at `now`; None: it could not."""
        with self.lock:
            since, self.since = self.since or {}, None
            if counted is not None:
                names = {*counted, *since}
                self._set({name: counted.get(name, Load()) + since.get(name, Load()) for name in names}, now)

    def _of(self, tenant: str) -> Load:
        return self.tenants.get(tenant, Load())

    def _room(self, tenant: str, load: Load, overall: Bounds, theirs: Bounds) -> bool:
        return (self.whole + load).fits(overall) and (self._of(tenant) + load).fits(theirs)

    def _set(self, counted: Mapping[str, Load], now: float) -> None:
        self.tenants = dict(counted)
        self.whole = sum(counted.values(), Load())
        self.counted_at = now

    def _full(self, tenant: str, load: Load, overall: Bounds, theirs: Bounds) -> errors.QueueFull:
        mine = self._of(tenant)
        if not (mine + load).fits(theirs):
            message, details = f"You have {_told(mine, theirs, load)}.", _details("tenant", mine, theirs)
        else:
            message = f"The queue is full: {_told(self.whole, overall, load)}."
            details = _details("all", self.whole, overall)
        return errors.QueueFull(message, details=details)


def count(tx: statements.Transaction) -> Mapping[str, Load]:
    """What is queued, by tenant, and what is still to be written of large orders."""
    counted: dict[str, Load] = {}
    for row in (*tx.execute(_COUNT), *tx.execute(_COUNT_LEFT)):
        found = Load(jobs=int(row.jobs), bytes=int(row.bytes))
        counted[row.tenant] = counted.get(row.tenant, Load()) + found
    return counted


def _told(load: Load, bounds: Bounds, more: Load) -> str:
    jobs = "" if bounds.jobs is None else f" of {bounds.jobs} allowed"
    size = "" if bounds.bytes is None else f", their graphs {load.bytes} of {bounds.bytes} bytes"
    new = "" if bounds.bytes is None else f" of {more.bytes} bytes"
    return f"{load.jobs}{jobs} jobs waiting{size}; {more.jobs} more{new} {'does' if more.jobs == 1 else 'do'} not fit"


def _details(scope: str, load: Load, bounds: Bounds) -> Mapping[str, int | str | None]:
    return {
        "scope": scope,
        "jobs": load.jobs,
        "max_jobs": bounds.jobs,
        "bytes": load.bytes,
        "max_bytes": bounds.bytes,
    }
