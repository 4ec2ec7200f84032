"""All writing of SQLite: units that wait are run together and share one commit.

SQLite has one writer, and a commit is a sync of the disk, so one at a time is the bound. Each group runs in one
transaction, every unit in a savepoint; callers are told when all of it is committed.

Quick units are run by the event loop itself. On a thread, SQLite gives the interpreter up and needs it back with every
statement, and beside a busy event loop that takes several times as long as the statement. What waits for the disk, the
commit, is left to a thread, and meanwhile the next group gathers. To that thread go whole groups that are not quick,
and all that meets trouble: a lock that somebody else holds, a connection that broke.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, Final, TypeVar

from gateway.adapters.store import engines, seats
from gateway.domain import errors

GROUP: Final = 128  #: units that share one commit at most
BREATH: Final = 8  #: units that the event loop runs before others get a turn

T = TypeVar("T")
U = TypeVar("U")


class Group:
    """Runs units for callers on one event loop."""

    def __init__(self, backend: engines.Backend) -> None:
        self._seat = seats.Seat(backend, backend.begin_write)
        self._waiting: collections.deque[Sequence[seats.Task]] = collections.deque()
        self._thread = futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-write")
        self._working: asyncio.Task[None] | None = None
        self._closed = False

    async def run(self, unit: seats.Unit[T], *, quick: bool = False) -> T:
        """Run a unit."""
        (future,) = self._add(seats.task(unit, quick=quick))
        return await future

    def run_both(
        self, first: seats.Unit[T], second: seats.Unit[U], *, quick: bool
    ) -> tuple[asyncio.Future[T], asyncio.Future[U]]:
        """Run two units in one transaction, in this order."""
        one, two = self._add(seats.task(first, quick=quick), seats.task(second, quick=quick))
        return one, two

    async def close(self) -> None:
        """Finish what is waiting, and close the connection."""
        if self._closed:
            return
        self._closed = True
        if self._working is not None:
            await asyncio.wait({self._working})
        await self._work()  # what is left, should somebody have cancelled that
        await self._on_thread(self._seat.close)
        self._thread.shutdown(wait=False)

    def _add(self, *tasks: seats.Task) -> Sequence[asyncio.Future[Any]]:
        if self._closed:
            raise errors.StoreUnavailable("The store is closed.")
        self._waiting.append(tasks)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work(), name="store-write")
        return [task.future for task in tasks]

    async def _work(self) -> None:
        while self._waiting:
            for done in await self._run(self._take()):
                done.tell()

    def _take(self) -> Sequence[seats.Task]:
        """What waits, as far as it is of one kind."""
        tasks = [*self._waiting.popleft()]
        while self._waiting and len(tasks) < GROUP and self._waiting[0][0].quick is tasks[0].quick:
            tasks += self._waiting.popleft()
        return [task for task in tasks if not task.future.cancelled()]

    async def _run(self, tasks: Sequence[seats.Task]) -> Sequence[seats.Done]:
        done = await self._run_here(tasks) if tasks and tasks[0].quick else None
        if done is None:
            return await self._on_thread(lambda: self._seat.run(tasks))
        return done

    async def _run_here(self, tasks: Sequence[seats.Task]) -> Sequence[seats.Done] | None:
        """Run the units on the event loop, and commit on the thread. None: nothing has happened."""
        transaction = self._seat.begin_at_once()
        if transaction is None:
            return None
        done: list[seats.Done] = []
        try:
            for number, task in enumerate(tasks, 1):
                done.append(self._seat.run_one(transaction, task, alone=len(tasks) == 1))
                if number % BREATH == 0:
                    await asyncio.sleep(0)
        except BaseException as error:
            self._seat.abandon()
            if isinstance(error, asyncio.CancelledError):
                raise
            if isinstance(seats.root(error), engines.DRIVER_ERRORS):
                return None
            return [seats.Done(task=task, error=error) for task in tasks]
        return await self._on_thread(lambda: self._seat.commit(done))

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
