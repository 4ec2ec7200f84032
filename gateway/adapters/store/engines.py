"""All that differs between SQLite and PostgreSQL: connecting, transactions, some SQL functions, what errors mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import functions

from gateway.domain import errors

DRIVER_ERRORS: Final = (sqlite3.Error, psycopg.Error)
BUSY_SECONDS: Final = 5.0
MIN_SQLITE: Final = (3, 35, 0)  # RETURNING


class db_now(functions.GenericFunction[float]):  # noqa: N801 — it is an SQL function
    """The database's clock in seconds since the epoch."""

    type = sa.Double()
    inherit_cache = True


class greater(functions.GenericFunction[float]):  # noqa: N801 — it is an SQL function
    """The greater of two numbers."""

    type = sa.Double()
    inherit_cache = True


class lies_at(functions.GenericFunction[Any]):  # noqa: N801 — it is an SQL function
    """Where the row of a column lies, for the time of one statement: the shortest way back to it."""

    inherit_cache = True


@compiles(db_now, "sqlite")
def _sqlite_now(element: db_now, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(db_now, "postgresql")
def _postgres_now(element: db_now, compiler: Any, **options: Any) -> str:
    return "extract(epoch from clock_timestamp())::float8"


@compiles(greater, "sqlite")
def _sqlite_greater(element: greater, compiler: Any, **options: Any) -> str:
    return f"max({compiler.process(element.clauses, **options)})"


@compiles(greater, "postgresql")
def _postgres_greater(element: greater, compiler: Any, **options: Any) -> str:
    return f"greatest({compiler.process(element.clauses, **options)})"


@compiles(lies_at, "sqlite")
def _sqlite_lies_at(element: lies_at, compiler: Any, **options: Any) -> str:
    return f"{compiler.process(element.clauses, **options).rpartition('.')[0]}.rowid"


@compiles(lies_at, "postgresql")
def _postgres_lies_at(element: lies_at, compiler: Any, **options: Any) -> str:
    return f"{compiler.process(element.clauses, **options).rpartition('.')[0]}.ctid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One engine, as `units` drives it.

    Connections stay in autocommit; transactions are begun and ended by name, which is what lets units of a group roll
    back alone.
    """

    engine: sa.Engine
    writers: int | None  #: threads that write; None: there is one writer, whose units share commits
    readers: int
    begin_write: str
    begin_read: str
    unavailable: Callable[[BaseException], bool]
    retryable: Callable[[BaseException], bool]


def backend(url: str) -> Backend:
    """The engine that `url` names: `sqlite:///path` or `postgresql://…`; ConfigError for anything else."""
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError as error:
        raise errors.ConfigError("The database URL cannot be read; use sqlite:///path or postgresql://…") from error
    match parsed.get_backend_name():
        case "sqlite":
            return _sqlite(parsed)
        case "postgresql" | "postgres":
            return _postgres(parsed)
        case other:
            message = f"The database {other!r} is not supported; use sqlite:///path or postgresql://…"
            raise errors.ConfigError(message)


def connect(engine: sa.Engine) -> Any:
    """A connection of the driver's own, set up as the engine sets up its; whoever asked for it closes it."""
    connection = engine.raw_connection()
    connection.detach()
    return connection.dbapi_connection


def in_transaction(driver: Any) -> bool:
    """Whether the transaction still stands: SQLite gives up a whole one on some errors (disk full, I/O)."""
    if isinstance(driver, sqlite3.Connection):
        return driver.in_transaction
    return bool(driver.info.transaction_status != psycopg.pq.TransactionStatus.IDLE)


def _sqlite(url: sa.URL) -> Backend:
    if sqlite3.sqlite_version_info < MIN_SQLITE:
        raise errors.ConfigError(f"SQLite {sqlite3.sqlite_version} is too old; 3.35 or newer is needed.")
    if url.database in {None, "", ":memory:"}:
        raise errors.ConfigError("The database has to be a file: sqlite:///path")
    engine = sa.create_engine(
        url.set(drivername="sqlite"),
        poolclass=sa.NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"check_same_thread": False} | ({} if "timeout" in url.query else {"timeout": BUSY_SECONDS}),
    )
    event.listen(engine, "connect", _set_up_sqlite)
    return Backend(
        engine=engine,
        writers=None,
        readers=2,
        begin_write="BEGIN IMMEDIATE",
        begin_read="BEGIN",
        unavailable=_sqlite_unavailable,
        retryable=lambda _error: False,
    )


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY", "journal_size_limit=67108864"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_unavailable(error: BaseException) -> bool:
    # SQLITE_ERROR is a statement that makes no sense: ours to mend, not the disk's. Extended codes carry the
    # primary one in their low byte.
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.Error) and code is not None and code & 0xFF in _SQLITE_ENVIRONMENT


_SQLITE_ENVIRONMENT: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
    }
)


#: A server that has vanished is noticed within half a minute, also in the middle of an answer.
_POSTGRES_CONNECTION: Final[dict[str, Any]] = {
    "application_name": "comfy-gateway",
    "connect_timeout": 5,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "prepare_threshold": 1,  # statements are constants: what comes twice comes always
}


def _postgres(url: sa.URL) -> Backend:
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        poolclass=sa.NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args=_POSTGRES_CONNECTION | dict(url.query),
    )
    event.listen(engine, "connect", _set_up_postgres)
    return Backend(
        engine=engine,
        writers=4,
        readers=2,
        begin_write="BEGIN",
        begin_read="BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",  # one snapshot for all that a unit reads
        unavailable=_postgres_unavailable,
        retryable=_postgres_retryable,
    )


def _set_up_postgres(connection: psycopg.Connection, _record: object) -> None:
    # Units take milliseconds; whatever takes longer than these is stuck, and has to let go of its locks.
    for name, seconds in (("lock_timeout", 15), ("statement_timeout", 60), ("idle_in_transaction_session_timeout", 60)):
        connection.execute(f"SET {name} = '{seconds}s'".encode())
    # All we read comes through an index in its order, a few rows at a time. The server plans for the queue that it saw
    # when it last analyzed the table, if ever: where that was short, it would walk and sort all of a long one for each
    # claim. `jit`: where nothing but a sort will do, it would take that for worth a compilation.
    for name in ("enable_bitmapscan", "enable_seqscan", "enable_sort", "enable_hashjoin", "enable_mergejoin", "jit"):
        connection.execute(f"SET {name} = off".encode())
    # What is looked up is a few rows of a table that is mostly in memory: walking all of it is never cheaper.
    connection.execute(b"SET random_page_cost = 1.1")


#: Classes of SQLSTATE that tell of the server, not of the statement: connection, resources, operator, system.
_POSTGRES_ENVIRONMENT: Final = ("08", "53", "57", "58", "XX")
#: A standby that only reads, a lock that was not to be had, conflicts that lasted.
_POSTGRES_BLOCKED: Final = frozenset({"25006", "55P03", "40001", "40P01"})


def _postgres_unavailable(error: BaseException) -> bool:
    if not isinstance(error, psycopg.Error):
        return False
    state = error.sqlstate
    if state is None:  # no answer from a server at all
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return state.startswith(_POSTGRES_ENVIRONMENT) or state in _POSTGRES_BLOCKED


def _postgres_retryable(error: BaseException) -> bool:
    return isinstance(error, psycopg.errors.SerializationFailure | psycopg.errors.DeadlockDetected)
