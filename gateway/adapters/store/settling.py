"""What is written about an attempt while it runs and when it ends. All of it is fenced."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from gateway.adapters.store import assets, edges, jobs, owing, rows, schema, statements
from gateway.domain import errors, model, retrying, states
from gateway.domain.states import Edge, JobStatus, Outcome

_attempts = schema.attempts
_outputs = schema.outputs
_jobs = schema.jobs
_workers = schema.workers

#: The attempt with its job, if it is open and this boot holds the worker's lease under the attempt's epoch.
_FENCED: Final = (
    sa.select(
        _attempts.c.id,
        _attempts.c.job_id,
        _attempts.c.worker,
        _attempts.c.number,
        _attempts.c.started_at,
        _attempts.c.posted_at,
        _jobs.c.status,
        _jobs.c.tries,
        _jobs.c.max_tries,
        _jobs.c.avoid,
        _jobs.c.webhook,
        _jobs.c.queue_limit,
        _jobs.c.deadline,
    )
    .join(_jobs, _jobs.c.id == _attempts.c.job_id)
    .join(_workers, _workers.c.id == _attempts.c.worker)
    .where(
        _attempts.c.id == sa.bindparam("id"),
        _attempts.c.ended_at.is_(None),
        _workers.c.lease_epoch == _attempts.c.epoch,
        _workers.c.lease_boot == sa.bindparam("boot"),
    )
    .with_for_update(of=[_attempts, _jobs])
)
_END: Final = (
    sa.update(_attempts)
    .where(_attempts.c.id == sa.bindparam("b_id"))
    .values(
        {name: sa.bindparam(name) for name in ("ended_at", "outcome", "reason", "error", "posted_at", "started_at")}
    )
)
_POSTED: Final = (
    sa.update(_attempts)
    .where(_attempts.c.id == sa.bindparam("b_id"))
    .values(posted_at=sa.bindparam("at"), node_errors=sa.bindparam("node_errors"))
)
_DOWNED: Final = (
    sa.select(_attempts.c.worker, _attempts.c.error)
    .where(_attempts.c.job_id == sa.bindparam("job_id"), _attempts.c.error.is_not(None))
    .order_by(_attempts.c.number)
)
GIVEN_UP_ON: Final = (
    sa.select(_attempts)
    .where(
        _attempts.c.outcome.in_([sa.literal_column("'lost'"), sa.literal_column("'broken'")]),
        _attempts.c.worker == sa.bindparam("worker"),
        _attempts.c.ended_at >= sa.bindparam("since"),
    )
    .order_by(_attempts.c.ended_at)
)
_LAST_POSITION: Final = sa.select(sa.func.max(_outputs.c.position)).where(_outputs.c.job_id == sa.bindparam("job_id"))
_ADD_OUTPUTS: Final = sa.insert(_outputs)
_OUTPUT_ASSETS: Final = (
    sa.select(schema.assets.c.id, schema.assets.c.hash)
    .join(_outputs, _outputs.c.asset_id == schema.assets.c.id)
    .where(_outputs.c.attempt_id == sa.bindparam("attempt"), _outputs.c.job_id == sa.bindparam("job_id"))
)
_DROP_OUTPUTS: Final = sa.delete(_outputs).where(_outputs.c.job_id == sa.bindparam("job_id"))
_DROP_ASSETS: Final = sa.delete(schema.assets).where(schema.assets.c.id.in_(sa.bindparam("ids", expanding=True)))
_COUNT_DONE: Final = (
    sa.update(_workers).where(_workers.c.id == sa.bindparam("b_id")).values(jobs_done=_workers.c.jobs_done + 1)
)


def fenced(tx: statements.Transaction, attempt: str, *, boot: str) -> rows.Row:
    """The open attempt with its job, locked; LeaseLost when it is not ours to write about."""
    row = tx.execute(_FENCED, {"id": attempt, "boot": boot}).one_or_none()
    if row is None:
        raise errors.LeaseLost(f"Attempt {attempt} has ended, or its worker is driven by somebody else.")
    return row


def mark_posted(
    tx: statements.Transaction, attempt: str, *, at: float, node_errors: dict[str, object] | None, boot: str
) -> None:
    """Keep when the worker took the graph, and which outputs it dropped."""
    row = fenced(tx, attempt, boot=boot)
    tx.execute(_POSTED, {"b_id": row.id, "at": at, "node_errors": node_errors})


def add_outputs(
    tx: statements.Transaction, attempt: str, new: Sequence[model.NewOutput], *, boot: str
) -> tuple[tuple[model.Output, ...], bool]:
    """Record outputs of an attempt that still runs; and whether the job has a webhook."""
    row = fenced(tx, attempt, boot=boot)
    return _record(tx, row, new), row.webhook is not None


def settle(tx: statements.Transaction, attempt: str, ending: model.Ending, *, boot: str) -> model.Job:
    """End an attempt and lead its job along the edge that this means."""
    row = fenced(tx, attempt, boot=boot)
    status = JobStatus(row.status)
    tries = row.tries + (ending.outcome is not Outcome.RELEASED)
    edge = states.edge_after(ending.outcome, status=status, tries=tries, max_tries=row.max_tries)
    _end(tx, row, ending)
    if edge in {Edge.REQUEUE, Edge.FAIL} and retrying.takes_down(ending.error):
        edge, ending = _unless_killer(tx, row, ending, edge)
    if edge is Edge.REQUEUE:
        _drop_outputs(tx, row)
        owing.drop_outputs(tx, row.job_id, row.webhook)
        columns = _requeue_columns(row, ending)
    else:
        _record(tx, row, ending.outputs)
        columns = _end_columns(row, ending, edge)
    data = {"attempt": row.id, "worker": row.worker, "outcome": ending.outcome, "reason": ending.reason}
    edges.follow(tx, row.job_id, status, edge, at=ending.ended_at, hook=row.webhook, data=data, tries=tries, **columns)
    if edge is Edge.SUCCEED:
        tx.execute(_COUNT_DONE, {"b_id": row.worker})
    job = jobs.read_job(tx, row.job_id)
    return dataclasses.replace(job, attempts=jobs.read_attempts(tx, row.job_id)) if job.ended else job


def _unless_killer(
    tx: statements.Transaction, row: rows.Row, ending: model.Ending, edge: Edge
) -> tuple[Edge, model.Ending]:
    """A graph that took down two different workers is not given to a third."""
    downed = [(one.worker, rows.job_error(one.error)) for one in tx.execute(_DOWNED, {"job_id": row.job_id})]
    error = retrying.killer(downed)
    return (edge, ending) if error is None else (Edge.FAIL, dataclasses.replace(ending, error=error))


def _end(tx: statements.Transaction, row: rows.Row, ending: model.Ending) -> None:
    values = {
        "b_id": row.id,
        "ended_at": ending.ended_at,
        "outcome": ending.outcome,
        "reason": ending.reason,
        "error": rows.error_value(ending.error),
        "posted_at": row.posted_at if ending.posted_at is None else ending.posted_at,
        "started_at": row.started_at if ending.started_at is None else ending.started_at,
    }
    tx.execute(_END, values)


def _requeue_columns(row: rows.Row, ending: model.Ending) -> dict[str, Any]:
    avoid = set(row.avoid or ())
    if ending.avoid:
        avoid.add(row.worker)
    return {
        "attempt_id": None,
        "started_at": None,
        "queued_at": ending.ended_at,
        "queue_until": rows.queue_until(ending.ended_at, row.queue_limit, row.deadline),
        "not_before": ending.retry_at or 0.0,
        "avoid": sorted(avoid) or None,
        "room": rows.room_value(ending.room),
    }


def _end_columns(row: rows.Row, ending: model.Ending, edge: Edge) -> dict[str, Any]:
    started = row.started_at if ending.started_at is None else ending.started_at
    return {
        "completed_at": ending.ended_at,
        "attempt_id": None,
        "execution_ms": None if started is None else max(0, round((ending.ended_at - started) * 1000)),
        "outputs_reused": ending.outputs_reused,
        "error": rows.error_value(_job_error(ending)) if edge is Edge.FAIL else None,
    }


def _job_error(ending: model.Ending) -> model.JobError:
    """The job's error; a loss that used up the last try has none of its own."""
    return ending.error or model.JobError(code=f"attempt_{ending.outcome}", message=ending.reason)


def _record(tx: statements.Transaction, row: rows.Row, new: Sequence[model.NewOutput]) -> tuple[model.Output, ...]:
    """Mint the assets and list them behind the outputs that the job has."""
    if not new:
        return ()
    last = tx.execute(_LAST_POSITION, {"job_id": row.job_id}).scalar_one()
    first = 0 if last is None else last + 1
    ordered = sorted(new, key=lambda output: output.index)
    tx.execute(assets.ADD_ASSETS, [rows.asset_values(output.asset) for output in ordered])
    made = tuple(
        model.Output(asset=output.asset, node_id=output.node_id, name=output.name, type=output.type, index=index)
        for index, output in enumerate(ordered, first)
    )
    tx.execute(_ADD_OUTPUTS, [_output_values(row, output) for output in made])
    edges.add_output_events(tx, row.job_id, made, hook=row.webhook)
    return made


def _output_values(row: rows.Row, output: model.Output) -> dict[str, Any]:
    return {
        "job_id": row.job_id,
        "position": output.index,
        "asset_id": output.asset.id,
        "attempt_id": row.id,
        "node_id": output.node_id,
        "name": output.name,
        "type": output.type,
    }


def _drop_outputs(tx: statements.Transaction, row: rows.Row) -> None:
    """Forget what the attempt made: the next one makes it again. Their bytes are left to prune."""
    values = {"attempt": row.id, "job_id": row.job_id}
    dropped = tx.execute(_OUTPUT_ASSETS, values).all()
    if not dropped:
        return
    tx.execute(_DROP_OUTPUTS, {"job_id": row.job_id})
    tx.execute(_DROP_ASSETS, {"ids": [asset.id for asset in dropped]})
    tx.execute(assets.LOOSEN, [{"hash": hash_} for hash_ in sorted({asset.hash for asset in dropped})])
