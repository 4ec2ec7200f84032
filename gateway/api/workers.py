"""Workers: which there are, what they do, adding and removing them while the gateway runs."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from gateway.api import auth, body, links, parts, present, schemas
from gateway.api import errors as api_errors
from gateway.domain import errors, model

router = APIRouter(tags=["workers"])

_ID = r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}"


class WorkerJob(BaseModel):
    """A job that a worker runs right now."""

    job_id: str
    attempt_id: str
    since: schemas.Time
    progress: schemas.Progress | None


class Worker(BaseModel):
    """A ComfyUI process; null means not known (yet)."""

    id: str = Field(examples=["gpu0"])
    url: schemas.Uri
    kind: model.WorkerKind
    state: model.WorkerState
    since: schemas.Time = Field(description="When it entered that state.")
    depth: int = Field(description="Jobs sent to it at once.")
    gpu: str | None = Field(description="CUDA_VISIBLE_DEVICES of a local worker.")
    device: str | None = Field(description="The card's name.")
    vram_total: int | None
    vram_free: int | None
    comfyui_version: str | None
    jobs: list[WorkerJob]
    loaded: list[str] = Field(description="Model files that it is believed to hold.")
    others: int = Field(description="Prompts of other clients in its queue.")
    jobs_done: int
    restarts: int
    pid: int | None
    simulated: bool
    last_error: str | None
    log_tail: str | None = Field(
        description="The end of its log, when it is a local worker that kept ending and is not started any more."
    )


class WorkerList(BaseModel):
    """All workers, by id."""

    workers: list[Worker]


class WorkerRequest(body.RequestBody):
    """A ComfyUI that runs elsewhere."""

    url: str = Field(max_length=2048, json_schema_extra={"pattern": "^https?://"}, examples=["http://10.0.0.7:8188"])
    id: str | None = Field(default=None, pattern=f"^{_ID}$", description="Default: made of host and port.")
    depth: int = Field(default=1, ge=1, le=16, description="Jobs sent to it at once; more than 1 for slow networks.")


WorkerId = Annotated[str, Path(description="The worker's id.", examples=["gpu0"])]


@router.get("/v1/workers", operation_id="listWorkers", response_model=WorkerList, responses=api_errors.documented())
async def list_workers(known: parts.PartsDep, caller: auth.CallerDep) -> Response:
    """All workers with what they do right now."""
    return present.answer(WorkerList(workers=[_shape(view) for view in known.fleet.views()]))


@router.get("/v1/workers/{id}", operation_id="getWorker", response_model=Worker, responses=api_errors.documented(404))
async def get_worker(known: parts.PartsDep, caller: auth.CallerDep, id: WorkerId) -> Response:  # noqa: A002
    """One worker."""
    for view in known.fleet.views():
        if view.id == id:
            return present.answer(_shape(view))
    raise errors.NotFound("there is no such worker")


@router.post(
    "/v1/workers",
    operation_id="addWorker",
    status_code=201,
    response_model=Worker,
    responses={**api_errors.documented(409, 413), 201: {"description": "Taken into use."}},
    openapi_extra=body.documented(WorkerRequest, example={"url": "http://10.0.0.7:8188"}),
)
async def add_worker(request: Request, known: parts.PartsDep, caller: auth.CallerDep) -> Response:
    """Takes a ComfyUI into use. It need not answer yet; it is watched until it does. Needs an admin's key."""
    caller.must_be_admin("add workers")
    order = await body.read_object(request, WorkerRequest, limit=known.limits.json_body)
    view = await known.fleet.add(worker_url(order.url), worker_id=order.id, depth=order.depth)
    location = links.of(request, known).path(f"/v1/workers/{view.id}")
    return present.answer(_shape(view), 201, {"Location": location})


@router.delete(
    "/v1/workers/{id}",
    operation_id="removeWorker",
    status_code=204,
    responses={
        **api_errors.documented(404, 409),
        202: {"model": Worker, "description": "It finishes what it runs first."},
        204: {"description": "Removed."},
    },
)
async def remove_worker(
    known: parts.PartsDep,
    caller: auth.CallerDep,
    id: WorkerId,  # noqa: A002
    drain: Annotated[bool, Query(description="Let it finish what it runs.")] = True,
) -> Response:
    """Removes a worker; with `drain=false` its jobs are handed back to the queue at once. Needs an admin's key."""
    caller.must_be_admin("remove workers")
    if not re.fullmatch(_ID, id):
        raise errors.NotFound("there is no such worker")
    view = await known.fleet.remove(id, drain=drain)
    return Response(status_code=204) if view is None else present.answer(_shape(view), 202)


def worker_url(text: str) -> str:
    """The base URL of a ComfyUI, without a trailing slash; InvalidRequest when it is none."""
    try:
        found = urlsplit(text)
        usable = found.scheme in {"http", "https"} and bool(found.hostname) and found.port != 0
    except ValueError:
        usable, found = False, urlsplit("")
    if not usable or found.query or found.fragment or not text.isprintable() or " " in text or not text.isascii():
        fault = errors.Fault(reason="invalid_value", message="`url` must be like http://10.0.0.7:8188", field="url")
        raise errors.InvalidRequest(fault.message, faults=[fault])
    return text.rstrip("/")


def _shape(view: model.WorkerView) -> Worker:
    return Worker(
        id=view.id,
        url=view.url,
        kind=view.kind,
        state=view.state,
        since=present.time(view.since),
        depth=view.depth,
        gpu=view.gpu,
        device=view.device,
        vram_total=view.vram_total,
        vram_free=view.vram_free,
        comfyui_version=view.comfyui_version,
        jobs=[
            WorkerJob(
                job_id=job.job_id,
                attempt_id=job.attempt_id,
                since=present.time(job.since),
                progress=None if job.progress is None else present.progress(job.progress),
            )
            for job in view.jobs
        ],
        loaded=list(view.loaded),
        others=view.others,
        jobs_done=view.jobs_done,
        restarts=view.restarts,
        pid=view.pid,
        simulated=view.simulated,
        last_error=view.last_error,
        log_tail=view.log_tail,
    )
