"""Answering an order: at once, or after its job has ended (`Prefer: wait`), or with the picture itself."""

from __future__ import annotations

import asyncio

from fastapi import Request, Response

from gateway.api import assets, fields, parts, present
from gateway.domain import model
from gateway.domain.states import JobStatus


async def answer_order(
    request: Request, known: parts.Parts, presenter: present.Presenter, job: model.Job
) -> Response:
    """The answer to an order that became `job`.

    201 with the Job; with `Prefer: wait=N` 200 when it ended within N seconds and 202 otherwise; with
    `Accept: image/*` besides, the first picture it made instead of the Job.
    """
    headers = {"Location": presenter.job_link(job.id)}
    seconds = fields.prefer_wait(request, longest=known.limits.wait)
    if seconds is None:
        position = await known.store.jobs.queue_position(job.id) if job.status is JobStatus.QUEUED else None
        return present.answer(presenter.job(job, position=position), 201, headers)
    headers["Preference-Applied"] = f"wait={seconds:g}"
    job = await wait_for_end(known, job, seconds=seconds)
    picture = first_image(job) if fields.wants_image(request) else None
    if picture is not None:
        answer = await assets.content_response(request, known, picture.asset, name=picture.name)
        answer.headers.update({**headers, "Content-Location": presenter.content_link(picture.asset)})
        return answer
    return present.answer(await presenter.whole_job(job), 200 if job.ended else 202, headers)


def first_image(job: model.Job) -> model.Output | None:
    """The first picture of a job that succeeded."""
    if job.status is not JobStatus.SUCCEEDED:
        return None
    return next((output for output in job.outputs if output.type is model.OutputType.IMAGE), None)


async def wait_for_end(known: parts.Parts, job: model.Job, *, seconds: float) -> model.Job:
    """The job once it ended, or as it is after `seconds`, or when the gateway stops."""
    waiting = asyncio.ensure_future(_ended(known, job))
    stopping = asyncio.ensure_future(known.stopping.wait())
    try:
        await asyncio.wait({waiting, stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return await waiting
        return await known.store.jobs.get(job.tenant, job.id)
    finally:
        waiting.cancel()
        stopping.cancel()


async def _ended(known: parts.Parts, job: model.Job) -> model.Job:
    """The job when it has ended. Subscribes first, so that no end falls between."""
    with known.bus.subscribe(job.id) as news:
        while True:
            job = await known.store.jobs.get(job.tenant, job.id)
            if job.ended:
                return job
            while not isinstance(await news.next(), model.StatusChanged):
                pass
