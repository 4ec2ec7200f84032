"""Jobs that begin in the transaction that orders them: pipelines, and steps that need no worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from gateway.adapters.store import edges, engines, schema, statements
from gateway.domain.states import Edge, JobStatus

OWNED_SECONDS: Final = 30.0  #: a pipeline that was just ordered is its owner's

_HOOK: Final = sa.select(schema.jobs.c.webhook).where(schema.jobs.c.id == sa.bindparam("id"))
_ADD: Final = sa.insert(schema.pipelines).values(
    job_id=sa.bindparam("job_id"),
    plan=sa.bindparam("plan"),
    owner=sa.bindparam("owner"),
    owned_until=engines.db_now() + sa.bindparam("seconds", type_=sa.Double),
)


def begin(tx: statements.Transaction, job_id: str, plan: Mapping[str, Any] | None, *, owner: str, at: float) -> None:
    """Lead a job that was queued in this transaction on at once; with a `plan` it is a pipeline."""
    hook = tx.execute(_HOOK, {"id": job_id}).one().webhook
    edges.follow(tx, job_id, JobStatus.QUEUED, Edge.BEGIN, at=at, hook=hook, started_at=at)
    if plan is not None:
        tx.execute(_ADD, {"job_id": job_id, "plan": dict(plan), "owner": owner, "seconds": OWNED_SECONDS})
