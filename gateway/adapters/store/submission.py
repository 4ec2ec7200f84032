"""Queueing jobs: one transaction for all that a submit writes.

Fair order is start-time fair queueing. Each tenant has a virtual time; a job costs it 1/weight, and what it queues
gets its virtual time as `vt`, so jobs of equal priority are served in the order of `vt` and tenants alternate. A
tenant that was idle starts at the present of the queue (its head), never in the past: idling earns no credit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from gateway.adapters.store import depth, engines, idempotency, rows, schema, statements
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
_ADD_JOB: Final = sa.insert(_jobs)
_ADD_GRAPH: Final = sa.insert(schema.job_graphs)
_ADD_ASSETS: Final = sa.insert(schema.job_assets)
_ADD_PAIRS: Final = sa.insert(schema.job_metadata)
_ADD_BATCH: Final = sa.insert(schema.batches)
_ADD_EVENT: Final = sa.insert(schema.events)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One call of submit, prepared outside the transaction."""

    jobs: Sequence[model.NewJob]
    graphs: Sequence[tuple[bytes, bool]]  #: packed, in the order of the jobs
    keys: Sequence[str]  #: requirement keys, in the order of the jobs
    new_requirements: Sequence[dict[str, Any]]  #: rows of those not known to be stored
    batch: model.NewBatch | None
    idempotency_key: str | None
    bounds: depth.Bounds

    @property
    def tenant(self) -> model.TenantId:
        """Whose jobs they are."""
        return self.jobs[0].tenant

    @property
    def at(self) -> float:
        """When it was ordered."""
        return self.jobs[0].created_at


def submit(tx: statements.Transaction, order: Order, queued: depth.Depth, *, now: float) -> None:
    """Write all of an order."""
    if order.idempotency_key is not None:
        idempotency.take(tx, order.tenant, f"job:{order.idempotency_key}", at=order.at)
    _refuse_steps_again(tx, order)
    _hold_assets(tx, order)
    turn = _take_turns(tx, order)
    load = depth.Load(jobs=len(order.jobs), bytes=sum(len(data) for data, _ in order.graphs))
    theirs = depth.Bounds(jobs=turn.max_queued, bytes=turn.max_queued_bytes)
    queued.add(tx, order.tenant, load, order.bounds, theirs, now=now)
    if order.new_requirements:
        tx.execute(_ADD_REQUIREMENTS, order.new_requirements)
    if order.batch is not None:
        tx.execute(_ADD_BATCH, _batch_values(order.batch, order.tenant))
    _add_jobs(tx, order, start=turn.vt - load.jobs / turn.weight, step=1.0 / turn.weight)


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


def _add_jobs(tx: statements.Transaction, order: Order, *, start: float, step: float) -> None:
    batch_id = order.batch.id if order.batch else None
    numbered = zip(order.jobs, order.keys, order.graphs, range(1, len(order.jobs) + 1), strict=True)
    tx.execute(
        _ADD_JOB,
        [
            rows.job_values(job, vt=start + turn * step, requirements=key, batch_id=batch_id, graph_bytes=len(graph[0]))
            for job, key, graph, turn in numbered
        ],
    )
    graphs = zip(order.jobs, order.graphs, strict=True)
    tx.execute(_ADD_GRAPH, [{"job_id": job.id, "graph": data, "packed": packed} for job, (data, packed) in graphs])
    tx.execute(
        _ADD_EVENT,
        [{"job_id": job.id, "seq": 1, "type": "submit", "at": job.created_at, "data": None} for job in order.jobs],
    )
    if assets := [{"job_id": job.id, "asset_id": asset} for job in order.jobs for asset in set(job.assets)]:
        tx.execute(_ADD_ASSETS, assets)
    if pairs := [
        {"job_id": job.id, "pair": rows.pair_digest(key, value)}
        for job in order.jobs
        for key, value in job.metadata.items()
    ]:
        tx.execute(_ADD_PAIRS, pairs)


def _batch_values(batch: model.NewBatch, tenant: str) -> dict[str, Any]:
    return {
        "id": batch.id,
        "tenant": tenant,
        "created_at": batch.created_at,
        "metadata": dict(batch.metadata) or None,
    }
