"""Whether the gateway lives, whether it is ready, and its numbers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import prometheus_client
from fastapi import APIRouter, Response
from pydantic import BaseModel

from gateway.api import auth, parts, present, schemas
from gateway.api import errors as api_errors
from gateway.domain import errors

router = APIRouter(tags=["health"])

_CHECK_SECONDS = 5.0


class Health(BaseModel):
    """The process answers."""

    status: str


class Liveness(Health):
    """The process answers, and which version it is."""

    version: str


class Readiness(BaseModel):
    """What a gateway needs to take work, and how its workers stand (which it does not need: a queue takes work)."""

    status: str
    checks: dict[str, str]
    workers: dict[str, int]


@router.get("/healthz", operation_id="getLiveness", response_model=Liveness)
async def healthz(known: parts.PartsDep) -> Response:
    """The process answers. Nothing else is looked at: a restart would mend nothing else."""
    return present.answer(Liveness(status="ok", version=known.version))


@router.get("/api/v2/health", operation_id="getHealth", response_model=Health)
async def health() -> Response:
    """As the official SDKs ask."""
    return present.answer(Health(status="healthy"))


_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": schemas.ErrorEnvelope, "description": "`not_ready`: `details.checks` says what is missing."}
}


@router.get("/readyz", operation_id="getReadiness", response_model=Readiness, responses=_NOT_READY)
async def readyz(known: parts.PartsDep) -> Response:
    """Whether work is taken: store and blobs can be written, there is room, and the gateway is not stopping."""
    store, blobs = await asyncio.gather(_state(known.store.check()), _state(known.blobs.check()))
    space = known.assets.space
    await space.look()
    stopping = "stopping" if known.stopping.is_set() else "ok"
    checks = {"store": store, "blobs": blobs, "space": space.shut or space.low or "ok", "gateway": stopping}
    workers = dict(Counter(view.state.value for view in known.fleet.views()))
    if set(checks.values()) == {"ok"}:
        return present.answer(Readiness(status="ready", checks=checks, workers=workers))
    details = {"checks": checks, "workers": workers}
    return api_errors.envelope(503, "not_ready", "this gateway takes no work now", details, {"Retry-After": "2"})


async def _state(check: Awaitable[None]) -> str:
    """`ok`, or in plain words why not."""
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await check
    except errors.GatewayError as error:
        return error.message
    except TimeoutError:
        return f"no answer in {_CHECK_SECONDS:g} seconds"
    return "ok"


@router.get(
    "/metrics",
    operation_id="getMetrics",
    response_class=Response,
    responses={
        **api_errors.documented(),
        200: {"description": "Prometheus text.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    },
)
async def metrics(known: parts.PartsDep, caller: auth.CallerDep) -> Response:
    """Numbers for Prometheus; needs a key where keys are configured."""
    known.metrics.owed(await known.store.deliveries.backlog(), now=known.clock())
    space = known.assets.space
    await space.look()
    known.metrics.kept(known.tally, refusing=bool(space.shut or space.low))
    if known.foresight is not None:
        known.metrics.placed(known.foresight.decisions())
    text = known.metrics.render(await known.store.jobs.count_by_status(), known.fleet.views())
    return Response(text, media_type=prometheus_client.CONTENT_TYPE_LATEST)
