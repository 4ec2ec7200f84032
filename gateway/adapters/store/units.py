"""Units of work on threads, and the group commit.

A unit is a function of a transaction. Callers are coroutines; units run on threads that own their connections, so
that a whole unit costs one hop. On SQLite one thread does all the writing: it takes every unit that is waiting,
runs each in a savepoint, commits once for all of them (one fsync) and only then tells their callers. A unit that
raises rolls back its own savepoint; the others of the group never notice. On PostgreSQL each unit is a transaction
of its own, and the server groups the commits of several threads by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import exc

from gateway.adapters.store import engines, statements
from gateway.domain import errors

GROUP: Final = 128  #: units that share one commit at most
TRIES: Final = 5  #: of a PostgreSQL unit that meets a deadlock or a serialization failure

T = TypeVar("T")
U = TypeVar("U")
Unit = Callable[[statements.Transaction], T]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    unit: Unit[Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    task: _Task
    result: Any = None
    error: BaseException | None = None


class Units:
    """Runs units of work; `write` and `read` return when the unit has been committed."""

    def __init__(self, backend: engines.Backend) -> None:
        self._engine = backend.engine
        self._writes = _Lane("store-write", backend, threads=backend.writers, begin=backend.begin_write)
        self._reads = _Lane("store-read", backend, threads=backend.readers, begin=backend.begin_read)

    async def write(self, unit: Unit[T]) -> T:
        """Run a unit that may write."""
        return await self._writes.run(unit)

    async def read(self, unit: Unit[T]) -> T:
        """Run a unit that only reads."""
        return await self._reads.run(unit)

    @property
    def grouped(self) -> bool:
        """Whether writes share commits, so that `write_together` means one transaction."""
        return self._writes.grouped

    def write_together(self, first: Unit[T], second: Unit[U]) -> tuple[asyncio.Future[T], asyncio.Future[U]]:
        """Run two units in one transaction, in this order, each in a savepoint of its own. Only when `grouped`."""
        return self._writes.together(first, second)

    async def close(self) -> None:
        """Finish what is waiting and close every connection."""
        await asyncio.to_thread(self._writes.close)
        await asyncio.to_thread(self._reads.close)
        self._engine.dispose()


class _Lane:
    """Threads that take units from one queue; a None in it ends the thread that takes it."""

    def __init__(self, name: str, backend: engines.Backend, *, threads: int, begin: str) -> None:
        self._queue: queue.SimpleQueue[Sequence[_Task] | None] = queue.SimpleQueue()
        self._closed = False
        self._group = GROUP if backend.grouped and threads == 1 else 1
        seats = [_Seat(backend, begin) for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._work, args=(seat,), name=f"{name}-{number}", daemon=True)
            for number, seat in enumerate(seats)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def grouped(self) -> bool:
        return self._group > 1

    async def run(self, unit: Unit[T]) -> T:
        task = self._task(unit)
        self._queue.put((task,))
        return await task.future

    def together(self, first: Unit[T], second: Unit[U]) -> tuple[asyncio.Future[T], asyncio.Future[U]]:
        tasks = self._task(first), self._task(second)
        self._queue.put(tasks)
        return tasks[0].future, tasks[1].future

    def _task(self, unit: Unit[Any]) -> _Task:
        if self._closed:
            raise errors.StoreUnavailable("The store is closed.")
        loop = asyncio.get_running_loop()
        return _Task(unit=unit, future=loop.create_future(), loop=loop)

    def close(self) -> None:
        self._closed = True
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, seat: _Seat) -> None:
        last = False
        while not last:
            tasks, last = self._take()
            if tasks:
                _tell(seat.run(tasks))
        seat.close()

    def _take(self) -> tuple[list[_Task], bool]:
        """What waits, at least one; and whether it is time to end."""
        first = self._queue.get()
        if first is None:
            return [], True
        tasks = [*first]
        while len(tasks) < self._group:
            try:
                more = self._queue.get_nowait()
            except queue.Empty:
                break
            if more is None:
                return tasks, True
            tasks += more
        return tasks, False


class _Undone(Exception):
    """A transaction that came to nothing. `again`: another try may do better and cannot do harm."""

    def __init__(self, cause: BaseException, *, again: bool) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.again = again


class _Seat:
    """One thread's connection, opened when it is first needed and anew after it broke."""

    def __init__(self, backend: engines.Backend, begin: str) -> None:
        self._backend = backend
        self._begin = begin
        self._statements = statements.Statements(backend.engine.dialect)
        self._driver: Any = None

    def run(self, tasks: Sequence[_Task]) -> list[_Done]:
        """Run the units in one transaction; each in a savepoint when there are several."""
        tasks = [task for task in tasks if not task.future.cancelled()]
        for left in reversed(range(TRIES)):
            try:
                return self._transaction(tasks)
            except _Undone as undone:
                if not undone.again or left == 0:
                    error = self._mapped(undone.cause)
                    return [_Done(task=task, error=error) for task in tasks]
        raise AssertionError("the last try returns")

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        if self._driver is not None:
            with contextlib.suppress(*engines.DRIVER_ERRORS):
                self._driver.close()
            self._driver = None

    def _transaction(self, tasks: Sequence[_Task]) -> list[_Done]:
        fresh = self._driver is None
        try:
            if fresh:
                self._driver = engines.connect(self._backend.engine)
            driver = self._driver
            driver.execute(self._begin)
            transaction = statements.Transaction(driver, self._statements)
            done = [self._run_one(transaction, driver, task, alone=len(tasks) == 1) for task in tasks]
        except BaseException as error:
            broke = self._abandon()
            raise _Undone(error, again=(broke and not fresh) or self._backend.retryable(_root(error))) from error
        try:
            driver.execute("COMMIT")
        except BaseException as error:  # not tried again if the connection broke: it may have happened
            self._abandon()
            raise _Undone(error, again=self._backend.retryable(error)) from error
        return done

    def _run_one(self, tx: statements.Transaction, driver: Any, task: _Task, *, alone: bool) -> _Done:
        if alone:
            return _Done(task=task, result=task.unit(tx))
        driver.execute("SAVEPOINT unit")
        try:
            result = task.unit(tx)
        except BaseException as error:
            if not engines.in_transaction(driver):  # SQLite gave up the whole group
                raise
            driver.execute("ROLLBACK TO unit")
            driver.execute("RELEASE unit")
            return _Done(task=task, error=self._mapped(error))
        driver.execute("RELEASE unit")
        return _Done(task=task, result=result)

    def _abandon(self) -> bool:
        """Roll back; True when the connection was broken and has been dropped."""
        if self._driver is None:
            return False
        try:
            if engines.in_transaction(self._driver):
                self._driver.execute("ROLLBACK")
        except engines.DRIVER_ERRORS:
            self.close()
            return True
        return False

    def _mapped(self, error: BaseException) -> BaseException:
        root = _root(error)
        if not self._backend.unavailable(root):
            return error
        with contextlib.suppress(OSError):  # the log may lie on the disk that is full
            log.warning("store_unavailable", reason=str(root))
        unavailable = errors.StoreUnavailable("The database cannot be used right now.")
        unavailable.__cause__ = error
        return unavailable


def _root(error: BaseException) -> BaseException:
    """The driver's own error under SQLAlchemy's."""
    return (error.orig or error) if isinstance(error, exc.DBAPIError) else error


def _tell(done: Iterable[_Done]) -> None:
    """Hand results to their callers, one wake-up a loop for the whole group."""
    loops: dict[asyncio.AbstractEventLoop, list[_Done]] = defaultdict(list)
    for one in done:
        loops[one.task.loop].append(one)
    for loop, group in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, group)


def _resolve(group: Sequence[_Done]) -> None:
    for one in group:
        if one.task.future.done():
            continue
        if one.error is not None:
            one.task.future.set_exception(one.error)
        else:
            one.task.future.set_result(one.result)
