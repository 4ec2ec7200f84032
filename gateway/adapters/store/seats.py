"""One connection that runs units of work: each whole or not at all, several in one transaction.

A unit is a function of a transaction. When several share one, each runs in a savepoint: one that raises rolls back its
own, and the others never notice. Whoever holds a seat drives it alone, on one thread at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import exc

from gateway.adapters.store import engines, statements
from gateway.domain import errors

TRIES: Final = 5  #: of a PostgreSQL unit that meets a deadlock or a serialization failure

T = TypeVar("T")
Unit = Callable[[statements.Transaction], T]

_log = structlog.get_logger("gateway.store")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A unit and who waits for it. `quick`: it touches a few rows, however many there are."""

    unit: Unit[Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    quick: bool


def task(unit: Unit[Any], *, quick: bool) -> Task:
    """A unit for whoever runs on this loop."""
    loop = asyncio.get_running_loop()
    return Task(unit=unit, future=loop.create_future(), loop=loop, quick=quick)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of a unit."""

    task: Task
    result: Any = None
    error: BaseException | None = None

    def tell(self) -> None:
        """Tell who waits, on its loop."""
        if self.task.future.done():
            return
        if self.error is not None:
            self.task.future.set_exception(self.error)
        else:
            self.task.future.set_result(self.result)


class _Undone(Exception):
    """A transaction that came to nothing. `again`: another try may do better and cannot do harm."""

    def __init__(self, cause: BaseException, *, again: bool) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.again = again


class Seat:
    """A connection, opened when it is first needed and anew after it broke."""

    def __init__(self, backend: engines.Backend, begin: str) -> None:
        self._backend = backend
        self._begin = begin
        self._statements = statements.Statements(backend.engine.dialect)
        self._driver: Any = None
        self._patience: int | None = None  #: milliseconds that SQLite waits for locks, while it is told not to

    def run(self, tasks: Sequence[Task]) -> list[Done]:
        """Run the units in one transaction, however long the database makes us wait."""
        tasks = [task for task in tasks if not task.future.cancelled()]
        for left in reversed(range(TRIES)):
            try:
                return self._transaction(tasks)
            except _Undone as undone:
                if not undone.again or left == 0:
                    error = self._mapped(undone.cause)
                    return [Done(task=task, error=error) for task in tasks]
        raise AssertionError("the last try returns")

    def begin_at_once(self) -> statements.Transaction | None:
        """Begin a transaction of SQLite without waiting for anything; None when that cannot be."""
        if self._driver is None:
            return None
        try:
            if self._patience is None:
                (self._patience,) = self._driver.execute("PRAGMA busy_timeout").fetchone()
                self._driver.execute("PRAGMA busy_timeout = 0")
            self._driver.execute(self._begin)
        except engines.DRIVER_ERRORS:
            self.abandon()
            return None
        return statements.Transaction(self._driver, self._statements)

    def run_one(self, tx: statements.Transaction, task: Task, *, alone: bool) -> Done:
        """Run a unit, in a savepoint unless it is alone. Raises when all of the transaction is lost."""
        if alone:
            return Done(task=task, result=task.unit(tx))
        driver = self._driver
        driver.execute("SAVEPOINT unit")
        try:
            result = task.unit(tx)
        except BaseException as error:
            if not engines.in_transaction(driver):  # SQLite gave up the whole group
                raise
            driver.execute("ROLLBACK TO unit")
            driver.execute("RELEASE unit")
            return Done(task=task, error=self._mapped(error))
        driver.execute("RELEASE unit")
        return Done(task=task, result=result)

    def commit(self, done: Sequence[Done]) -> Sequence[Done]:
        """Commit what these units did. If that goes wrong, it went wrong for each of them."""
        try:
            self._commit()
        except _Undone as undone:
            error = self._mapped(undone.cause)
            return [Done(task=one.task, error=error) for one in done]
        return done

    def abandon(self) -> bool:
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

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        if self._driver is not None:
            with contextlib.suppress(*engines.DRIVER_ERRORS):
                self._driver.close()
            self._driver = self._patience = None

    def _transaction(self, tasks: Sequence[Task]) -> list[Done]:
        fresh = self._driver is None
        try:
            if fresh:
                self._driver = engines.connect(self._backend.engine)
            self._be_patient()
            self._driver.execute(self._begin)
            transaction = statements.Transaction(self._driver, self._statements)
            done = [self.run_one(transaction, task, alone=len(tasks) == 1) for task in tasks]
        except BaseException as error:
            broke = self.abandon()
            raise _Undone(error, again=(broke and not fresh) or self._backend.retryable(root(error))) from error
        self._commit()
        return done

    def _be_patient(self) -> None:
        """Wait for locks again, after `begin_at_once`."""
        if self._patience is not None:
            self._driver.execute(f"PRAGMA busy_timeout = {self._patience}")
            self._patience = None

    def _commit(self) -> None:
        try:
            self._driver.execute("COMMIT")  # waits for nobody in SQLite's WAL: BEGIN IMMEDIATE took the lock
        except BaseException as error:  # not tried again if the connection broke: it may have happened
            self.abandon()
            raise _Undone(error, again=self._backend.retryable(error)) from error

    def _mapped(self, error: BaseException) -> BaseException:
        cause = root(error)
        if not self._backend.unavailable(cause):
            return error
        with contextlib.suppress(OSError):  # the log may lie on the disk that is full
            _log.warning("store_unavailable", reason=str(cause))
        unavailable = errors.StoreUnavailable("The database cannot be used right now.")
        unavailable.__cause__ = error
        return unavailable


def root(error: BaseException) -> BaseException:
    """The driver's own error under SQLAlchemy's."""
    return (error.orig or error) if isinstance(error, exc.DBAPIError) else error
