"""Pausing, draining and resuming: the queue, a template, a tenant or a worker takes nothing new. What runs, goes on."""

from __future__ import annotations

import contextlib
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from gateway.api import auth, body, parts, present, schemas
from gateway.api import errors as api_errors
from gateway.domain import errors, model, pauses
from gateway.domain.pauses import PauseKind

router = APIRouter(tags=["queue"])

_Name = Annotated[str, Field(min_length=1, max_length=200)]


class PauseTarget(body.RequestBody):
    """What is meant: one of these, or the whole queue."""

    template: _Name | None = Field(default=None, description="The jobs of this template, all versions.")
    tenant: _Name | None = Field(default=None, description="The jobs of this tenant. One's own needs no admin's key.")
    worker: _Name | None = Field(default=None, description="This worker; it stays, and takes nothing new.")

    def pause(self, *, since: float, by: str | None, drain: bool = False) -> pauses.Pause:
        """The pause that is meant; InvalidRequest when it is several."""
        named = {
            PauseKind.TEMPLATE: self.template and self.template.partition("@")[0],
            PauseKind.TENANT: self.tenant,
            PauseKind.WORKER: self.worker,
        }
        given = [(kind, name) for kind, name in named.items() if name]
        if len(given) > 1:
            message = f"{' and '.join(f'`{kind}`' for kind, _ in given)} exclude each other"
            raise errors.InvalidRequest(
                message, faults=[errors.Fault(reason="invalid_value", message=message, field=given[1][0])]
            )
        kind, name = given[0] if given else (PauseKind.QUEUE, "")
        return pauses.Pause(kind=kind, name=name, since=since, by=by, drain=drain)


class PauseOrder(PauseTarget):
    """What to pause."""

    drain: bool = Field(default=False, description="Somebody waits until nothing of it runs; shown as `empty`.")


class Pause(BaseModel):
    """One pause."""

    kind: PauseKind
    name: str = Field(description="Of the template, tenant or worker; empty for the queue.")
    since: schemas.Time
    by: str | None = Field(description="The tenant whose key asked for it.")
    drain: bool
    running: int = Field(description="Jobs of it that run still.")
    empty: bool = Field(description="Whether nothing of it runs any more.")


class PauseList(BaseModel):
    """All pauses, oldest first."""

    pauses: list[Pause]


@router.get(
    "/v1/queue/pauses",
    operation_id="listPauses",
    summary="What is paused",
    response_model=PauseList,
    responses=api_errors.documented(),
)
async def list_pauses(known: parts.PartsDep, caller: auth.CallerDep) -> Response:
    """What takes nothing new, since when, and how much of it runs still. Other tenants' pauses are shown to admins."""
    found = await known.store.pauses.all()
    shown = [one for one in found.all if caller.admin or one.kind is not PauseKind.TENANT or one.name == caller.tenant]
    return present.answer(PauseList(pauses=[await _shape(known, one) for one in shown]))


@router.post(
    "/v1/queue/pause",
    operation_id="pauseQueue",
    summary="Pause or drain",
    response_model=Pause,
    responses=api_errors.documented(404, 413),
    openapi_extra=body.documented(PauseOrder, example={"template": "sdxl"}, required=False),
)
async def pause(request: Request, known: parts.PartsDep, caller: auth.CallerDep) -> Response:
    """Nothing of it starts from now on, on any gateway of this database; it is kept over restarts. Orders are still
    taken. What is paused already stays so. Needs an admin's key, but for one's own tenant."""
    order = await body.read_object_if_any(request, PauseOrder, limit=known.limits.json_body)
    by = None if caller.tenant == model.DEFAULT_TENANT else str(caller.tenant)
    wanted = order.pause(since=known.clock(), by=by, drain=order.drain)
    _refuse_strangers(wanted, caller)
    await _refuse_unknown(known, wanted)
    made = await known.store.pauses.put(wanted)
    known.bus.signal(model.WorkQueued())  # dispatch looks at once
    return present.answer(await _shape(known, made))


@router.post(
    "/v1/queue/resume",
    operation_id="resumeQueue",
    summary="End a pause",
    status_code=204,
    responses={**api_errors.documented(404, 413), 204: {"description": "It takes work again."}},
    openapi_extra=body.documented(PauseTarget, example={"template": "sdxl"}, required=False),
)
async def resume(request: Request, known: parts.PartsDep, caller: auth.CallerDep) -> Response:
    """It takes work again. Jobs that waited for this stand in the queue where they would had they been ordered now;
    404 for what is not paused."""
    order = await body.read_object_if_any(request, PauseTarget, limit=known.limits.json_body)
    wanted = order.pause(since=0.0, by=None)
    _refuse_strangers(wanted, caller)
    await known.store.pauses.lift(wanted.kind, wanted.name)
    known.bus.signal(model.WorkQueued())
    return Response(status_code=204)


def _refuse_strangers(wanted: pauses.Pause, caller: auth.Caller) -> None:
    if wanted.kind is not PauseKind.TENANT or wanted.name != caller.tenant:
        caller.must_be_admin(f"pause or resume {wanted.subject}")


async def _refuse_unknown(known: parts.Parts, wanted: pauses.Pause) -> None:
    """NotFound for a template or a worker that there is not."""
    if wanted.kind is PauseKind.TEMPLATE:
        with contextlib.suppress(errors.TemplateError, errors.TemplateWaiting):  # its jobs may wait all the same
            await known.templates.find(wanted.name)
    elif wanted.kind is PauseKind.WORKER and wanted.name not in {each.id for each in await known.store.workers.all()}:
        raise errors.NotFound(f"no worker is called {wanted.name!r}")


async def _shape(known: parts.Parts, one: pauses.Pause) -> Pause:
    running = await known.store.pauses.running(one.kind, one.name)
    return Pause(
        kind=one.kind,
        name=one.name,
        since=present.time(one.since),
        by=one.by,
        drain=one.drain,
        running=running,
        empty=running == 0,
    )
