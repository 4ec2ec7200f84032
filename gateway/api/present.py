"""From the model to the contract's shapes: links, times, signed URLs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from pydantic import BaseModel

from gateway.api import links as links_module
from gateway.api import parts as parts_module
from gateway.api import schemas
from gateway.domain import model, webhooks
from gateway.domain.states import JobStatus


def answer(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`body` as a JSON answer; fields that were not given are not sent."""
    return Response(
        body.model_dump_json(exclude_unset=True).encode(),
        status_code=status,
        headers=headers,
        media_type="application/json",
    )


def time(at: float) -> str:
    """Epoch seconds as RFC 3339 with milliseconds, in UTC."""
    return datetime.fromtimestamp(at, tz=UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def time_or_none(at: float | None) -> str | None:
    """As `time`, for times that may not have come."""
    return None if at is None else time(at)


class Presenter:
    """Shapes for the answers to one request."""

    def __init__(self, parts: parts_module.Parts, links: links_module.Links) -> None:
        self._parts = parts
        self._links = links

    def asset(self, asset: model.Asset, *, created_new: bool | None = None) -> schemas.Asset:
        """An asset with a fresh signed URL; `created_new` on create answers only."""
        url, url_expires_at = self._content_url(asset)
        shape = schemas.Asset(
            id=asset.id,
            hash=asset.hash,
            size_bytes=asset.size_bytes,
            content_type=asset.content_type,
            file_path=asset.file_path,
            created_at=time(asset.created_at),
            url=url,
            url_expires_at=url_expires_at,
            expires_at=time_or_none(asset.expires_at),
            job_id=asset.job_id,
            tags=list(asset.tags),
            simulated=asset.simulated,
        )
        if created_new is not None:
            shape.created_new = created_new
        return shape

    def output(self, output: model.Output, job_id: str) -> schemas.Output:
        """An output of this job with a fresh signed URL. What a step of a pipeline made is told as the pipeline's."""
        url, url_expires_at = self._content_url(output.asset)
        return schemas.Output(
            node_id=output.node_id,
            name=output.name,
            type=output.type,
            content_type=output.asset.content_type,
            size_bytes=output.asset.size_bytes,
            id=output.asset.id,
            hash=output.asset.hash,
            url=url,
            url_expires_at=url_expires_at,
            job_id=job_id,
            simulated=output.asset.simulated,
        )

    def job(
        self, job: model.Job, *, position: int | None = None, attempts: Sequence[model.Attempt] = ()
    ) -> schemas.Job:
        """A job with its latest progress."""
        shape = schemas.Job(**self._job_fields(job), queue_position=position, attempts=[attempt(a) for a in attempts])
        expected = self.eta(job, position=position)
        if expected is not None:
            shape.eta = expected
        return shape

    def eta(self, job: model.Job, *, position: int | None) -> schemas.Eta | None:
        """When it will be done, as far as can be told."""
        if job.ended or self._parts.foresight is None:
            return None
        found = self._parts.foresight.eta(job, position=position)
        if found is None:
            return None
        now = self._parts.clock()
        return schemas.Eta(p50=time(now + found.p50), p90=time(now + found.p90))

    def job_item(self, job: model.Job) -> schemas.JobItem:
        """A job as lists show it."""
        changed = job.completed_at or job.started_at or job.created_at
        return schemas.JobItem(
            **self._job_fields(job),
            queue_position=None,
            create_time=time(job.created_at),
            update_time=time(changed),
        )

    async def whole_job(self, job: model.Job) -> schemas.Job:
        """A job with everything there is: queue position and attempts are read too."""
        jobs = self._parts.store.jobs
        position = await jobs.queue_position(job.id) if job.status is JobStatus.QUEUED else None
        attempts = job.attempts
        if attempts is None:
            attempts = await jobs.attempts(job.id) if job.tries or job.worker is not None else ()
        shape = self.job(job, position=position, attempts=attempts)
        if job.worker is None and job.started_at is not None:  # nobody claimed it: the gateway leads it on
            shape.steps = [_step(name, of) for name, of in (await self._parts.store.pipelines.steps(job.id)).items()]
        return shape

    def content_link(self, asset: model.Asset) -> str:
        """A fresh signed, absolute URL of the asset's bytes."""
        return self._content_url(asset)[0]

    def job_link(self, job_id: str) -> str:
        """The job's own link."""
        return self._links.path(f"/api/v2/jobs/{job_id}")

    def _job_fields(self, job: model.Job) -> dict[str, Any]:
        link = self.job_link(job.id)
        known = None if job.ended else self._parts.bus.snapshot(job.id).progress
        return {
            "id": job.id,
            "status": job.status,
            "created_at": time(job.created_at),
            "started_at": time_or_none(job.started_at),
            "completed_at": time_or_none(job.completed_at),
            "expires_at": time(job.expires_at),
            "progress": None if known is None else progress(known),
            "outputs": [self.output(output, job.id) for output in job.outputs],
            "error": None if job.error is None else job_error(job.error),
            "outputs_reused": job.outputs_reused,
            "metrics": _metrics(job),
            "urls": schemas.JobUrls(self=link, events=f"{link}/events", cancel=f"{link}/cancel"),
            "metadata": dict(job.metadata),
            "priority": job.priority,
            "template": job.template,
            "template_version": job.template_version,
            "inputs": None if job.inputs is None else dict(job.inputs),
            "batch_id": job.batch_id,
            "parent_id": job.parent_id,
            "worker": job.worker,
            "tries": job.tries,
            "simulated": job.simulated or any(output.asset.simulated for output in job.outputs),
            **({} if job.webhook is None else {"webhook": _webhook(job.webhook)}),
        }

    def _content_url(self, asset: model.Asset) -> tuple[str, str]:
        signed = self._parts.assets.sign(asset, now=self._parts.clock())
        return self._links.absolute(signed.path), time(signed.expires_at)


def _step(name: str, job: model.Job) -> schemas.Step:
    return schemas.Step(
        name=name,
        status=job.status,
        job_id=None if job.sealed else job.id,
        template=job.template,
        worker=job.worker,
        execution_ms=job.execution_ms,
    )


async def _presenter(request: Request) -> Presenter:
    parts = parts_module.of(request)
    return Presenter(parts, links_module.of(request, parts))


PresenterDep = Annotated[Presenter, Depends(_presenter)]


def _webhook(hook: webhooks.Webhook) -> schemas.Webhook:
    return schemas.Webhook(url=hook.url, events=sorted(hook.events))


def _metrics(job: model.Job) -> dict[str, int | None]:
    waited = None if job.started_at is None else max(0, round((job.started_at - job.created_at) * 1000))
    return {"queue_ms": waited, "execution_ms": job.execution_ms}


def progress(progress: model.Progress) -> schemas.Progress:
    """A progress snapshot."""
    return schemas.Progress(
        value=min(1.0, max(0.0, progress.value)),
        nodes_done=progress.nodes_done,
        nodes_total=progress.nodes_total,
        current_node=progress.current_node,
        current_node_class=progress.current_node_class,
        step=progress.step,
        steps=progress.steps,
        message=progress.message,
    )


def job_error(error: model.JobError) -> schemas.JobError:
    """Why a job failed."""
    return schemas.JobError(
        code=error.code,
        message=error.message,
        node_id=error.node_id,
        class_type=error.class_type,
        traceback=error.traceback,
        details=None if error.details is None else dict(error.details),
    )


def attempt(attempt: model.Attempt) -> schemas.Attempt:
    """One try."""
    return schemas.Attempt(
        id=attempt.id,
        worker=attempt.worker,
        number=attempt.number,
        created_at=time(attempt.created_at),
        started_at=time_or_none(attempt.started_at),
        ended_at=time_or_none(attempt.ended_at),
        outcome=attempt.outcome,
        reason=attempt.reason,
        error=None if attempt.error is None else job_error(attempt.error),
    )
