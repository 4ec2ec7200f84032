"""Opening the store: connect, migrate, put the ports together."""

from __future__ import annotations

import asyncio
from typing import Final

import sqlalchemy as sa
import uuid_utils
from sqlalchemy import exc

from gateway import ports
from gateway.adapters.store import assets, engines, jobs, known, migrating, queue, units, workers
from gateway.domain import errors

CHECK_SECONDS: Final = 5.0
_CHECK: Final = sa.text("INSERT INTO probe (id, at) VALUES (1, :at) ON CONFLICT (id) DO UPDATE SET at = excluded.at")


async def open_store(url: str, *, clock: ports.Clock) -> ports.Store:
    """See `gateway.adapters.store.open_store`."""
    backend = engines.backend(url)
    await asyncio.to_thread(_migrate, backend)
    run = units.Units(backend)
    boot = str(uuid_utils.uuid7())
    known_requirements = known.Known()

    async def check() -> None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await run.write(lambda tx: tx.execute(_CHECK, {"at": clock()}))
        except TimeoutError:
            raise errors.StoreUnavailable("The database does not answer.") from None

    return ports.Store(
        jobs=jobs.Jobs(run, known_requirements, clock=clock),
        queue=queue.Queue(run, known_requirements, boot=boot, clock=clock),
        workers=workers.Workers(run, boot=boot),
        assets=assets.Assets(run, clock=clock),
        check=check,
        close=run.close,
    )


def _migrate(backend: engines.Backend) -> None:
    try:
        migrating.migrate(backend.engine)
    except exc.DBAPIError as error:
        if error.orig is None or not backend.unavailable(error.orig):
            raise
        raise errors.StoreUnavailable(f"The database cannot be opened: {error.orig}") from error
