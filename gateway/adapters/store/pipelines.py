"""The Pipelines port: jobs that are made of steps, and who leads them on.

A pipeline, and a step that the gateway does by itself, begins in the transaction that orders it: no worker may claim
it. Whoever owns a pipeline leads it on; what an owner that died had is taken over when its time is up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from gateway.adapters.store import assets, edges, engines, jobs, owing, rows, schema, statements, units
from gateway.domain import model
from gateway.domain.pipelines import moves
from gateway.domain.states import Edge, JobStatus

_EDGES: Final = {
    JobStatus.SUCCEEDED: Edge.SUCCEED,
    JobStatus.FAILED: Edge.FAIL,
    JobStatus.CANCELED: Edge.CONFIRM_CANCEL,
}
_pipelines = schema.pipelines
_jobs = schema.jobs
_open = _pipelines.c.ended_at.is_(None)

_TAKE: Final = (
    sa.update(_pipelines)
    .where(
        _open,
        sa.or_(_pipelines.c.owner == sa.bindparam("b_owner"), _pipelines.c.owned_until < engines.db_now()),
    )
    .values(owner=sa.bindparam("b_owner"), owned_until=engines.db_now() + sa.bindparam("seconds", type_=sa.Double))
    .returning(_pipelines.c.job_id)
)
_PLAN: Final = sa.select(_pipelines.c.plan).where(_pipelines.c.job_id == sa.bindparam("id"))
_STEPS: Final = (
    sa.select(_jobs).where(_jobs.c.parent_id == sa.bindparam("parent")).order_by(_jobs.c.created_at, _jobs.c.id)
)
_STANDS: Final = (
    sa.select(_jobs.c.id, _jobs.c.parent_id, _jobs.c.status, _jobs.c.started_at, _jobs.c.webhook)
    .where(_jobs.c.id == sa.bindparam("id"))
    .with_for_update()
)
_END: Final = (
    sa.update(_pipelines).where(_pipelines.c.job_id == sa.bindparam("b_id")).values(ended_at=sa.bindparam("at"))
)
_ADD_OUTPUTS: Final = sa.insert(schema.outputs)
_HAND_OUT: Final = (
    sa.update(schema.assets)
    .where(
        schema.assets.c.id == sa.bindparam("b_asset"),
        schema.assets.c.job_id.in_(sa.select(_jobs.c.id).where(_jobs.c.parent_id.is_not(None))),
    )
    .values(job_id=sa.bindparam("b_job"))
)


class Pipelines:
    """`ports.Pipelines` over SQL."""

    def __init__(self, run: units.Units, bell: owing.Bell) -> None:
        self._run = run
        self._bell = bell

    async def take(self, *, owner: str, seconds: float) -> Sequence[model.JobId]:
        """The pipelines that have not ended and are `owner`'s for so long now."""
        values = {"b_owner": owner, "seconds": seconds}
        found = await self._run.write(lambda tx: tx.execute(_TAKE, values).all())
        return [model.JobId(row.job_id) for row in found]

    async def plan(self, job_id: str) -> moves.Plan | None:
        """A pipeline's plan; None for any other job."""
        row = await self._run.read(lambda tx: tx.execute(_PLAN, {"id": job_id}).one_or_none())
        return None if row is None else moves.Plan.from_dict(row.plan)

    async def job(self, job_id: str) -> model.Job | None:
        """A job whoever owns it; None when it is gone."""
        return await self._run.read(lambda tx: _job(tx, job_id))

    async def steps(self, job_id: str) -> Mapping[str, model.Job]:
        """The steps of a pipeline that were begun, with their outputs, by name."""
        return await self._run.read(lambda tx: _steps(tx, job_id))

    async def end(self, job_id: str, end: moves.End, *, at: float) -> model.Job | None:
        """End a pipeline, or a step that the gateway did; None when it has ended already."""
        job = await self._run.write(lambda tx: _finish(tx, job_id, end, at))
        if job is not None:
            self._bell.changed([job])
        return job


def _job(tx: statements.Transaction, job_id: str) -> model.Job | None:
    row = tx.execute(jobs.JOB, {"id": job_id}).one_or_none()
    return None if row is None else jobs.read_job(tx, row.id)


def _steps(tx: statements.Transaction, job_id: str) -> dict[str, model.Job]:
    return {row.step: jobs.read_job(tx, row.id) for row in tx.execute(_STEPS, {"parent": job_id}) if row.step}


def _finish(tx: statements.Transaction, job_id: str, end: moves.End, at: float) -> model.Job | None:
    row = tx.execute(_STANDS, {"id": job_id}).one_or_none()
    if row is None or row.status not in {JobStatus.RUNNING, JobStatus.CANCELING}:
        tx.execute(_END, {"b_id": job_id, "at": at})
        return None
    status = JobStatus(row.status)
    edge = _EDGES[end.status]
    if edge is Edge.CONFIRM_CANCEL and status is JobStatus.RUNNING:
        edges.follow(tx, job_id, status, Edge.ASK_CANCEL, at=at, hook=row.webhook)
        status = JobStatus.CANCELING
    _add_outputs(tx, row, end.outputs)
    if row.parent_id is None and end.outputs:  # clients know the pipeline; its steps' jobs may be nobody's to see
        tx.execute(_HAND_OUT, [{"b_asset": output.asset.id, "b_job": job_id} for output in end.outputs])
    edges.follow(
        tx,
        job_id,
        status,
        edge,
        at=at,
        hook=row.webhook,
        completed_at=at,
        tries=0,
        attempt_id=None,
        execution_ms=round((at - row.started_at) * 1000),
        outputs_reused=False,
        error=rows.error_value(end.error),
    )
    tx.execute(_END, {"b_id": job_id, "at": at})
    return jobs.read_job(tx, job_id)


def _add_outputs(tx: statements.Transaction, row: rows.Row, outputs: tuple[model.Output, ...]) -> None:
    """List outputs. Assets that no other job made before are new."""
    if not outputs:
        return
    own = [rows.asset_values(output.asset) for output in outputs if output.asset.job_id == row.id]
    if own:
        tx.execute(assets.ADD_ASSETS, own)
    tx.execute(
        _ADD_OUTPUTS,
        [
            {
                "job_id": row.id,
                "position": output.index,
                "asset_id": output.asset.id,
                "attempt_id": row.id,
                "node_id": output.node_id,
                "name": output.name,
                "type": output.type,
            }
            for output in outputs
        ],
    )
    edges.add_output_events(tx, row.id, outputs, hook=row.webhook)
