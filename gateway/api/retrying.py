"""Ordering an ended job again; a pipeline's steps that went well are not done again."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from gateway.api import calls, fields, jobs, present, schemas
from gateway.api import errors as api_errors
from gateway.domain import errors, model
from gateway.domain.states import JobStatus
from gateway.submission import Wishes

router = APIRouter(tags=["jobs"])


@router.post(
    "/v1/jobs/{id}/retry",
    operation_id="retryJob",
    summary="Order an ended job again",
    status_code=201,
    response_model=schemas.Job,
    responses={**api_errors.documented(404, 409, 429), 201: {"model": schemas.Job, "description": "The new job."}},
)
async def retry(request: Request, id: fields.JobId) -> Response:  # noqa: A002
    """A new job of the same template, in the version and with the inputs that the ended one had, seeds included.

    Of a pipeline, the steps that went well are not done again: their files are used.
    """
    call = calls.of(request)
    job = await jobs.open_job(call, id)
    if not job.ended:
        raise errors.Conflict(f"the job is {job.status}; only one that has ended can be ordered again")
    if job.template is None:
        raise errors.Conflict("the job was ordered as a graph, not as a template; send its workflow again")
    wishes = Wishes(metadata=job.metadata, priority=job.priority, webhook=job.webhook)
    again = await call.parts.submission.again(job, wishes, done=await _done(call, job))
    headers = {"Location": call.presenter.job_link(again.id)}
    return present.answer(call.presenter.job(again), 201, headers)


async def _done(call: calls.Call, job: model.Job) -> dict[str, str]:
    """The steps of a pipeline that went well, and the jobs that did them."""
    plan = await call.parts.store.pipelines.plan(job.id)
    if plan is None or job.status is JobStatus.SUCCEEDED:
        return {}
    steps = await call.parts.store.pipelines.steps(job.id)
    done = {name: str(step.id) for name, step in steps.items() if step.status is JobStatus.SUCCEEDED}
    return {**plan.done, **done}
