"""Queueing jobs: one transaction for all that a submit writes, and for a large order for all that decides about it (see
slices.py).

Fair order is start-time fair queueing. Each tenant has a virtual time; a job costs it 1/weight, and what it queues
gets its virtual time as `vt`, so jobs of equal priority are served in the order of `vt` and tenants alternate. A
tenant that was idle starts at the present of the queue (its head), never in the past: idling earns no credit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from gateway.adapters.store import depth, engines, idempotency, rows, schema, slices, statements
from gateway.adapters.store.columns import Json, Word
from gateway.domain import errors, model

_jobs = schema.jobs
_others = schema.tenants.alias("others")


def _head(*conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[float]:
    fair = (_jobs.c.priority.desc(), _jobs.c.vt)
    queued = sa.select(_jobs.c.vt).where(_jobs.c.status == schema.QUEUED, _jobs.c.priority > schema.FLOOR, *conditions)
    return queued.order_by(*fair).limit(1).scalar_subquery()


#: The present of the queue: the head of this priority, of any, or (nothing waits) how far anyone has been served.
PRESENT: Final = sa.func.coalesce(
    _head(_jobs.c.priority == sa.bindparam("priority")),
    _head(),
    sa.select(sa.func.max(_others.c.vt)).scalar_subquery(),
)

_TURN: Final = ("vt", "weight", "max_queued", "max_queued_bytes")
_TAKE_TURNS: Final = (
    sa.update(schema.tenants)
    .where(schema.tenants.c.id == sa.bindparam("tenant"))
    .values(
        vt=engines.greater(schema.tenants.c.vt, PRESENT) + sa.bindparam("n", type_=sa.Double) / schema.tenants.c.weight
    )
    .returning(*(schema.tenants.c[name] for name in _TURN))
)

ADD_TENANT: Final = sa.text("INSERT INTO tenants (id) VALUES (:id) ON CONFLICT (id) DO NOTHING").bindparams(
    sa.bindparam("id", type_=Word)
)

_ADD_REQUIREMENTS: Final = sa.text(
    "INSERT INTO requirements (key, body) VALUES (:key, :body) ON CONFLICT (key) DO NOTHING"
).bindparams(sa.bindparam("body", type_=Json))

_HELD_ASSETS: Final = (
    sa.select(schema.assets.c.id)
    .where(
        schema.assets.c.tenant == sa.bindparam("tenant"),
        schema.assets.c.id.in_(sa.bindparam("ids", expanding=True)),
    )
    .with_for_update(read=True)
)

_TAKEN: Final = sa.select(_jobs.c.id).where(_jobs.c.id == sa.bindparam("id"))
_ADD_ASSETS: Final = sa.insert(schema.job_assets)
_ADD_BATCH: Final = sa.insert(schema.batches)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One call of submit, prepared outside the transaction."""

    jobs: Sequence[model.NewJob]
    load: depth.Load
    first: slices.Slice
    later: int  #: slices that were put down, to be written once the order was taken
    new_requirements: Sequence[dict[str, Any]]  #: rows of those not known to be stored
    batch: model.NewBatch | None
    idempotency_key: str | None
    bounds: depth.Bounds

    @property
    def id(self) -> str:
        """Under which its later slices are put down."""
        return self.batch.id if self.batch is not None else self.jobs[0].id

    @property
    def tenant(self) -> model.TenantId:
        """Whose jobs they are."""
        return self.jobs[0].tenant

    @property
    def at(self) -> float:
        """When it was ordered."""
        return self.jobs[0].created_at


def submit(tx: statements.Transaction, order: Order, queued: depth.Depth, *, now: float) -> slices.Turns:
    """Take an order and write its first slice, which mostly is all of it; where its jobs stand."""
    if order.idempotency_key is not None:
        made = ("job_id", order.jobs[0].id) if order.batch is None else ("batch_id", order.batch.id)
        idempotency.take(tx, order.tenant, f"job:{order.idempotency_key}", made, at=order.at)
    _refuse_steps_again(tx, order)
    _hold_assets(tx, order)
    turn = _take_turns(tx, order)
    theirs = depth.Bounds(jobs=turn.max_queued, bytes=turn.max_queued_bytes)
    queued.add(tx, order.tenant, order.load, order.bounds, theirs, now=now)
    if order.new_requirements:
        tx.execute(_ADD_REQUIREMENTS, order.new_requirements)
    if order.batch is not None:
        tx.execute(_ADD_BATCH, _batch_values(order.batch, order.tenant))
    if assets := [{"job_id": job.id, "asset_id": asset} for job in order.jobs for asset in set(job.assets)]:
        tx.execute(_ADD_ASSETS, assets)
    turns = slices.Turns(start=turn.vt - order.load.jobs / turn.weight, step=1.0 / turn.weight)
    if order.later:
        slices.mark(tx, order.id, order.tenant, turns, expected=order.later)
    slices.write(tx, order.first, turns)
    return turns


def _refuse_steps_again(tx: statements.Transaction, order: Order) -> None:
    """Conflict for a step of a pipeline that was begun before: its id is made of its pipeline and its name."""
    for job in order.jobs:
        if job.parent_id is not None and tx.execute(_TAKEN, {"id": job.id}).one_or_none() is not None:
            raise errors.Conflict(f"The step {job.step} was begun already.")


def _hold_assets(tx: statements.Transaction, order: Order) -> None:
    wanted = sorted({asset for job in order.jobs for asset in job.assets})
    missing = set(wanted)
    for start in range(0, len(wanted), 500):
        ids = wanted[start : start + 500]
        missing.difference_update(tx.execute(_HELD_ASSETS, {"tenant": order.tenant, "ids": ids}).scalars())
    if missing:
        raise errors.MissingAsset("Assets that the graph refers to do not exist.", missing_ids=sorted(missing))


def _take_turns(tx: statements.Transaction, order: Order) -> rows.Row:
    """The tenant, whose virtual time is now behind the order's last job."""
    values = {"tenant": order.tenant, "priority": order.jobs[0].priority, "n": float(len(order.jobs))}
    row = tx.execute(_TAKE_TURNS, values).one_or_none()
    if row is None:
        tx.execute(ADD_TENANT, {"id": order.tenant})
        row = tx.execute(_TAKE_TURNS, values).one()
    return row


def _batch_values(batch: model.NewBatch, tenant: str) -> dict[str, Any]:
    return {
        "id": batch.id,
        "tenant": tenant,
        "created_at": batch.created_at,
        "metadata": dict(batch.metadata) or None,
    }
