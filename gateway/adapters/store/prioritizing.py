"""The place of a queued job: changing its priority, and foretelling the place of a new one."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from gateway.adapters.store import edges, engines, rows, schema, statements, submission
from gateway.domain import errors
from gateway.domain.states import JobStatus

_jobs = schema.jobs
_QUEUED_OF: Final = (
    sa.select(_jobs).where(_jobs.c.id == sa.bindparam("id"), _jobs.c.tenant == sa.bindparam("tenant")).with_for_update()
)
_CHANGE: Final = (
    sa.update(_jobs)
    .where(_jobs.c.id == sa.bindparam("b_id"), _jobs.c.status == schema.QUEUED)
    .values(
        priority=sa.bindparam("stored"),
        vt=engines.greater(_jobs.c.vt, sa.func.coalesce(submission.PRESENT, _jobs.c.vt)),
    )
    .returning(_jobs)
)
_TURN: Final = sa.select(
    sa.func.coalesce(submission.PRESENT, 0.0).label("present"),
    sa.select(schema.tenants.c.vt).where(schema.tenants.c.id == sa.bindparam("tenant")).scalar_subquery().label("vt"),
    sa.select(schema.tenants.c.weight)
    .where(schema.tenants.c.id == sa.bindparam("tenant"))
    .scalar_subquery()
    .label("weight"),
)


def _ahead(*conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    queued = sa.select(sa.func.count()).select_from(_jobs).where(_jobs.c.status == schema.QUEUED, *conditions)
    return queued.scalar_subquery()


_AHEAD: Final = sa.select(
    _ahead(_jobs.c.priority > sa.bindparam("priority"))
    + _ahead(_jobs.c.priority == sa.bindparam("priority"), _jobs.c.vt <= sa.bindparam("vt"))
)


def change(tx: statements.Transaction, tenant: str, job_id: str, priority: int, *, now: float) -> rows.Row:
    """See `ports.Jobs.prioritize`."""
    row = tx.execute(_QUEUED_OF, {"id": job_id, "tenant": tenant}).one_or_none()
    if row is None:
        raise errors.NotFound(f"There is no job {job_id!r}.")
    if row.status != JobStatus.QUEUED:
        raise errors.NotQueued(f"The priority of a job matters while it is queued; this one is {row.status}.")
    before = rows.priority(row.priority)
    if before == priority:
        return row
    stored = priority + row.priority - before  # a paused one stays below
    data = {"from": before, "to": priority}
    tx.execute(edges.ADD_EVENT, {"job_id": row.id, "type": "prioritize", "at": now, "data": data})
    return tx.execute(_CHANGE, {"b_id": row.id, "stored": stored, "priority": priority}).one()


def place_of_new(tx: statements.Transaction, tenant: str, *, priority: int, n: int) -> int:
    """See `ports.Jobs.place_of_new`."""
    turn = tx.execute(_TURN, {"tenant": tenant, "priority": priority}).one()
    last = max(turn.vt or 0.0, turn.present) + n / (turn.weight or 1.0)
    return n + tx.execute(_AHEAD, {"priority": priority, "vt": last}).scalar_one()
