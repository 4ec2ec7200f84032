"""Batches: many jobs of a template ordered, watched and cancelled together."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from gateway.api import auth, body, fields, hooks, jobs, links, parts, present, queue, schemas
from gateway.api import errors as api_errors
from gateway.domain import errors, model
from gateway.domain.states import TERMINAL, JobStatus
from gateway.domain.templates.model import BatchKind

router = APIRouter(tags=["batches"])

_EXAMPLE = {"template": "sdxl", "inputs": {"prompt": "a red fox", "seed": 100}, "n": 4}

BatchInputs = Annotated[
    Any,
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "object", "additionalProperties": True},
                {"type": "array", "minItems": 1, "items": {"type": "object", "additionalProperties": True}},
            ],
            "description": "One object of values for each job; or one object, made `n` times with the seeds seed, "
            "seed + 1, …",
        }
    ),
]


class BatchOrder(hooks.HookedRequest):
    """An order for many jobs of a template."""

    otherwise: ClassVar[str] = "parameters go under `inputs`"

    template: str = Field(max_length=200, examples=["sdxl"])
    inputs: BatchInputs
    n: int | None = Field(default=None, ge=1, description="How many, when `inputs` is one object; default 1.")
    metadata: fields.Metadata | None = None
    priority: fields.Priority = Field(
        default=model.BATCH_PRIORITY,
        description=f"Higher goes first; default {model.BATCH_PRIORITY}, so that single orders overtake batches.",
    )
    batch: Annotated[BatchKind, Field(strict=False)] | None = Field(
        default=None,
        description="How one object of `inputs` is made `n` times: `jobs`, each a job of its own with its seed, spread "
        "over the workers; or `one_run`, one job that makes all of them at once (`batch_size` n), whose files are "
        "named by seed and index. The pictures differ. Default: the template's, else `jobs`.",
    )
    expires_in: fields.ExpiresIn | None = None
    deadline_ms: fields.DeadlineMs | None = None
    extra_data: jobs.ExtraData | None = None


class BatchUrls(BaseModel):
    """Follow-up links, host-relative with any mount prefix."""

    self: schemas.UriReference
    jobs: schemas.UriReference
    cancel: schemas.UriReference


class Batch(BaseModel):
    """How the jobs of a batch stand."""

    id: str = Field(examples=["0198c3b2-7d1e-7c3a-9a55-2f6d1b0c4e11"])
    created_at: schemas.Time
    metadata: dict[str, str]
    total: int = Field(description="Jobs in the batch that are still kept.")
    counts: dict[JobStatus, int] = Field(description="Jobs by status, all statuses.")
    ended: int = Field(description="Jobs in a terminal state.")
    done: float = Field(ge=0, le=1, description="The share of jobs that have ended.")
    finished: bool = Field(description="Whether all have ended.")
    outputs: int = Field(description="Outputs recorded so far; they are listed with the jobs.")
    urls: BatchUrls
    job_ids: list[str] = Field(
        default_factory=list[str], description="The jobs in the order of their inputs; only in the answer to the order."
    )


async def _batch_id(
    id: Annotated[str, Path(description="The batch's id.", examples=["0198c3b2-7d1e-7c3a-9a55-2f6d1b0c4e11"])],  # noqa: A002
) -> str:
    return fields.uuid_or_missing(id, what="batch")


BatchIdDep = Annotated[str, Depends(_batch_id)]


def _present(batch: model.Batch, links_: links.Links) -> Batch:
    link = links_.path(f"/v1/batches/{batch.id}")
    ended = sum(batch.counts.get(status, 0) for status in TERMINAL)
    return Batch(
        id=batch.id,
        created_at=present.time(batch.created_at),
        metadata=dict(batch.metadata),
        total=batch.total,
        counts={status: batch.counts.get(status, 0) for status in JobStatus},
        ended=ended,
        done=ended / batch.total if batch.total else 1.0,
        finished=ended == batch.total,
        outputs=batch.outputs,
        urls=BatchUrls(self=link, jobs=f"{link}/jobs", cancel=f"{link}/cancel"),
    )


@router.post(
    "/v1/batches",
    operation_id="postBatch",
    summary="Order many jobs of a template",
    status_code=201,
    response_model=Batch,
    responses=api_errors.documented(404, 413, 429),
    openapi_extra=body.documented(BatchOrder, example=_EXAMPLE),
)
async def post_batch(
    request: Request,
    known: parts.PartsDep,
    caller: auth.CallerDep,
    links: links.LinksDep,
    key: fields.IdempotencyKeyDep,
) -> Response:
    """Queues all jobs or none. The faults of all members come back at once, each with its `index`."""
    order = await body.read_object(request, BatchOrder, limit=known.limits.json_body)
    _refuse_shape(order)
    ordered = await known.submission.submit_batch(
        caller.tenant,
        order.template,
        order.inputs,
        n=order.n,
        kind=order.batch,
        metadata={} if order.metadata is None else fields.metadata(order.metadata),
        priority=order.priority,
        expires_in=order.expires_in,
        deadline=fields.seconds(order.deadline_ms),
        idempotency_key=key,
        extra_data=None if order.extra_data is None else order.extra_data.model_dump(exclude_none=True),
        webhook=order.hook(request, known, caller),
    )
    shape = _present(await known.store.jobs.batch(caller.tenant, ordered.batch.id), links)
    shape.job_ids = [job.id for job in ordered.jobs]
    return present.answer(shape, 201, {"Location": shape.urls.self})


def _refuse_shape(order: BatchOrder) -> None:
    if isinstance(order.inputs, dict):
        return
    if isinstance(order.inputs, list) and order.batch is BatchKind.ONE_RUN:
        message = "`one_run` goes with one object of inputs"
        raise errors.InvalidRequest(
            message, faults=[errors.Fault(reason="invalid_value", message=message, field="batch")]
        )
    if isinstance(order.inputs, list) and order.n is None:
        return
    if isinstance(order.inputs, list):
        fault = errors.Fault(reason="invalid_value", message="`n` goes with one object of inputs", field="n")
    else:
        message = "`inputs` is an object of values, or a list of such objects"
        fault = errors.Fault(reason="invalid_value", message=message, field="inputs")
    raise errors.InvalidRequest(fault.message, faults=[fault])


@router.get(
    "/v1/batches/{id}",
    operation_id="getBatch",
    summary="How a batch stands",
    response_model=Batch,
    responses=api_errors.documented(404),
)
async def get_batch(
    known: parts.PartsDep, caller: auth.CallerDep, links: links.LinksDep, batch_id: BatchIdDep
) -> Response:
    """Counts by status, the share that has ended, and where its jobs with their outputs are."""
    return present.answer(_present(await known.store.jobs.batch(caller.tenant, batch_id), links))


@router.get(
    "/v1/batches/{id}/jobs",
    operation_id="listBatchJobs",
    summary="The jobs of a batch, newest first",
    response_model=schemas.JobList,
    responses=api_errors.documented(404),
)
async def list_batch_jobs(
    *,
    known: parts.PartsDep,
    caller: auth.CallerDep,
    presenter: present.PresenterDep,
    batch_id: BatchIdDep,
    status: Annotated[str | None, Query(description="Statuses, separated by commas.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
) -> Response:
    """One page of them with their outputs; follow `next_cursor` until it is absent."""
    await known.store.jobs.batch(caller.tenant, batch_id)
    want = model.JobFilter(batch_id=model.BatchId(batch_id), statuses=jobs.statuses_of(status))
    page = await known.store.jobs.page(caller.tenant, want, limit=limit, cursor=jobs.cursor_of(cursor))
    shape = schemas.JobList(jobs=[presenter.job_item(job) for job in page.jobs])
    if page.next_cursor is not None:
        shape.next_cursor = page.next_cursor
    return present.answer(shape)


@router.post(
    "/v1/batches/{id}/cancel",
    operation_id="cancelBatch",
    summary="Cancel what has not ended",
    response_model=Batch,
    responses=api_errors.documented(404),
)
async def cancel_batch(
    known: parts.PartsDep, caller: auth.CallerDep, links: links.LinksDep, batch_id: BatchIdDep
) -> Response:
    """Ends its queued jobs at once and asks its running ones to stop; those that ended stay as they are."""
    async for canceled in known.store.jobs.cancel_batch(caller.tenant, batch_id, now=known.clock()):
        queue.announce(known, canceled)
    return present.answer(_present(await known.store.jobs.batch(caller.tenant, batch_id), links))
