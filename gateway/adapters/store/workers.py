"""The Workers port: the known workers, and who drives them.

Only workers are leased. A lease carries a number, the epoch, which grows whenever it changes hands; attempts keep
the epoch under which they were claimed, and what is written about them is refused once the worker's differs, or
once another boot holds the lease. Times are compared by the database's clock, since hosts' clocks differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from gateway.adapters.store import engines, rows, schema, statements, units
from gateway.adapters.store.columns import Word
from gateway.domain import errors, model

_workers = schema.workers
_PUT: Final = sa.text(
    "INSERT INTO workers (id, url, kind, gpu, depth, persistent, created_at)"
    " VALUES (:id, :url, :kind, :gpu, :depth, :persistent, :created_at)"
    " ON CONFLICT (id) DO UPDATE SET url = excluded.url, kind = excluded.kind, gpu = excluded.gpu,"
    " depth = excluded.depth, persistent = excluded.persistent"
).bindparams(*(sa.bindparam(name, type_=Word) for name in ("id", "url", "kind", "gpu")))
_ONE: Final = sa.select(_workers).where(_workers.c.id == sa.bindparam("id"))
_ONE_LOCKED: Final = _ONE.with_for_update()
_ALL: Final = sa.select(_workers).order_by(_workers.c.id)
_REMOVE: Final = sa.delete(_workers).where(_workers.c.id == sa.bindparam("id"))
_OPEN: Final = (
    sa.select(schema.attempts.c.id)
    .where(schema.attempts.c.worker == sa.bindparam("id"), schema.attempts.c.ended_at.is_(None))
    .limit(1)
)

_mine = sa.and_(_workers.c.lease_owner == sa.bindparam("owner"), _workers.c.lease_boot == sa.bindparam("boot"))
_LEASE: Final = (
    sa.update(_workers)
    .where(
        _workers.c.id == sa.bindparam("b_id"),
        sa.or_(
            _workers.c.lease_owner.is_(None),
            _workers.c.lease_owner == sa.bindparam("owner"),
            _workers.c.lease_until <= engines.db_now(),
        ),
    )
    .values(
        lease_epoch=_workers.c.lease_epoch + sa.case((_mine, 0), else_=1),
        lease_owner=sa.bindparam("owner"),
        lease_boot=sa.bindparam("boot"),
        lease_until=engines.db_now() + sa.bindparam("seconds", type_=sa.Double),
    )
    .returning(_workers.c.lease_epoch)
)
_RELEASE: Final = (
    sa.update(_workers)
    .where(_workers.c.lease_owner == sa.bindparam("owner"))
    .values(lease_owner=sa.null(), lease_boot=sa.null(), lease_until=0.0)
)


class Workers:
    """`ports.Workers` over SQL. `boot` names this opening of the store."""

    def __init__(self, run: units.Units, *, boot: str) -> None:
        self._run = run
        self._boot = boot

    async def put(self, worker: model.Worker) -> model.Worker:
        """Add a worker, or update the one with that id; counters and lease stay."""
        return await self._run.write(lambda tx: _put(tx, worker))

    async def remove(self, worker: model.WorkerId) -> None:
        """Forget a worker; NotFound; Conflict while an attempt runs on it."""
        await self._run.write(lambda tx: _remove(tx, worker))

    async def all(self) -> tuple[model.Worker, ...]:
        """All workers by id."""
        found = await self._run.read(lambda tx: tx.execute(_ALL).all())
        return tuple(rows.worker(row) for row in found)

    async def lease(
        self, workers: Sequence[model.WorkerId], *, owner: str, seconds: float
    ) -> Mapping[model.WorkerId, int]:
        """Take or renew leases; returns the epoch of each lease held now."""
        values = {"owner": owner, "boot": self._boot, "seconds": seconds}
        return await self._run.write(lambda tx: _lease(tx, workers, values))

    async def release(self, *, owner: str) -> None:
        """Give all leases of `owner` back at once."""
        await self._run.write(lambda tx: tx.execute(_RELEASE, {"owner": owner}))


def _put(tx: statements.Transaction, worker: model.Worker) -> model.Worker:
    values = {
        "id": worker.id,
        "url": worker.url,
        "kind": worker.kind,
        "gpu": worker.gpu,
        "depth": worker.depth,
        "persistent": worker.persistent,
        "created_at": worker.created_at,
    }
    tx.execute(_PUT, values)
    return rows.worker(tx.execute(_ONE, {"id": worker.id}).one())


def _remove(tx: statements.Transaction, worker: model.WorkerId) -> None:
    if tx.execute(_ONE_LOCKED, {"id": worker}).one_or_none() is None:
        raise errors.NotFound(f"There is no worker {worker!r}.")
    if tx.execute(_OPEN, {"id": worker}).one_or_none() is not None:
        raise errors.Conflict(f"Worker {worker!r} still runs a job.")
    tx.execute(_REMOVE, {"id": worker})


def _lease(
    tx: statements.Transaction, workers: Sequence[model.WorkerId], values: Mapping[str, object]
) -> dict[model.WorkerId, int]:
    held: dict[model.WorkerId, int] = {}
    for worker in sorted(workers):  # one order for everyone: no deadlocks
        epoch = tx.execute(_LEASE, {"b_id": worker, **values}).scalar_one_or_none()
        if epoch is not None:
            held[worker] = epoch
    return held
