"""A job's live stream (SSE), as the contract has it.

The bus is subscribed to before the store is read, so nothing falls between. First comes a `status` with the state as
it is, the latest progress, the latest preview and the outputs so far; then what happens. The store is the truth:
whenever the bus says that the status changed the job is read again, outputs that were not told yet are told, and then
the status. So each output comes once, in order and before the terminal status, which ends the stream. A client that
connects after the end is told the same story in short, because the official SDK stops at the first terminal status.

The generator is pulled by the socket: a slow reader stops it, and the bus then keeps the latest progress and preview
only. A reader that takes nothing for half a minute is dropped: its connection is cut, which no client takes for an end
of the stream, so it comes again and gets the state as it is then.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
from collections.abc import AsyncGenerator, Callable
from typing import Any, Generic, TypeVar, cast

import structlog
from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from gateway import ports
from gateway.api import parts, present, schemas
from gateway.domain import errors, model
from gateway.domain.states import JobStatus

_log = structlog.get_logger(__name__)

KEEPALIVE = b": keepalive\n\n"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_GLANCE = 1.0  #: how often a quiet stream looks whether the gateway stops

_PAYLOADS = {"status": "StatusEvent", "progress": "Progress", "preview": "PreviewEvent", "output": "Output"}

#: The events by name, with the schema of their data.
CATALOG: dict[str, Any] = {name: {"schema": f"#/components/schemas/{schema}"} for name, schema in _PAYLOADS.items()}


def _event_schema(name: str, schema: str) -> dict[str, Any]:
    data = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"$ref": f"#/components/schemas/{schema}"},
    }
    return {"type": "object", "required": ["event", "data"], "properties": {"event": {"const": name}, "data": data}}


#: How the stream is documented: `itemSchema` is that of one event, as OpenAPI 3.2 has it.
DOCUMENTED: dict[str, Any] = {
    "description": "Frames of `event:` and `data:`; the payloads are the schemas in `x-sse-events`.",
    "content": {
        "text/event-stream": {
            "itemSchema": {"oneOf": [_event_schema(name, schema) for name, schema in _PAYLOADS.items()]}
        }
    },
}

T = TypeVar("T")


class EventStream(StreamingResponse):
    """The answer that streams a job. Whatever ends it, its subscription and its place are given back at once."""

    def __init__(self, known: parts.Parts, presenter: present.Presenter, job: model.Job) -> None:
        self._job = job.id
        self._place = known.streams.counted(job.tenant, known.limits.streams)
        self._metrics = known.metrics
        self._stalled = known.limits.stalled
        self._frames = _Stream(known, presenter, job).frames()
        super().__init__(self._frames, media_type="text/event-stream", headers=_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the job ended, the client went away or takes nothing any more, or the gateway stops."""

        async def patiently(message: Message) -> None:
            try:
                async with asyncio.timeout(self._stalled):
                    await send(message)
            except TimeoutError:
                raise _Stalled from None

        with self._place, self._metrics.streams.track_inprogress():
            async with contextlib.aclosing(self._frames):
                try:
                    await super().__call__(scope, receive, patiently)
                except* _Stalled:
                    self._metrics.dropped_streams.inc()
                    _log.warning("event_stream_dropped", job=self._job, reason="its reader takes nothing")


class _Stalled(Exception):
    """A reader that takes nothing."""


def frame(name: str, data: BaseModel) -> bytes:
    """One SSE frame. JSON holds no line breaks, so `data` is one line."""
    return f"event: {name}\ndata: {data.model_dump_json(exclude_unset=True)}\n\n".encode()


class _Latest(Generic[T]):
    """Lets a value through at most once an interval, and keeps the newest of those that came too soon."""

    def __init__(self, interval: float, now: Callable[[], float]) -> None:
        self._interval = interval
        self._now = now
        self._open_at = 0.0
        self._value: T | None = None

    def put(self, value: T | None) -> None:
        """Replace what is kept."""
        self._value = value

    def due_in(self) -> float:
        """Seconds until something may be taken; endless when nothing is kept."""
        return float("inf") if self._value is None else max(0.0, self._open_at - self._now())

    def take(self, *, early: bool = False) -> T | None:
        """What is kept, if it is due or `early` is allowed."""
        if self._value is None or not (early or self._open_at <= self._now()):
            return None
        value, self._value = self._value, None
        self._open_at = self._now() + self._interval
        return value


class _Stream:
    """One client's view of one job: what it was told already, and what it is owed."""

    def __init__(self, known: parts.Parts, presenter: present.Presenter, job: model.Job) -> None:
        self._known = known
        self._presenter = presenter
        self._job = job
        self._now = asyncio.get_running_loop().time
        self._status: JobStatus | None = None  #: told last
        self._position: int | None = None  #: told last
        self._position_at = 0.0  #: when to look at the position again
        self._outputs: set[model.AssetId] = set()  #: told
        self._next_index = 0  #: of the output that comes next
        self._progress: _Latest[model.Progress] = _Latest(known.limits.progress_interval, self._now)
        self._preview: _Latest[model.Preview] = _Latest(known.limits.preview_interval, self._now)

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """The stream's bytes, to its end: also when the job is gone, or cannot be read now and the client may come
        again."""
        try:
            async with contextlib.aclosing(self._frames()) as frames:
                async for each in frames:
                    yield each
        except errors.GatewayError as error:
            _log.warning("event_stream_ended", job=self._job.id, reason=error.message)

    async def _frames(self) -> AsyncGenerator[bytes, None]:
        with self._known.bus.subscribe(self._job.id) as news:
            snapshot = self._known.bus.snapshot(self._job.id)
            self._progress.put(snapshot.progress)
            self._preview.put(snapshot.preview)
            told = await self._look()
            silent_at = self._now()
            while True:
                for each in told:
                    yield each
                if self._job.ended or self._known.stopping.is_set():
                    return
                if told:
                    silent_at = self._now()
                elif self._now() - silent_at >= self._known.limits.keepalive:
                    yield KEEPALIVE
                    silent_at = self._now()
                told = await self._next(news, silent_at)

    async def _next(self, news: ports.Subscription, silent_at: float) -> list[bytes]:
        """Wait for something to tell; empty when there was nothing."""
        waits = [_GLANCE, silent_at + self._known.limits.keepalive - self._now()]
        waits += [self._progress.due_in(), self._preview.due_in()]
        if self._job.status is JobStatus.QUEUED:
            waits.append(self._position_at - self._now())
        match await news.next(timeout=max(0.0, min(waits))):
            case model.StatusChanged():
                return await self._look()
            case model.OutputMade(output=output):
                return await self._told_output(output)
            case model.ProgressMade(progress=progress):
                self._progress.put(progress)
            case model.PreviewMade(preview=preview):
                self._preview.put(preview)
            case None:
                pass
        return await self._due() + await self._moved()

    async def _look(self) -> list[bytes]:
        """Read the job and tell what changed."""
        self._job = job = await self._known.store.jobs.get(self._job.tenant, self._job.id)
        if job.status is JobStatus.QUEUED:
            return await self._queued()
        told: list[bytes] = []
        if not job.ended or (job.started_at is not None and self._status not in _RAN):
            told += self._told_status(JobStatus.RUNNING if job.ended else job.status)
        told += await self._due(early=True)
        told += self._told_outputs(job.outputs)
        if job.ended:
            told += self._told_status(job.status)
        return told

    async def _queued(self) -> list[bytes]:
        """Tell that the job waits, for the first time or again: what an attempt brought before counts no more."""
        self._next_index = 0
        if self._status is not None:
            self._progress.put(None)
            self._preview.put(None)
        self._position_at = 0.0
        told = await self._moved()
        return told or self._told_status(JobStatus.QUEUED)

    async def _moved(self) -> list[bytes]:
        """Tell the queue position when it changed."""
        if self._job.status is not JobStatus.QUEUED or self._now() < self._position_at:
            return []
        position = await self._known.store.jobs.queue_position(self._job.id)
        self._position_at = self._now() + self._known.limits.position_interval
        if position is None or (position == self._position and self._status is JobStatus.QUEUED):
            return []
        self._status, self._position = JobStatus.QUEUED, position
        return [frame("status", schemas.StatusEvent(status=JobStatus.QUEUED, queue_position=position))]

    def _told_status(self, status: JobStatus) -> list[bytes]:
        if status is self._status:
            return []
        self._status, self._position = status, None
        return [frame("status", schemas.StatusEvent(status=status, queue_position=None))]

    async def _told_output(self, output: model.Output) -> list[bytes]:
        """Tell an output that the bus brought; one out of order means that something was missed: look."""
        if output.asset.id in self._outputs:
            return []
        if output.index != self._next_index or self._status not in _RAN:
            return await self._look()
        return await self._due(early=True) + self._told_outputs((output,))

    def _told_outputs(self, outputs: tuple[model.Output, ...]) -> list[bytes]:
        untold = [output for output in outputs if output.asset.id not in self._outputs]
        self._outputs.update(output.asset.id for output in untold)
        self._next_index = max((output.index + 1 for output in outputs), default=self._next_index)
        return [frame("output", self._presenter.output(output, self._job.id)) for output in untold]

    async def _due(self, *, early: bool = False) -> list[bytes]:
        """Progress and preview that may be told now; `early`: whatever is kept, because something newer follows."""
        told: list[bytes] = []
        progress = self._progress.take(early=early)
        if progress is not None:
            told.append(frame("progress", present.progress(progress)))
        preview = self._preview.take(early=early)
        if preview is not None:
            told += await _preview_frames(preview)
        return told


_RAN = frozenset({JobStatus.RUNNING, JobStatus.CANCELING})


async def _preview_frames(preview: model.Preview) -> list[bytes]:
    """A preview as JPEG, or nothing when its bytes are no picture."""
    data: bytes | None = preview.data
    if preview.content_type != "image/jpeg":
        data = await asyncio.to_thread(_as_jpeg, preview.data)
    if data is None:
        return []
    text = base64.b64encode(data).decode()
    return [
        frame(
            "preview",
            schemas.PreviewEvent(node_id=preview.node_id, content_type="image/jpeg", data_base64=text),
        )
    ]


def _as_jpeg(data: bytes) -> bytes | None:
    from PIL import Image

    buffer = io.BytesIO()
    try:
        with Image.open(io.BytesIO(data)) as picture:
            cast(Image.Image, picture).convert("RGB").save(buffer, "JPEG", quality=85)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    return buffer.getvalue()
