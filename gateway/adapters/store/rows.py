"""Rows to the domain's data and back."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import blake3

from gateway.adapters.store import schema
from gateway.domain import model, webhooks
from gateway.domain.costs import sketch as sketches
from gateway.domain.states import JobStatus, Outcome

Row: TypeAlias = Any  #: a row of a result, by its columns' names

PACK_OVER: Final = 16 * 1024  #: graphs from here on are stored compressed


def job(row: Row, outputs: Sequence[model.Output] = ()) -> model.Job:
    """The job of a row of `jobs`."""
    return model.Job(
        id=row.id,
        tenant=row.tenant,
        status=JobStatus(row.status),
        created_at=row.created_at,
        expires_at=row.expires_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
        priority=priority(row.priority),
        metadata=row.metadata or {},
        template=row.template,
        template_version=row.template_version,
        inputs=row.inputs,
        batch_id=row.batch_id,
        batch_index=row.batch_index,
        parent_id=row.parent_id,
        step=row.step,
        sealed=bool(row.sealed),
        tries=row.tries,
        max_tries=row.max_tries,
        worker=row.worker,
        attempt_id=row.attempt_id,
        outputs=tuple(outputs),
        outputs_reused=bool(row.outputs_reused),
        execution_ms=row.execution_ms,
        error=job_error(row.error),
        simulated=bool(row.simulated),
        webhook=webhook(row.webhook),
        requirements_key=row.requirements,
        sketch=sketches.UNKNOWN if row.completed_at is not None else sketches.Sketch.unpack(row.sketch),
    )


def queued_job(new: model.NewJob, batch_id: model.BatchId | None, *, requirements: str) -> model.Job:
    """The job that `new` becomes."""
    return model.Job(
        id=new.id,
        tenant=new.tenant,
        status=JobStatus.QUEUED,
        created_at=new.created_at,
        expires_at=new.expires_at,
        priority=new.priority,
        metadata=new.metadata,
        template=new.template,
        template_version=new.template_version,
        inputs=new.inputs,
        batch_id=batch_id,
        batch_index=new.batch_index,
        parent_id=new.parent_id,
        step=new.step,
        sealed=new.sealed,
        max_tries=new.max_tries,
        webhook=new.webhook,
        requirements_key=requirements,
        sketch=new.sketch,
    )


def job_values(new: model.NewJob, *, requirements: str, batch_id: str | None, graph_bytes: int) -> dict[str, Any]:
    """The columns of a job that is queued, but its virtual time, which its order gets."""
    return {
        "id": new.id,
        "tenant": new.tenant,
        "status": JobStatus.QUEUED,
        "priority": new.priority,
        "requirements": requirements,
        "created_at": new.created_at,
        "queued_at": new.created_at,
        "expires_at": new.expires_at,
        "metadata": dict(new.metadata) or None,
        "template": new.template,
        "template_version": new.template_version,
        "inputs": None if new.inputs is None else dict(new.inputs),
        "batch_id": batch_id,
        "batch_index": new.batch_index,
        "parent_id": new.parent_id,
        "step": new.step,
        "sealed": new.sealed,
        "max_tries": new.max_tries,
        "needs_secret": new.needs_secret,
        "webhook": None if new.webhook is None else new.webhook.as_dict(),
        "size": new.size,
        "queue_limit": new.limits.queue,
        "queue_until": queue_until(new.created_at, new.limits.queue, new.deadline),
        "deadline": new.deadline,
        "run_limit": new.limits.run,
        "idle_limit": new.limits.idle,
        "graph_bytes": graph_bytes,
        "sketch": None if new.sketch is sketches.UNKNOWN else new.sketch.pack(),
    }


def priority(stored: int) -> int:
    """The priority that was asked for: that of a paused job is stored lowered."""
    return stored + schema.SUNK if stored <= -schema.SUNK // 2 else stored


def queue_until(queued_at: float, limit: float | None, deadline: float | None) -> float | None:
    """When a job that is queued then expires: at its queue limit or its deadline, whichever comes first."""
    ends = [end for end in (deadline, None if limit is None else queued_at + limit) if end is not None]
    return min(ends, default=None)


def webhook(value: Mapping[str, Any] | None) -> webhooks.Webhook | None:
    """The webhook of a job's column."""
    return None if value is None else webhooks.Webhook.of(value)


def job_error(value: Mapping[str, Any] | None) -> model.JobError | None:
    """The error that `error_value` wrote."""
    return None if value is None else model.JobError(**value)


def error_value(error: model.JobError | None) -> dict[str, Any] | None:
    """A job's error as JSON."""
    if error is None:
        return None
    pairs = {
        "code": error.code,
        "message": error.message,
        "node_id": error.node_id,
        "class_type": error.class_type,
        "traceback": error.traceback,
        "details": None if error.details is None else dict(error.details),
    }
    return {name: value for name, value in pairs.items() if value is not None}


def attempt(row: Row) -> model.Attempt:
    """The attempt of a row of `attempts`."""
    return model.Attempt(
        id=row.id,
        job_id=row.job_id,
        worker=row.worker,
        epoch=row.epoch,
        number=row.number,
        created_at=row.created_at,
        posted_at=row.posted_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        outcome=None if row.outcome is None else Outcome(row.outcome),
        reason=row.reason,
        error=job_error(row.error),
        node_errors=row.node_errors,
        client_id=row.client_id,
    )


def room(value: Mapping[str, Any] | None) -> model.Room | None:
    """What `room_value` wrote."""
    return None if value is None else model.Room(**value)


def room_value(room: model.Room | None) -> dict[str, Any] | None:
    """What a retry needs as JSON."""
    if room is None:
        return None
    return {"alone_on": room.alone_on, "until": room.until, "more_than": room.more_than}


def asset(row: Row) -> model.Asset:
    """The asset of a row of `assets`."""
    return model.Asset(
        id=row.id,
        tenant=row.tenant,
        hash=row.hash,
        size_bytes=row.size_bytes,
        content_type=row.content_type,
        file_path=row.file_path,
        tags=tuple(row.tags or ()),
        created_at=row.created_at,
        expires_at=row.expires_at,
        job_id=row.job_id,
        simulated=bool(row.simulated),
    )


def asset_values(new: model.Asset) -> dict[str, Any]:
    """The columns of an asset. Only uploads are found by path: outputs have no `path_key`."""
    findable = new.file_path is not None and new.job_id is None
    return {
        "id": new.id,
        "tenant": new.tenant,
        "hash": new.hash,
        "size_bytes": new.size_bytes,
        "content_type": new.content_type,
        "file_path": new.file_path,
        "path_key": digest(new.file_path or "") if findable else None,
        "tags": list(new.tags) or None,
        "created_at": new.created_at,
        "expires_at": new.expires_at,
        "job_id": new.job_id,
        "simulated": new.simulated,
    }


def output(row: Row) -> model.Output:
    """The output of a row of `outputs` joined with its asset."""
    return model.Output(
        asset=asset(row),
        node_id=row.node_id,
        name=row.name,
        type=model.OutputType(row.type),
        index=row.position,
    )


def worker(row: Row) -> model.Worker:
    """The worker of a row of `workers`."""
    return model.Worker(
        id=row.id,
        url=row.url,
        kind=model.WorkerKind(row.kind),
        gpu=row.gpu,
        depth=row.depth,
        persistent=bool(row.persistent),
        created_at=row.created_at,
        jobs_done=row.jobs_done,
        lease_owner=row.lease_owner,
        lease_epoch=row.lease_epoch,
        lease_until=row.lease_until,
    )


def event(row: Row) -> model.Event:
    """The event of a row of `events`."""
    return model.Event(job_id=row.job_id, seq=row.seq, type=row.type, at=row.at, data=row.data or {})


def pack_graph(graph: bytes) -> tuple[bytes, bool]:
    """What is stored of a graph, and whether it is compressed."""
    if len(graph) < PACK_OVER:
        return graph, False
    return zlib.compress(graph, 1), True


def unpack_graph(row: Row) -> bytes:
    """The graph of a row of `job_graphs`."""
    return zlib.decompress(row.graph) if row.packed else bytes(row.graph)


def digest(text: str) -> str:
    """A key for text of any length and content."""
    return blake3.blake3(text.encode("utf-8", "surrogatepass")).hexdigest(length=16)


def pair_digest(key: str, value: str) -> str:
    """A key for one pair of metadata."""
    return digest(f"{len(key)}:{key}={value}")
