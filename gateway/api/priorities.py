"""Changing what can be changed of a job that waits: its priority."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from gateway.api import body, calls, fields, present, schemas
from gateway.api import errors as api_errors
from gateway.domain import model

router = APIRouter(tags=["jobs"])


class JobChange(body.RequestBody):
    """What is to be different."""

    priority: fields.Priority


@router.patch(
    "/v1/jobs/{id}",
    operation_id="changeJob",
    summary="Change a queued job's priority",
    response_model=schemas.Job,
    responses=api_errors.documented(404, 409, 413),
    openapi_extra=body.documented(JobChange, example={"priority": 10}),
)
async def change(request: Request, id: fields.JobId) -> Response:  # noqa: A002
    """Among the jobs of its new priority it stands where it would had it been ordered now. 409 `not_queued` when a
    worker has it, or it has ended."""
    call = calls.of(request)
    known = call.parts
    order = await body.read_object(request, JobChange, limit=known.limits.json_body)
    job_id = fields.uuid_or_missing(id, what="job")
    job = await known.store.jobs.prioritize(call.caller.tenant, job_id, order.priority, now=known.clock())
    known.bus.signal(model.WorkQueued())
    return present.answer(await call.presenter.whole_job(job))
