"""Queueing what was ordered: in one transaction, or slice by slice where it is a lot."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from gateway import ports
from gateway.adapters.store import depth, known, rows, slices, submission, units
from gateway.domain import errors, model
from gateway.domain.comfy.graph import Requirements
from gateway.domain.states import JobStatus

SMALL: Final = 16  #: an order of more jobs is made ready, and written, off the event loop
SMALL_BYTES: Final = 64 * 1024  #: so is one whose graphs are longer together: they may be compressed

_log = structlog.get_logger("gateway.store")


class Submitting(Protocol):
    """Runs a unit that queues jobs (`quick`: few), and claims for them in the same transaction when there is an
    offer."""

    def __call__(
        self, submit: units.Unit[units.T], offer: Callable[[], ports.Offer | None] | None, /, *, quick: bool
    ) -> Awaitable[units.T]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an order says beside its jobs; see `ports.Jobs.submit`."""

    batch: model.NewBatch | None
    idempotency_key: str | None
    bounds: depth.Bounds
    begin: ports.Begin | None
    offer: ports.Offering | None
    written: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """An order, made ready to be written."""

    order: submission.Order
    needed: Mapping[str, Requirements]
    later: Sequence[slices.Slice]
    bodies: Sequence[bytes]  #: of the later slices, as they are put down
    queued: tuple[model.Job, ...]


class Ordering:
    """Queues orders; `submitting` runs the transactions that do."""

    def __init__(
        self,
        run: units.Units,
        known_requirements: known.Known,
        *,
        submitting: Submitting,
        clock: ports.Clock,
    ) -> None:
        self._run = run
        self._submitting = submitting
        self._known = known_requirements
        self._clock = clock
        self._depth = depth.Depth()
        self._slice = asyncio.Lock()  # between two slices, of whichever orders, everybody else has a turn
        self._flying: dict[str, tuple[str, depth.Load]] = {}  # orders that are being taken
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, jobs: Sequence[model.NewJob], terms: Terms) -> tuple[model.Job, ...]:
        """Queue jobs of one tenant, all or none."""
        now = self._clock()
        small = len(jobs) <= SMALL and sum(len(job.graph) for job in jobs) <= SMALL_BYTES
        ready = self._ready(jobs, terms, now) if small else await asyncio.to_thread(self._ready, jobs, terms, now)
        if terms.bounds and self._depth.begin(now, self._flying.values()):
            self._start(self._count(now))
        if ready.later:  # who gives up waiting does not end it
            await asyncio.shield(self._start(self._write_large(ready, terms, now)))
        else:
            await self._write_first(ready, terms, now, small=small)
        return ready.queued

    async def close(self) -> None:
        """Wait until what was taken is written."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ready(self, jobs: Sequence[model.NewJob], terms: Terms, now: float) -> _Ready:
        needed, keys = _keys(jobs)
        graphs = [rows.pack_graph(job.graph) for job in jobs]
        batch_id = terms.batch.id if terms.batch else None
        whole = slices.Whole(jobs=jobs, keys=keys, graphs=graphs, batch_id=batch_id, begin=terms.begin, at=now)
        first, *later = [whole.part(number, places) for number, places in enumerate(whole.cut())]
        news = sorted(self._known.unstored(needed))
        order = submission.Order(
            jobs=jobs,
            load=depth.Load(jobs=len(jobs), bytes=sum(len(data) for data, _ in graphs)),
            first=first,
            later=len(later),
            new_requirements=[{"key": key, "body": needed[key].as_dict()} for key in news],
            batch=terms.batch,
            idempotency_key=terms.idempotency_key,
            bounds=terms.bounds,
        )
        queued = (rows.queued_job(job, batch_id, requirements=key) for job, key in zip(jobs, keys, strict=True))
        if terms.begin is not None:
            queued = (dataclasses.replace(job, status=JobStatus.RUNNING, started_at=now) for job in queued)
        return _Ready(
            order=order, needed=needed, later=later, bodies=[part.pack() for part in later], queued=tuple(queued)
        )

    async def _write_first(self, ready: _Ready, terms: Terms, now: float, *, small: bool = False) -> slices.Turns:
        """Take the order, with its first slice."""
        order = ready.order
        ask = None if terms.offer is None else functools.partial(terms.offer, ready.needed)
        self._flying[order.id] = order.tenant, order.load
        try:
            turns = await self._submitting(
                lambda tx: submission.submit(tx, order, self._depth, now=now), ask, quick=small
            )
        finally:
            del self._flying[order.id]
        self._known.add(ready.needed)
        terms.written()
        return turns

    async def _write_large(self, ready: _Ready, terms: Terms, now: float) -> None:
        order = ready.order
        try:
            await slices.put(self._run, order.id, order.tenant, ready.later, ready.bodies)
            turns = await self._write_first(ready, terms, now)
        except errors.GatewayError:
            with contextlib.suppress(errors.StoreUnavailable):  # then it is dropped when it is old
                await self._run.write(lambda tx: slices.drop(tx, order.id))
            raise
        try:
            for part in ready.later:
                await self._write_later(ready, terms, part, turns)
        except errors.StoreUnavailable as error:  # the order stands, and `slices.finish` writes what is left
            _log.warning("order_unfinished", order=order.id, reason=error.message)

    async def _write_later(self, ready: _Ready, terms: Terms, part: slices.Slice, turns: slices.Turns) -> None:
        needed = {key: ready.needed[key] for key in {job["requirements"] for job in part.jobs}}
        ask = None if terms.offer is None else functools.partial(terms.offer, needed)
        async with self._slice:
            await self._submitting(lambda tx: slices.write_taken(tx, ready.order.id, part, turns), ask, quick=False)
        self._known.add(needed)
        terms.written()

    async def _count(self, now: float) -> None:
        """Count a long queue beside the writing."""
        counted = None
        try:
            counted = await self._run.read(depth.count)
        except errors.StoreUnavailable as error:
            _log.warning("queue_not_counted", reason=error.message)
        finally:
            self._depth.end(counted, now)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it is told; nobody may


def _keys(jobs: Sequence[model.NewJob]) -> tuple[Mapping[str, Requirements], Sequence[str]]:
    """The requirements by key, and each job's key; those of a batch are mostly the same."""
    made: dict[Requirements, str] = {}
    keys: list[str] = []
    for job in jobs:
        key = made.get(job.requirements)
        if key is None:
            key = made[job.requirements] = job.requirements.key
        keys.append(key)
    return {key: needs for needs, key in made.items()}, keys
