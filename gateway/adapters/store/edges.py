"""The only place where a job's status changes: an edge of `states`, applied to a row by compare-and-set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from gateway.adapters.store import owing, schema, statements
from gateway.domain import model, states, webhooks
from gateway.domain.states import Edge, JobStatus

_END: Final = ("completed_at", "tries", "attempt_id", "execution_ms", "outputs_reused", "error")

#: What an edge writes beside the status.
_COLUMNS: Final[dict[Edge, tuple[str, ...]]] = {
    Edge.BEGIN: ("started_at",),
    Edge.CLAIM: ("worker", "attempt_id", "attempts", "started_at", "simulated"),
    Edge.REQUEUE: ("tries", "attempt_id", "started_at", "queued_at", "queue_until", "not_before", "avoid", "room"),
    Edge.CANCEL: ("completed_at",),
    Edge.REFUSE: ("completed_at", "error"),
    Edge.EXPIRE: ("completed_at",),
    Edge.ASK_CANCEL: (),
    Edge.CONFIRM_CANCEL: _END,
    Edge.SUCCEED: _END,
    Edge.FAIL: _END,
}


def _update(columns: tuple[str, ...]) -> sa.Update:
    table = schema.jobs
    return (
        sa.update(table)
        .where(table.c.id == sa.bindparam("b_id"), table.c.status == sa.bindparam("b_from"))
        .values({name: sa.bindparam(name) for name in ("status", *columns)})
    )


_UPDATES: Final = {edge: _update(columns) for edge, columns in _COLUMNS.items()}

_NEXT_SEQ: Final = (
    sa.select(sa.func.coalesce(sa.func.max(schema.events.c.seq), 0) + 1)
    .where(schema.events.c.job_id == sa.bindparam("job_id"))
    .scalar_subquery()
)
ADD_EVENT: Final = (
    sa.insert(schema.events)
    .values(
        job_id=sa.bindparam("job_id"),
        seq=_NEXT_SEQ,
        type=sa.bindparam("type"),
        at=sa.bindparam("at"),
        data=sa.bindparam("data"),
    )
    .inline()  # nobody asks which number it got
)


def follow(
    tx: statements.Transaction,
    job_id: str,
    status: JobStatus,
    edge: Edge,
    *,
    at: float,
    hook: owing.Hook,
    data: Mapping[str, Any] | None = None,
    **columns: Any,
) -> JobStatus | None:
    """Lead a job along `edge`, write the event and owe it to the job's webhook (`hook`).

    None, and nothing written, when it has left `status` meanwhile.
    """
    after = states.follow(status, edge)
    changed = tx.execute(_UPDATES[edge], {"b_id": job_id, "b_from": status, "status": after, **columns})
    if changed.rowcount != 1:
        return None
    tx.execute(ADD_EVENT, {"job_id": job_id, "type": edge.value, "at": at, "data": data})
    owing.owe(tx, job_id, hook, webhooks.event_of(edge), at=at)
    return after


def follow_many(
    tx: statements.Transaction,
    hooks: Mapping[str, owing.Hook],
    status: JobStatus,
    edge: Edge,
    *,
    at: float,
    **columns: Any,
) -> None:
    """Lead many jobs along `edge`: `hooks` has their ids, each with its webhook.

    The caller has locked their rows and knows that all are in `status`.
    """
    job_ids = list(hooks)
    if not job_ids:
        return
    after = states.follow(status, edge)
    tx.execute(_UPDATES[edge], [{"b_id": one, "b_from": status, "status": after, **columns} for one in job_ids])
    tx.execute(ADD_EVENT, [{"job_id": one, "type": edge.value, "at": at, "data": None} for one in job_ids])
    for job_id, hook in hooks.items():
        owing.owe(tx, job_id, hook, webhooks.event_of(edge), at=at)


def add_output_events(
    tx: statements.Transaction, job_id: str, outputs: tuple[model.Output, ...], *, hook: owing.Hook
) -> None:
    """Write an event for each recorded output, at the time its asset was made."""
    values = [_output_event(job_id, output) for output in outputs]
    if hook is None:
        tx.execute(ADD_EVENT, values)
        return
    for event in values:  # one by one: what is owed is numbered after the latest event
        tx.execute(ADD_EVENT, event)
        owing.owe(tx, job_id, hook, webhooks.EventType.OUTPUT, at=event["at"])


def _output_event(job_id: str, output: model.Output) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "type": "output",
        "at": output.asset.created_at,
        "data": {"asset": output.asset.id, "node": output.node_id, "index": output.index},
    }
