"""Jobs that begin in the transaction that queues them: pipelines, and steps that need no worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from gateway.adapters.store import edges, engines, owing, schema, statements
from gateway.domain.states import Edge, JobStatus

OWNED_SECONDS: Final = 30.0  #: a pipeline that was just ordered is its owner's

_ADD: Final = sa.insert(schema.pipelines).values(
    job_id=sa.bindparam("job_id"),
    plan=sa.bindparam("plan"),
    owner=sa.bindparam("owner"),
    owned_until=engines.db_now() + sa.bindparam("seconds", type_=sa.Double),
)


def begin(
    tx: statements.Transaction,
    hooks: Mapping[str, owing.Hook],
    plans: Mapping[str, Mapping[str, Any]],
    *,
    owner: str,
    at: float,
) -> None:
    """Lead jobs that were queued in this transaction on at once: `hooks` has their ids, each with its webhook. Those
    that have a plan are pipelines."""
    edges.follow_many(tx, hooks, JobStatus.QUEUED, Edge.BEGIN, at=at, started_at=at)
    if plans:
        tx.execute(
            _ADD,
            [
                {"job_id": job_id, "plan": dict(plan), "owner": owner, "seconds": OWNED_SECONDS}
                for job_id, plan in plans.items()
            ],
        )
