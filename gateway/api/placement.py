"""Why a job waits, or why it ran where it did, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from gateway.api import calls, present, schemas
from gateway.api import errors as api_errors
from gateway.domain import model
from gateway.domain.states import JobStatus

router = APIRouter(tags=["jobs"])


class JobPlacement(BaseModel):
    """Where a job is, or will be, and why."""

    job_id: str
    status: JobStatus
    reason: str = Field(examples=["waits for gpu1: warm in 0.4 s, loading elsewhere 3.1 s"])
    worker: str | None = Field(description="Of a queued job: where it will run, as things stand.")
    queue_position: int | None
    starts_in_s: float | None = Field(description="Of a queued job: seconds until then, as far as can be told.")
    eta: schemas.Eta | None


@router.get(
    "/v1/jobs/{job_id}/placement",
    operation_id="getJobPlacement",
    summary="Why a job waits, or ran where it did",
    response_model=JobPlacement,
    responses=api_errors.documented(404),
)
async def get_placement(job_id: str, request: Request) -> Response:
    """Of a queued job, what placement thinks of it at this moment; of others, why the latest attempt went where it
    went. A wait can end otherwise than it says: each time a worker becomes free, all is weighed anew."""
    call = calls.of(request)
    known = call.parts
    job = await known.store.jobs.get(call.caller.tenant, job_id)
    position = await known.store.jobs.queue_position(job.id) if job.status is JobStatus.QUEUED else None
    if job.status is JobStatus.QUEUED and known.foresight is not None:
        why = await known.foresight.why(job, position=position)
    else:
        claim = _claimed(await known.store.jobs.events(job.id))
        steps = {} if claim is not None else await known.store.pipelines.steps(job.id)
        why = _of_steps(job, steps) if steps else _of_claim(job, claim)
    return present.answer(
        JobPlacement(
            job_id=job.id,
            status=job.status,
            reason=why.sentence,
            worker=why.worker,
            queue_position=position,
            starts_in_s=None if why.starts_in is None else round(why.starts_in, 3),
            eta=call.presenter.eta(job, position=position),
        )
    )


def _claimed(events: Sequence[model.Event]) -> model.Event | None:
    """How the latest attempt came about."""
    return next((event for event in reversed(events) if event.type == "claim"), None)


def _of_steps(job: model.Job, steps: Mapping[str, model.Job]) -> model.Why:
    """A pipeline goes to no worker; its steps do."""
    told = ", ".join(
        f"{name} {'is ' if not step.ended else ''}{step.status}{f' on {step.worker}' if step.worker else ''}"
        for name, step in steps.items()
    )
    return model.Why(sentence=f"its steps go to workers: {told}")


def _of_claim(job: model.Job, claim: model.Event | None) -> model.Why:
    """Why the latest attempt went where it went."""
    if claim is None:
        return model.Why(sentence=f"it is {job.status} and was never given to a worker")
    return model.Why(sentence=str(claim.data.get("reason") or "no reason was kept"), worker=job.worker)
