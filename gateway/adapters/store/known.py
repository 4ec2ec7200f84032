"""What requirement keys mean, in memory: dispatch asks on every wake-up."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from gateway.adapters.store import columns, schema
from gateway.domain.comfy.graph import Requirements

#: Numbers are given before a transaction commits, so a smaller one can appear after a greater one: look back a bit.
LOOK_BACK: Final = 100
FRESH_SECONDS: Final = 1.0

_table = schema.requirements
_NEWER: Final = sa.select(
    _table.c.seq, _table.c.key, sa.type_coerce(_table.c.body, sa.LargeBinary).label("body")
).where(_table.c.seq > sa.bindparam("last"))


class Known:
    """All requirements that were ever queued: what this process queued at once, what others did within a second.

    The mapping it gives out is never changed; news makes a new one.
    """

    def __init__(self) -> None:
        self._all: Mapping[str, Requirements] = {}
        self._last = 0
        self._read_at = float("-inf")
        self._lock = threading.Lock()

    @property
    def all(self) -> Mapping[str, Requirements]:
        """The requirements by key."""
        return self._all

    def fresh(self, now: float) -> bool:
        """Whether `all` is young enough to be used without `read`."""
        return 0 <= now - self._read_at < FRESH_SECONDS

    def add(self, more: Mapping[str, Requirements]) -> None:
        """Remember requirements whose rows have been committed."""
        with self._lock:
            self._all = {**self._all, **more}

    def read(self, tx: sa.Connection, *, now: float) -> None:
        """Take in the rows that are new."""
        news: dict[str, Requirements] = {}
        last = self._last
        for row in tx.execute(_NEWER, {"last": last - LOOK_BACK}):
            last = max(last, row.seq)
            if row.key not in self._all:
                news[row.key] = Requirements.from_dict(columns.loads(row.body))
        if news:
            self.add(news)
        self._last = max(self._last, last)
        self._read_at = now
