"""What the routes are made of. The composition root builds one `Parts`; routes get it as a dependency."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request

from gateway import ports, retention
from gateway.api import auth, metrics, streams
from gateway.domain import targets

if TYPE_CHECKING:
    from gateway import assets, authoring, submission


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds that keep one client from taking everything. Sizes in bytes, times in seconds."""

    json_body: int = 32 * 1024 * 1024
    upload: int = 2 * 1024 * 1024 * 1024  #: one uploaded file
    batch_jobs: int = 10_000  #: jobs in one batch
    streams: int = 256  #: open event streams a tenant
    wait: float = 600.0  #: the longest `Prefer: wait`
    keepalive: float = 15.0  #: an event stream says something at least this often
    stalled: float = 30.0  #: an event stream whose reader takes nothing for this long is ended
    progress_interval: float = 0.25  #: between two progress events of a stream
    preview_interval: float = 0.5
    position_interval: float = 2.0  #: between two looks at the queue position


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that routes need, as values."""

    store: ports.Store
    blobs: ports.Blobs
    bus: ports.Bus
    assets: assets.Assets
    submission: submission.Submission
    fleet: ports.Fleet
    templates: authoring.Shelf
    access: auth.Access
    clock: ports.Clock
    version: str
    foresight: ports.Foresight | None = None  #: None: nobody dispatches here
    limits: Limits = field(default_factory=Limits)
    metrics: metrics.Metrics = field(default_factory=metrics.Metrics)
    streams: streams.Streams = field(default_factory=streams.Streams)
    tally: retention.Tally = field(default_factory=retention.Tally)
    targets: targets.Targets = field(default_factory=targets.Targets)  #: addresses that webhooks may have
    public_url: str | None = None  #: how clients reach us, when the Host header does not tell
    #: Set when the gateway stops: not ready any more, streams and waits end.
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


def of(request: Request) -> Parts:
    """The parts of the app that answers this request."""
    return cast(Parts, request.app.state.parts)


async def _parts(request: Request) -> Parts:
    return of(request)


PartsDep = Annotated[Parts, Depends(_parts)]
