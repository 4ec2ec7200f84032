"""Units of work: functions of a transaction that happen whole or not at all.

Callers are coroutines. On SQLite all writing is grouped, and groups share one commit (`grouping`). On PostgreSQL each
unit is a transaction of its own, run by a thread (`lanes`); so are reads on both.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

from gateway.adapters.store import engines, grouping, lanes, seats

T = TypeVar("T")
U = TypeVar("U")
Unit = seats.Unit


class Units:
    """Runs units of work; `write` and `read` return when the unit has been committed."""

    def __init__(self, backend: engines.Backend) -> None:
        self._engine = backend.engine
        if backend.writers is None:
            self._writes = self._group = grouping.Group(backend)
        else:
            self._group = None
            self._writes = lanes.Lane("store-write", backend, threads=backend.writers, begin=backend.begin_write)
        self._reads = lanes.Lane("store-read", backend, threads=backend.readers, begin=backend.begin_read)

    async def write(self, unit: Unit[T], *, quick: bool = False) -> T:
        """Run a unit that may write. `quick`: it touches a few rows, however many there are."""
        return await self._writes.run(unit, quick=quick)

    async def read(self, unit: Unit[T]) -> T:
        """Run a unit that only reads."""
        return await self._reads.run(unit)

    @property
    def grouped(self) -> bool:
        """Whether writes share transactions, so that there is a `write_together`."""
        return self._group is not None

    def write_together(
        self, first: Unit[T], second: Unit[U], *, quick: bool = False
    ) -> tuple[asyncio.Future[T], asyncio.Future[U]]:
        """Run two units in one transaction, in this order, each in a savepoint of its own. Only when `grouped`."""
        if self._group is None:
            raise AssertionError("each write has a transaction of its own here")
        return self._group.run_both(first, second, quick=quick)

    async def close(self) -> None:
        """Finish what is waiting and close every connection."""
        await self._writes.close()
        await self._reads.close()
        self._engine.dispose()
