"""What the requirement keys of queued and running jobs mean, in memory: dispatch asks on every wake-up."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Final

import sqlalchemy as sa

from gateway.adapters.store import schema, statements
from gateway.domain.comfy.graph import Requirements

FRESH_SECONDS: Final = 1.0
STORED: Final = 10_000  #: keys that are remembered to be in the table

_jobs = schema.jobs
_table = schema.requirements


def _hops(column: sa.Column[str]) -> sa.CTE:
    """The distinct values of queued jobs (`key`), by hopping from one to the next along the index.

    Not by min(), for which PostgreSQL reads all of them before the table was analyzed for the first time.
    """
    first = sa.select(column).where(_jobs.c.status == schema.QUEUED).order_by(column).limit(schema.few(1))
    found = sa.select(first.scalar_subquery().label("key")).cte("hops", recursive=True)
    following = first.where(column > found.c.key).correlate(found)
    return found.union_all(sa.select(following.scalar_subquery()).where(found.c.key.is_not(None)))


_queued_keys = _hops(_jobs.c.requirements)
QUEUED_KEYS: Final = sa.select(_queued_keys.c.key).where(_queued_keys.c.key.is_not(None))
_RUNNING_KEYS: Final = (
    sa.select(_jobs.c.requirements)
    .join(schema.attempts, schema.attempts.c.job_id == _jobs.c.id)
    .where(schema.attempts.c.ended_at.is_(None))
)
_BODY: Final = sa.select(_table.c.body).where(_table.c.key == sa.bindparam("key"))


class Known:
    """Requirements of what is queued, or may be queued again because it runs.

    What this process queues is known at once, what others queue within a second; what is no longer used goes. The
    mapping it gives out is never changed: news makes a new one.
    """

    def __init__(self) -> None:
        self._all: Mapping[str, Requirements] = {}
        self._added: dict[str, Requirements] = {}  # since the last read began
        self._stored: set[str] = set()
        self._read_at = float("-inf")
        self._lock = threading.Lock()

    @property
    def all(self) -> Mapping[str, Requirements]:
        """The requirements by key."""
        return self._all

    def unstored(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys that may not be in the table yet."""
        return set(keys) - self._stored

    def add(self, queued: Mapping[str, Requirements]) -> None:
        """Take note of jobs that have been queued, and committed."""
        with self._lock:
            if len(self._stored) > STORED:
                self._stored.clear()
            self._stored.update(queued)
            self._added.update(queued)
            if not queued.keys() <= self._all.keys():
                self._all = {**self._all, **queued}

    def fresh(self, now: float) -> bool:
        """Whether `all` is young enough to be used without `read`."""
        return 0 <= now - self._read_at < FRESH_SECONDS

    def read(self, tx: statements.Transaction, *, now: float) -> None:
        """Look which requirements are in use."""
        with self._lock:
            before = self._all
            self._added = {}  # what was added so far is committed: it is found now, if it is still there
        keys = {*tx.execute(QUEUED_KEYS).scalars(), *tx.execute(_RUNNING_KEYS).scalars()}
        used = {
            key: before.get(key) or Requirements.from_dict(tx.execute(_BODY, {"key": key}).scalar_one()) for key in keys
        }
        with self._lock:
            self._read_at = now
            if {*used, *self._added} != set(self._all):
                self._all = {**used, **self._added}
