"""Jobs, as the contract has them: submit, list, read, cancel, follow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, WithJsonSchema
from starlette.responses import StreamingResponse

from gateway.api import body, calls, events, fields, hooks, plain, present, schemas, waiting
from gateway.api import errors as api_errors
from gateway.domain import errors, model
from gateway.domain.states import JobStatus

router = APIRouter(tags=["jobs"])
plain_router = APIRouter(tags=["jobs"], route_class=plain.Route)

_FILTER = re.compile(r"metadata\[(.*)\]", re.DOTALL)
_FILTER_KEY = re.compile(r"[A-Za-z0-9_.-]{1,40}")

_EXAMPLE = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "blue"}},
}

_FILTER_PARAMETER = {
    "name": "metadata",
    "in": "query",
    "required": False,
    "style": "deepObject",
    "explode": True,
    "description": "Only jobs whose metadata holds every `metadata[key]=value`.",
    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
}

_Workflow = Annotated[
    Any,
    WithJsonSchema(
        {"type": "object", "additionalProperties": True, "description": "API-format workflow graph, verbatim."}
    ),
]


class ExtraData(body.RequestBody):
    """Per-job secrets; kept in memory only and handed to the worker with the graph."""

    api_key_comfy_org: str | None = Field(default=None, max_length=4096)


class JobRequest(hooks.HookedRequest):
    """An order for one workflow."""

    reserved: ClassVar[Mapping[str, str]] = {
        "webhook_url": 'a webhook is an object here: "webhook": {"url": …}',
        "inputs": "inputs belong to templates: POST /v1/templates/{name}/jobs",
        "prompt": "here it is called `workflow`; ComfyUI's own POST /prompt calls it so",
    }

    workflow: _Workflow
    extra_data: ExtraData | None = None
    metadata: fields.Metadata | None = None
    priority: fields.Priority = 0
    expires_in: fields.ExpiresIn | None = None
    deadline_ms: fields.DeadlineMs | None = None


@plain_router.post(
    "/api/v2/jobs",
    operation_id="postJobs",
    summary="Submit a workflow for execution",
    status_code=201,
    response_model=schemas.Job,
    responses=waiting.documented(413, 429),
    openapi_extra=waiting.described(JobRequest, example={"workflow": _EXAMPLE}, parameters=[fields.IDEMPOTENCY_KEY]),
)
async def submit(request: Request) -> Response:
    """Queues the API-format graph. A 201 means that the job is durably recorded.

    The graph's structure, its node classes and its asset references are checked before: every fault comes back at
    once. What the editor saves (`nodes`, `links`) is refused with `workflow_format_ui`.
    """
    call = calls.of(request)
    key = fields.idempotency_key_of(request)
    order = await body.read_object(request, JobRequest, limit=call.parts.limits.json_body)
    job = await call.parts.submission.submit_workflow(
        call.caller.tenant,
        order.workflow,
        metadata={} if order.metadata is None else fields.metadata(order.metadata),
        priority=order.priority,
        expires_in=order.expires_in,
        deadline=fields.seconds(order.deadline_ms),
        idempotency_key=key,
        extra_data=None if order.extra_data is None else order.extra_data.model_dump(exclude_none=True),
        webhook=order.hook(request, call.parts, call.caller),
    )
    return await waiting.answer_order(request, call.parts, call.presenter, job)


@router.get(
    "/api/v2/jobs",
    operation_id="listJobs",
    summary="List jobs, newest first",
    response_model=schemas.JobList,
    responses=api_errors.documented(),
    openapi_extra={"parameters": [_FILTER_PARAMETER]},
)
async def list_jobs(
    *,
    request: Request,
    status: Annotated[str | None, Query(description="Statuses, separated by commas.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: Annotated[
        str | None, Query(description="`next_cursor` of the page before.", json_schema_extra={"minLength": 1})
    ] = None,
    batch_id: Annotated[str | None, Query(description="Only the jobs of this batch.")] = None,
    template: Annotated[str | None, Query(description="Only jobs of this template.")] = None,
) -> Response:
    """One page of the caller's jobs; follow `next_cursor` until it is absent."""
    call = calls.of(request)
    want = model.JobFilter(
        statuses=statuses_of(status),
        metadata=_metadata_filter(request),
        batch_id=None if batch_id is None else model.BatchId(_clean(batch_id, "batch_id")),
        template=None if template is None else _clean(template, "template"),
    )
    page = await call.parts.store.jobs.page(call.caller.tenant, want, limit=limit, cursor=cursor_of(cursor))
    body_ = schemas.JobList(jobs=[call.presenter.job_item(job) for job in page.jobs])
    if page.next_cursor is not None:
        body_.next_cursor = page.next_cursor
    return present.answer(body_)


def statuses_of(text: str | None) -> frozenset[JobStatus]:
    """The statuses that a comma list names; InvalidRequest for a word that is none."""
    words = [word.strip() for word in (text or "").split(",") if word.strip()]
    known = [status.value for status in JobStatus]
    faults = [
        errors.Fault(
            reason="unknown_status",
            message=f"{word[:40]!r} is none of {', '.join(known)}",
            field="status",
        )
        for word in words
        if word not in known
    ]
    if faults:
        raise errors.InvalidRequest("; ".join(fault.message for fault in faults), faults=faults)
    return frozenset(JobStatus(word) for word in words)


def _metadata_filter(request: Request) -> Mapping[str, str]:
    """The `metadata[key]=value` pairs of the query; InvalidMetadataFilter for a key that no job can have."""
    wanted: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        found = _FILTER.fullmatch(name)
        if not found:
            continue
        key = found[1]
        if not _FILTER_KEY.fullmatch(key) or "\0" in value:
            raise errors.InvalidMetadataFilter(f"no job's metadata can match {name[:80]!r}")
        if wanted.setdefault(key, value) != value:
            raise errors.InvalidMetadataFilter(f"metadata[{key}] is asked for with two values")
    if len(wanted) > fields.MAX_PAIRS:
        raise errors.InvalidMetadataFilter(f"at most {fields.MAX_PAIRS} metadata filters")
    return wanted


def _clean(text: str, name: str) -> str:
    """`text` unless it holds what no database takes."""
    if "\0" in text:
        fault = errors.Fault(reason="invalid_value", message=f"`{name}` holds a NUL", field=name)
        raise errors.InvalidRequest(fault.message, faults=[fault])
    return text


def cursor_of(text: str | None) -> str | None:
    """The cursor of a query; InvalidCursor for what cannot be one of ours."""
    if text is not None and (not text or "\0" in text):
        raise errors.InvalidCursor("this is no cursor of ours; begin again without one")
    return text


@plain_router.get(
    "/api/v2/jobs/{id}",
    operation_id="getJob",
    summary="Job status (the polling workhorse)",
    response_model=schemas.Job,
    responses=api_errors.documented(404),
    openapi_extra={"parameters": [fields.JOB_ID]},
)
async def get_job(request: Request) -> Response:
    """The job as it is now: status, latest progress, and every output committed so far."""
    call, job = await _job(request, request.path_params["id"])
    return present.answer(await call.presenter.whole_job(job))


@router.get(
    "/api/v2/jobs/{id}/workflow",
    operation_id="getJobWorkflow",
    summary="The workflow behind a job",
    response_model=schemas.JobWorkflowResponse,
    responses=api_errors.documented(404),
)
async def get_job_workflow(request: Request, id: fields.JobId) -> Response:  # noqa: A002
    """The API-format graph that the job runs, a template's values bound; `format` is always `api`."""
    call = calls.of(request)
    graph = await call.parts.store.jobs.graph(call.caller.tenant, fields.uuid_or_missing(id, what="job"))
    return Response(b'{"workflow":%b,"format":"api"}' % graph, media_type="application/json")


@router.post(
    "/api/v2/jobs/{id}/cancel",
    operation_id="cancelJob",
    summary="Request cancellation",
    response_model=schemas.Job,
    responses=api_errors.documented(404),
)
async def cancel_job(request: Request, id: fields.JobId) -> Response:  # noqa: A002
    """Ends a queued job at once and asks a running one to stop (`canceling`); one that ended stays as it is."""
    call = calls.of(request)
    known = call.parts
    job_id = fields.uuid_or_missing(id, what="job")
    job = await known.store.jobs.cancel(call.caller.tenant, job_id, now=known.clock())
    known.bus.publish(job.id, model.StatusChanged(status=job.status))
    if job.status is JobStatus.CANCELING:
        known.bus.signal(model.CancelAsked(job_id=job.id, attempt_id=job.attempt_id))
    return present.answer(await call.presenter.whole_job(job))


@router.get(
    "/api/v2/jobs/{id}/events",
    operation_id="getJobEvents",
    summary="Live event stream (SSE)",
    response_class=StreamingResponse,
    responses={**api_errors.documented(404, 429), 200: events.DOCUMENTED},
    openapi_extra={"x-sse-events": events.CATALOG},
)
async def get_job_events(request: Request, id: fields.JobId) -> Response:  # noqa: A002
    """Server-sent events: `status` (first and last), `progress`, `preview`, `output`; a comment every 15 seconds.

    Live only: no ids, no replay. Each `progress` is a complete snapshot; the truth is always the job itself.
    """
    call, job = await _job(request, id)
    return events.EventStream(call.parts, call.presenter, job)


async def _job(request: Request, job_id: str) -> tuple[calls.Call, model.Job]:
    call = calls.of(request)
    return call, await open_job(call, job_id)


async def open_job(call: calls.Call, job_id: str) -> model.Job:
    """The caller's job; NotFound, also for a step whose files a check may withhold."""
    job = await call.parts.store.jobs.get(call.caller.tenant, fields.uuid_or_missing(job_id, what="job"))
    if job.sealed:
        raise errors.NotFound("there is no such job")
    return job
