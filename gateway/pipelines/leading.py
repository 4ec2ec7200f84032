"""Leading pipelines on: whenever a step's job changes, `moves` says what is next, and it is done.

Everything that counts is in the store, so that a pipeline is led on after a crash from where it stands: steps that ran
on workers are found as they are, a step that the gateway was doing itself is done again. On several hosts each pipeline
has one owner at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar, assert_never

import structlog

from gateway import ports
from gateway.domain import errors, model
from gateway.domain.pipelines import model as pipelines
from gateway.domain.pipelines import moves
from gateway.domain.states import JobStatus
from gateway.pipelines import own, ties

_T = TypeVar("_T")
_log = structlog.get_logger("gateway.pipelines")
_OWN_SECONDS: Final = 30.0  #: that a pipeline is ours each time we say so
_LOOK_SECONDS: Final = 5.0  #: between looks when nothing is heard
_AT_ONCE: Final = 16  #: pipelines that are looked at in the same moment, of thousands that were ordered together
_AGAIN_SECONDS: Final = 1.0  #: before what a store that is away refused is tried again
_BUSY: Final = (errors.StoreUnavailable, errors.QueueFull, errors.TemplateWaiting)  #: the same may go well later


@dataclass(slots=True, kw_only=True)
class _Led:
    """One pipeline while it is led on."""

    parent: model.Job
    plan: moves.Plan
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    heard: set[model.JobId] = field(default_factory=set[model.JobId])
    told: dict[str, model.Progress] = field(default_factory=dict[str, model.Progress])
    found: dict[str, model.Job] = field(default_factory=dict[str, model.Job])
    doing: dict[str, asyncio.Task[None]] = field(default_factory=dict[str, asyncio.Task[None]])


class Leader:
    """Leads every pipeline of this gateway; `run` it beside everything else. `rung` is set when one was ordered."""

    def __init__(self, known: ties.Ties, rung: asyncio.Event) -> None:
        self._ties = known
        self._tasks: dict[model.JobId, asyncio.Task[None]] = {}
        self._rung = rung
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """Lead them on until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._rung.clear()
                try:
                    await self._take(group)
                except errors.StoreUnavailable as error:
                    _log.warning("store_unavailable", reason=error.message)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_OWN_SECONDS / 3):
                        await self._rung.wait()

    async def _take(self, group: asyncio.TaskGroup) -> None:
        held = await self._ties.store.take(owner=self._ties.owner, seconds=_OWN_SECONDS)
        for job_id in self._tasks.keys() - set(held):
            self._tasks[job_id].cancel()
        for job_id in [job_id for job_id in held if job_id not in self._tasks]:
            task = self._tasks[job_id] = group.create_task(self._lead(job_id))
            task.add_done_callback(lambda _, job_id=job_id: self._tasks.pop(job_id, None))
            await asyncio.sleep(0)  # a batch may be thousands of them, and others wait

    async def _lead(self, job_id: model.JobId) -> None:
        led = await _patiently(lambda: self._found(job_id))
        if led is None:
            return
        parent = led.parent
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(_drop, led)
            self._hear(led, parent.id, None, stack)
            while True:
                try:
                    async with self._turns:
                        is_over = await self._step(led, stack)
                    if is_over:
                        return
                except _BUSY as error:
                    _log.info("pipeline_waits", job=job_id, reason=error.message)
                except Exception as error:  # noqa: BLE001 - around a pipeline anything may come, and the rest must go on
                    _log.exception("pipeline_broke", job=job_id)
                    await self._give_up(led, error)
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await led.changed.wait()

    async def _found(self, job_id: model.JobId) -> _Led | None:
        async with self._turns:
            parent, plan = await self._ties.store.job(job_id), await self._ties.store.plan(job_id)
        return None if parent is None or plan is None else _Led(parent=parent, plan=plan)

    async def _give_up(self, led: _Led, error: Exception) -> None:
        broken = _broken(f"the gateway failed: {type(error).__name__}: {error}")
        await _patiently(lambda: self._end(led, broken))

    async def _step(self, led: _Led, stack: contextlib.AsyncExitStack) -> bool:
        """Look and do what is next; True when the pipeline has ended."""
        led.changed.clear()
        parent = await self._ties.store.job(led.parent.id)
        if parent is None or parent.ended:
            return True
        led.found = {**await self._reused(led.plan), **await self._ties.store.steps(parent.id)}
        for name, job in led.found.items():
            if not job.ended:
                self._hear(led, job.id, name, stack)
        self._tell(led)
        move = moves.next_move(led.plan, led.found, canceling=parent.status is JobStatus.CANCELING)
        match move:
            case moves.Start():
                await self._start(led, move, stack)
            case moves.Stop():
                await self._stop(led, move)
            case moves.End():
                await self._end(led, move)
                return True
            case moves.Wait():
                self._resume(led)
            case _:
                assert_never(move)
        return False

    async def _reused(self, plan: moves.Plan) -> Mapping[str, model.Job]:
        """Steps that an earlier job has done."""
        found = {name: await self._ties.store.job(job_id) for name, job_id in plan.done.items()}
        return {name: job for name, job in found.items() if job is not None}

    # -- starting and stopping ------------------------------------------------------------------------------------

    async def _start(self, led: _Led, move: moves.Start, stack: contextlib.AsyncExitStack) -> None:
        for planned in move.steps:
            job = await self._begun(led, planned)
            if job is None:
                return
            self._hear(led, job.id, planned.step.name, stack)
            led.found[planned.step.name] = job
        led.changed.set()  # what happened before we listened is seen at once

    async def _begun(self, led: _Led, planned: moves.Planned) -> model.Job | None:
        """The step's job; None when another gateway began it meanwhile, or it could not be ordered and the pipeline has
        ended of that."""
        try:
            if planned.step.template is None:
                return await own.begin(self._ties, led.parent, planned.step.name, sealed=led.plan.sealed)
            inputs = moves.inputs_of(planned, led.plan, led.found)
            return await self._ties.order(led.parent, planned, inputs, plan=led.plan)
        except moves.NoSuchFile as missing:
            end = _broken(f"Step {planned.step.name}: {missing}.")
        except _BUSY:
            raise
        except errors.Conflict:
            led.changed.set()  # look again: it is there
            return None
        except errors.GatewayError as error:
            details = {"faults": [fault.as_dict() for fault in getattr(error, "faults", ())]}
            end = _broken(f"Step {planned.step.name}: {error.message}", code=error.code, details=details)
        led.found[planned.step.name] = _never_ran(led.parent, planned.step.name, end)
        running = tuple(job.id for job in led.found.values() if not job.ended)
        await self._stop(led, moves.Stop(jobs=running))
        await self._end(led, end)
        led.changed.set()
        return None

    async def _stop(self, led: _Led, move: moves.Stop) -> None:
        names = {job.id: name for name, job in led.found.items()}
        for job_id in move.jobs:
            doing = led.doing.pop(names[job_id], None)
            if doing is not None:
                doing.cancel()
            if _is_own(led.plan, names[job_id]):
                await self._ties.store.end(job_id, moves.End(status=JobStatus.CANCELED), at=self._ties.clock())
                led.changed.set()
                continue
            job = await self._ties.jobs.cancel(led.parent.tenant, job_id, now=self._ties.clock())
            self._ties.bus.publish(job.id, model.StatusChanged(status=job.status))
            if job.status is JobStatus.CANCELING:
                self._ties.bus.signal(model.CancelAsked(job_id=job.id, attempt_id=job.attempt_id))

    def _resume(self, led: _Led) -> None:
        """Steps of our own that nobody does: they have just begun, or were interrupted by a restart."""
        for planned in led.plan.steps:
            name = planned.step.name
            job = led.found.get(name)
            if planned.step.template is None and job is not None and not job.ended and name not in led.doing:
                led.doing[name] = asyncio.create_task(self._do(led, planned, job))

    async def _do(self, led: _Led, planned: moves.Planned, job: model.Job) -> None:
        """Do a step of our own, and write down how it ended."""
        source = led.found.get(planned.step.of or "")
        end = await self._outcome(job, planned.step, source.outputs if source is not None else ())
        await _patiently(lambda: self._ties.store.end(job.id, end, at=self._ties.clock()))
        led.changed.set()

    async def _outcome(self, job: model.Job, step: pipelines.Step, files: tuple[model.Output, ...]) -> moves.End:
        """How the step ended. While its files cannot be read or kept it is done again: that is not its fault."""
        try:
            return await _patiently(lambda: own.run(self._ties, job, step, files))
        except Exception as error:  # noqa: BLE001 - a picture may break any decoder, and the pipeline has to end
            _log.exception("step_broke", job=job.id, step=step.name)
            message = f"the gateway failed: {type(error).__name__}: {error}"
            return moves.End(status=JobStatus.FAILED, error=model.JobError(code="step_failed", message=message))

    async def _end(self, led: _Led, end: moves.End) -> None:
        job = await self._ties.store.end(led.parent.id, end, at=self._ties.clock())
        if job is None:
            return
        reason = end.error.message if end.error is not None else None
        _log.info(f"job_{job.status}", job=job.id, steps=len(led.found), reason=reason)
        self._ties.bus.publish(job.id, model.StatusChanged(status=job.status, job=job))

    # -- hearing and telling --------------------------------------------------------------------------------------

    def _hear(self, led: _Led, job_id: model.JobId, step: str | None, stack: contextlib.AsyncExitStack) -> None:
        """Listen to a job from this moment on."""
        if job_id in led.heard:
            return
        led.heard.add(job_id)
        news = stack.enter_context(self._ties.bus.subscribe(job_id))
        listening = asyncio.create_task(self._listen(led, news, step))
        stack.callback(listening.cancel)

    async def _listen(self, led: _Led, news: ports.Subscription, step: str | None) -> None:
        while True:
            match await news.next():
                case model.StatusChanged():
                    led.changed.set()
                case model.ProgressMade(progress=progress) if step is not None:
                    led.told[step] = progress
                    self._tell(led)
                case _:
                    pass

    def _tell(self, led: _Led) -> None:
        progress = moves.progress(led.plan, led.found, led.told)
        self._ties.bus.publish(led.parent.id, model.ProgressMade(progress=progress))


async def _patiently(call: Callable[[], Awaitable[_T]]) -> _T:
    """Do it until the store and the blobs can be used."""
    while True:
        try:
            return await call()
        except errors.StoreUnavailable as error:
            _log.warning("store_unavailable", reason=error.message)
            await asyncio.sleep(_AGAIN_SECONDS)


async def _drop(led: _Led) -> None:
    """Nobody leads it any more: stop what we were doing for it."""
    for task in led.doing.values():
        task.cancel()
    await asyncio.gather(*led.doing.values(), return_exceptions=True)


def _is_own(plan: moves.Plan, step: str) -> bool:
    return any(planned.step.name == step and planned.step.template is None for planned in plan.steps)


def _broken(message: str, *, code: str = "step_failed", details: Mapping[str, object] | None = None) -> moves.End:
    error = model.JobError(code=code, message=message, details=details)
    return moves.End(status=JobStatus.FAILED, error=error)


def _never_ran(parent: model.Job, step: str, end: moves.End) -> model.Job:
    """A step that could not be ordered, for as long as its pipeline takes to end."""
    return model.Job(
        id=moves.step_id(parent.id, step),
        tenant=parent.tenant,
        status=JobStatus.FAILED,
        created_at=parent.created_at,
        expires_at=parent.expires_at,
        error=end.error,
    )
