"""Opening the store: connect, migrate, put the ports together."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Final, TypeVar

import sqlalchemy as sa
import tenacity
import uuid_utils
from sqlalchemy import exc

from gateway import ports
from gateway.adapters.store import (
    assets,
    deliveries,
    engines,
    jobs,
    known,
    learned,
    migrating,
    ordering,
    owing,
    pausing,
    pipelines,
    queue,
    slices,
    templates,
    tenants,
    units,
    workers,
)
from gateway.domain import errors

_T = TypeVar("_T")
CHECK_SECONDS: Final = 5.0
BUSY_SECONDS: Final = 5.0  #: of others that open the same database at this moment
_CHECK: Final = sa.text("INSERT INTO probe (id, at) VALUES (1, :at) ON CONFLICT (id) DO UPDATE SET at = excluded.at")


async def open_store(url: str, *, clock: ports.Clock) -> ports.Store:
    """See `gateway.adapters.store.open_store`."""
    backend = engines.backend(url)
    await asyncio.to_thread(_patiently, backend, migrating.migrate)
    run = units.Units(backend)
    boot = str(uuid_utils.uuid7())
    known_requirements = known.Known()
    bell = owing.Bell()
    paused = pausing.Pauses(run, clock=clock)
    queued = queue.Queue(run, known_requirements, bell, paused, boot=boot, clock=clock)
    orders = ordering.Ordering(run, known_requirements, submitting=queued.submitting, clock=clock)

    async def check() -> None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await run.write(lambda tx: tx.execute(_CHECK, {"at": clock()}))
        except TimeoutError:
            raise errors.StoreUnavailable("The database does not answer.") from None

    async def close() -> None:
        await orders.close()
        await run.close()

    try:
        await slices.finish(run)
    except BaseException:
        await run.close()
        raise
    return ports.Store(
        jobs=jobs.Jobs(run, bell, orders=orders, clock=clock),
        queue=queued,
        workers=workers.Workers(run, boot=boot),
        assets=assets.Assets(run, clock=clock),
        learned=learned.Learned(run, clock=clock),
        pipelines=pipelines.Pipelines(run, bell),
        deliveries=deliveries.Deliveries(run, bell, boot=boot, clock=clock),
        templates=templates.Templates(run, clock=clock),
        tenants=tenants.Tenants(run),
        pauses=paused,
        check=check,
        close=close,
    )


async def is_behind(url: str) -> bool:
    """See `gateway.adapters.store.is_behind`."""
    backend = engines.backend(url)
    try:
        return await asyncio.to_thread(_patiently, backend, migrating.is_behind)
    finally:
        backend.engine.dispose()


def _patiently(backend: engines.Backend, look: Callable[[sa.Engine], _T]) -> _T:
    # SQLite's busy time-out does not hold for the switch to WAL: who comes second is refused at once.
    patient = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_busy),
        wait=tenacity.wait_random(0.01, 0.1),
        stop=tenacity.stop_after_delay(BUSY_SECONDS),
        reraise=True,
    )
    try:
        return patient(look, backend.engine)
    except exc.DBAPIError as error:
        if error.orig is None or not backend.unavailable(error.orig):
            raise
        raise errors.StoreUnavailable(f"The database cannot be opened: {error.orig}") from error


def _is_busy(error: BaseException) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", 0) if isinstance(error, exc.DBAPIError) else 0
    return code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
