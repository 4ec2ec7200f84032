"""Answering an order: at once, or after its job has ended (`Prefer: wait`), or with the picture itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request, Response

from gateway import ports
from gateway.api import assets, body, errors, fields, parts, present, schemas
from gateway.domain import errors as domain_errors
from gateway.domain import model
from gateway.domain.states import TERMINAL, JobStatus

_PREFER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "example": "wait=30",
    "description": "`wait=SECONDS`: answer when the job has ended (200), or with the Job as it is by then (202). "
    "With `Accept: image/*` besides: the first picture itself, as it was made, or 422 `no_picture` when the job ended "
    "without one.",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that answers with `answer_order`."""
    picture = {"schema": {"type": "string", "format": "binary"}}
    ended = "The job has ended (`Prefer: wait`), or its first picture (`Accept: image/*`)."
    return {
        **errors.documented(*statuses),
        200: {"model": schemas.Job, "description": ended, "content": {"image/*": picture}},
        201: {"model": schemas.Job, "description": "Job created and queued."},
        202: {"model": schemas.Job, "description": "The wait was over before the job ended."},
    }


def described(
    shape: type[body.RequestBody], *, example: Mapping[str, Any], parameters: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads a `shape` and answers with `answer_order`."""
    return {**body.documented(shape, example=example), "parameters": [*parameters, _PREFER]}


async def answer_order(request: Request, known: parts.Parts, presenter: present.Presenter, job: model.Job) -> Response:
    """The answer to an order that became `job`.

    201 with the Job; with `Prefer: wait=N` 200 when it ended within N seconds and 202 otherwise; with
    `Accept: image/*` besides, the first picture it made instead of the Job, and 422 when it ended without any: who
    writes the answer to a file is not to find JSON in it. Not a 5xx, upon which clients send the order again.
    """
    headers = {"Location": presenter.job_link(job.id)}
    seconds = fields.prefer_wait(request, longest=known.limits.wait)
    if seconds is None:
        # Without its queue position: counting who is ahead costs more than queueing the job did.
        return present.answer(presenter.job(job), 201, headers)
    headers["Preference-Applied"] = f"wait={seconds:g}"
    job = await wait_for_end(request, known, job, seconds=seconds)
    picture = first_image(job) if fields.wants_image(request) else None
    if picture is not None:
        answer = await assets.content_response(request, known, picture.asset, name=picture.name)
        answer.headers.update({**headers, "Content-Location": presenter.content_link(picture.asset)})
        return answer
    if job.ended and fields.wants_image(request):
        refusal = errors.answer_for(_no_picture(job))
        refusal.headers.update(headers)
        return refusal
    return present.answer(await presenter.whole_job(job), 200 if job.ended else 202, headers)


def first_image(job: model.Job) -> model.Output | None:
    """The first picture of a job that succeeded."""
    if job.status is not JobStatus.SUCCEEDED:
        return None
    return next((output for output in job.outputs if output.type is model.OutputType.IMAGE), None)


def _no_picture(job: model.Job) -> domain_errors.NoPicture:
    ended = "succeeded, and made no picture" if job.status is JobStatus.SUCCEEDED else f"ended {job.status}"
    why = f": {job.error.message}" if job.error else ""
    details = {"job_id": job.id, "status": job.status, "reason": job.error.code if job.error else None}
    return domain_errors.NoPicture(f"The job {job.id} {ended}{why}", details=details)


async def wait_for_end(request: Request, known: parts.Parts, job: model.Job, *, seconds: float) -> model.Job:
    """The job, which was queued this very moment, once it ended; as it is by then after `seconds`, when the gateway
    stops or the client went away."""
    with known.bus.subscribe(job.id) as news:  # before anything is awaited, so that no end falls between
        waiting = asyncio.create_task(_ended(known, job, news))
        others = (asyncio.create_task(known.stopping.wait()), asyncio.create_task(_gone(request)))
        try:
            await asyncio.wait({waiting, *others}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            return await known.store.jobs.get(job.tenant, job.id)
        finally:
            for task in (waiting, *others):
                task.cancel()


async def _gone(request: Request) -> None:
    """Returns when the client has closed its connection; its body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _ended(known: parts.Parts, job: model.Job, news: ports.Subscription) -> model.Job:
    """The job when it has ended."""
    while True:
        match await news.next():
            case model.StatusChanged(job=model.Job() as ended) if ended.ended:
                return ended
            case model.StatusChanged(status=status) if status in TERMINAL:
                return await known.store.jobs.get(job.tenant, job.id)
            case _:
                pass
