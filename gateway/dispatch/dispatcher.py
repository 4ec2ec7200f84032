"""Dispatch: idle workers take queued jobs; attempts are driven to their end and settled.

All loops live in one TaskGroup. `_place` wakes on signals (work was queued, a worker became free) and lets the store
claim what `choose` decides, in one transaction. `_tend` renews worker leases and adopts attempts that are found open;
`_watch` looks after workers that are silent, broken or old. Each member's `Link.run` keeps its connection. Every
attempt is a task of its own; `settle` is the one place where an attempt's end is written, and the one place that is
shielded from cancellation.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import structlog

from gateway import assets, ports
from gateway.dispatch import (
    cleaning,
    drive,
    fleet,
    foresight,
    having,
    inputs,
    learning,
    leasing,
    link,
    placing,
    tools,
    watching,
)
from gateway.domain import durations, errors, model, pauses, retrying
from gateway.domain.comfy.graph import Requirements
from gateway.domain.comfy.object_info import NodeCatalog
from gateway.domain.costs import eta
from gateway.domain.costs.sketch import Sketch
from gateway.domain.states import JobStatus

_log = structlog.get_logger("gateway.dispatch")
_TOLD: Final = 4  #: workers that are named where many cannot run a job
_TICK_SECONDS: Final = 1.0  #: between looks at leases, due retries and workers, when no signal comes


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How dispatch behaves; times in seconds."""

    owner: str  #: who holds the worker leases: this gateway, the same after a restart on the same data
    lease: float = 45.0  #: must outlast a POST's time-out (decision 8 of the design)
    post: float = 30.0  #: the time-out of a POST
    catalog_refresh: float = 600.0
    ahead: float = 0.02  #: a job is sent this long before the run before it is expected to end; 0: when it has ended
    affinity: float = 30.0  #: for so long a job may leave places to others, to be done sooner than there
    patience: tools.Patience = field(default_factory=tools.Patience)
    care: watching.Care = field(default_factory=watching.Care)
    runs: durations.Patience = field(default_factory=durations.Patience)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ties:
    """What dispatch is tied to."""

    queue: ports.Queue
    workers: ports.Workers
    bus: ports.Bus
    assets: assets.Assets
    connect: ports.Connect
    choose: ports.Choose | None  #: None: where it is expected to finish first
    clock: ports.Clock
    new_id: ports.NewId
    secret_of: Callable[[model.JobId], str | None]
    forget_secret: Callable[[model.JobId], None]
    restart_worker: Callable[[model.WorkerId, str], Awaitable[None]]  #: ours are restarted, others are left alone
    learned: ports.Learned
    files: ports.WorkerFiles  #: of our own workers
    chance: Callable[[], float] = random.random  #: 0..1, for jitter


class Dispatch:
    """The running dispatcher. `run` it in a TaskGroup; `stop` it gracefully before cancelling."""

    def __init__(self, ties: Ties, options: Options) -> None:
        self._ties = ties
        self._options = options
        self._fleet = fleet.Fleet()
        self._group: asyncio.TaskGroup | None = None
        self._learning = learning.Learning(
            store=ties.learned, clock=ties.clock, durations=durations.Durations(patience=options.runs)
        )
        self._foresight = foresight.Foresight(clock=ties.clock, costs=self._learning.costs, patience=options.affinity)
        self._watchdog = watching.Watchdog(
            care=options.care, clock=ties.clock, learning=self._learning, restart=ties.restart_worker
        )
        self._cleaner = cleaning.Cleaner(files=ties.files, members=lambda: self._fleet.members, clock=ties.clock)
        self._placing = self._made_placing()
        self._driver = drive.Driver(
            tools=self._tools(),
            on_free=self._placing.freed,
            on_requeue=self._placing.wake,
            forget=ties.forget_secret,
            on_settled=self._cleaner.ended,
            sharing=self._fleet.sharing,
            post_seconds=options.post,
            ahead=options.ahead,
        )
        self._leasing = self._made_leasing()
        self._tend_now = asyncio.Event()
        self._input_files = having.InputFiles(members=self._fleet.members.values, clock=ties.clock)

    def _made_placing(self) -> placing.Placing:
        ties = self._ties
        return placing.Placing(
            queue=ties.queue,
            bus=ties.bus,
            space=ties.assets.space,
            fleet=self._fleet,
            foresight=self._foresight,
            learning=self._learning,
            policy=ties.choose,
            clock=ties.clock,
            new_id=ties.new_id,
            start=self._start,
        )

    def _made_leasing(self) -> leasing.Leasing:
        return leasing.Leasing(
            workers=self._ties.workers,
            queue=self._ties.queue,
            fleet=self._fleet,
            driver=self._driver,
            watchdog=self._watchdog,
            clock=self._ties.clock,
            start=self._placing.begin,
            owner=self._options.owner,
            seconds=self._options.lease,
        )

    def _tools(self) -> tools.Tools:
        ties, patience = self._ties, self._options.patience
        return tools.Tools(
            queue=ties.queue,
            bus=ties.bus,
            assets=ties.assets,
            clock=ties.clock,
            secret_of=ties.secret_of,
            patience=patience,
            learning=self._learning,
            foresight=self._foresight,
            chance=ties.chance,
            larger=self._has_larger,
            backoff=retrying.Backoff(first=patience.retry, most=patience.retry_most),
        )

    def _has_larger(self, claim: model.Claim, than: int) -> bool:
        return self._fleet.has_larger(self._placing.requirements.get(claim.requirements_key), than)

    # -- the fleet, for people ----------------------------------------------------------------------------------

    def views(self) -> Sequence[model.WorkerView]:
        """All workers by id."""
        return self._fleet.views()

    def catalogs(self) -> Sequence[NodeCatalog]:
        """Distinct catalogs of the workers that told theirs; empty while none is known."""
        return self._fleet.catalogs()

    async def may_have_input(self, name: str) -> bool:
        """Whether an input file of this name may be on some worker; False when all that are known say no."""
        return await self._input_files.may_have(name)

    def known(self) -> Mapping[model.WorkerId, NodeCatalog | None]:
        """What each worker has told of itself; None while it has told nothing."""
        return {worker: member.link.catalog for worker, member in self._fleet.members.items()}

    async def object_info(self, worker: model.WorkerId) -> Mapping[str, object]:
        """A worker's whole `GET /object_info`, asked for anew; NotFound, WorkerError."""
        return await self._fleet.get(worker).link.client.object_info()

    async def add(self, url: str, *, worker_id: str | None = None, depth: int = 1) -> model.WorkerView:
        """Take a ComfyUI elsewhere into use, and again after a restart; Conflict when id or url is taken."""
        worker = _remote(url, worker_id, depth, self._ties.clock())
        for member in self._fleet.members.values():
            if member.worker.id == worker.id or member.worker.url == worker.url:
                raise errors.Conflict(f"{member.worker.url} is worker {member.worker.id!r} already")
        member = await self.adopt_worker(worker)
        return member.view()

    async def adopt_worker(self, worker: model.Worker) -> fleet.Member:
        """Take a worker into the fleet, or update the one with that id."""
        stored = await self._ties.workers.put(worker)
        member = self._fleet.members.get(stored.id)
        if member is not None and member.worker.url == stored.url:
            member.worker = stored
            return member
        if member is not None:
            await self._drop(member, "its address changed")
        member = self._member(stored)
        self._fleet.members[stored.id] = member
        if self._group is not None:
            member.listening = self._group.create_task(member.link.run())
        self._tend_now.set()
        return member

    async def restore(self) -> None:
        """At start: take the workers into use again that were added through the API."""
        for worker in await self._ties.workers.all():
            if worker.persistent and worker.id not in self._fleet.members:
                await self.adopt_worker(worker)

    async def remove(self, worker_id: str, *, drain: bool) -> model.WorkerView | None:
        """Forget a worker; with `drain` what it runs may finish first. Conflict for a process of our supervisor."""
        member = self._fleet.get(worker_id)
        if member.process is not None:
            raise errors.Conflict(
                f"{worker_id} is a process of this gateway's supervisor, which would bring it back. Pause it instead "
                f"(comfy-gateway workers drain {worker_id}), or start the gateway with fewer (--gpus, --simulate)."
            )
        member.draining = True
        if drain and member.runs:
            _log.info("worker_draining", worker=worker_id, jobs=len(member.runs))
            return member.view()
        await self._drop(member, "it was removed")
        await self._ties.workers.remove(member.worker.id)
        return None

    async def processes_changed(self, processes: Sequence[model.WorkerProcess]) -> None:
        """What our supervisor runs right now: new processes join, the rest is brought up to date."""
        for process in processes:
            worker = model.Worker(
                id=process.id, url=process.url, kind=process.kind, gpu=process.gpu, created_at=self._ties.clock()
            )
            member = self._fleet.members.get(process.id)
            if member is None or member.worker.url != process.url:
                member = await self.adopt_worker(worker)
            if member.process is not None and process.pid not in {None, member.process.pid}:
                member.new_process()
            member.process = process

    def _member(self, worker: model.Worker) -> fleet.Member:
        client = self._ties.connect(worker.url)
        return fleet.Member(
            worker=worker,
            jobs_done=worker.jobs_done,
            inputs=inputs.Inputs(client=client, assets=self._ties.assets),
            link=link.Link(
                worker=worker,
                client=client,
                parse_catalog=self._fleet.parse_catalog,
                new_id=self._ties.new_id,
                clock=self._ties.clock,
                on_ready=self._placing.wake,
                on_eased=self._placing.freed,
                on_lost=lambda: self._connection_lost(worker.id),
                admit=lambda facts: self._fleet.admit(worker.id, facts),
                since=self._ties.clock(),
            ),
        )

    def _connection_lost(self, worker: model.WorkerId) -> None:
        """It may have restarted: what we believed of its memory and files is void."""
        member = self._fleet.members.get(worker)
        if member is not None:
            member.inputs.forget()
            self._foresight.forget(worker)
            member.known.clear()
            member.loaded = ()

    async def _drop(self, member: fleet.Member, reason: str) -> None:
        """Take a member out; what it runs is handed back."""
        self._fleet.members.pop(member.worker.id, None)
        member.draining = True
        await self._driver.hand_back(member)
        for task in (member.listening, member.refreshing, member.looking):
            if task is not None:
                task.cancel()
        await member.link.client.close()
        self._foresight.drop(member.worker.id)
        _log.info("worker_removed", worker=member.worker.id, reason=reason)

    # -- what people ask of jobs --------------------------------------------------------------------------------

    def eta(self, job: model.Job, *, position: int | None) -> eta.Eta | None:
        """Seconds until a queued (at this position) or running job is done; None while nothing is known."""
        if job.attempt_id is None and self._placing.paused.over(job.tenant, job.template):
            return None
        standings = self._fleet.standings(self._placing.requirements) if job.attempt_id is None else ()
        return self._foresight.eta(job, standings, position=position)

    def expect(self, wanted: Requirements, sketch: Sketch, *, position: int) -> eta.Eta | None:
        """Seconds until a job that is not ordered yet would be done, from that position; None: nobody can tell."""
        standings = self._fleet.standings({wanted.key: wanted})
        return self._foresight.expect(wanted, sketch, standings, position=position)

    async def why(self, job: model.Job, *, position: int | None) -> model.Why:
        """Why a queued job waits, by the function that places it."""
        paused = await self._ties.queue.pauses()
        pause = paused.over(job.tenant, job.template)
        if pause is not None:
            return model.Why(sentence=f"waits: {pause.sentence}")
        requirements = await self._ties.queue.requirements()
        self._foresight.learn_needs(requirements)
        standings = self._fleet.standings(requirements)
        if not any(job.requirements_key in standing.accepts for standing in standings):
            return model.Why(sentence=self._nobody_runs(requirements.get(job.requirements_key), paused))
        places = [model.Slot(worker=one.worker, epoch=0, accepts=one.accepts) for one in standings]
        candidates = await self._ties.queue.look(self._foresight.warm(places), now=self._ties.clock())
        found = self._foresight.why(job, candidates, self._fleet.slots(requirements), standings)
        return found or _behind(position)

    def _nobody_runs(self, wanted: Requirements | None, paused: pauses.Pauses) -> str:
        """Why no worker that takes work could run this."""
        members = self._fleet.members.values()
        able = [
            member
            for member in members
            if wanted is None or (member.link.catalog is not None and not member.link.catalog.lacks(wanted))
        ]
        if able:
            told = "; ".join(_why_not(member, paused) for member in able[:_TOLD])
            return f"waits for a worker that can run it: {told}{'; …' if len(able) > _TOLD else ''}"
        catalogs = [member.link.catalog for member in members if member.link.catalog is not None]
        lacks = [catalog.lacks(wanted) for catalog in catalogs if wanted is not None]
        if not lacks:
            return "waits for the first worker: none has told what it can run"
        return f"no worker can run it: {min(lacks, key=len)[0].message}"

    def offer(self, needed: Mapping[str, Requirements]) -> ports.Offer | None:
        """Free places, for an order that is being queued right now; None: it is claimed for after a signal."""
        return self._placing.offer(needed)

    def decisions(self) -> Mapping[str, int]:
        """How many jobs were placed `cold`, `warm`, after they had `waited`, or were `stolen`, since the start."""
        return self._foresight.tally.decisions

    # -- the loops ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Dispatch until cancelled."""
        await self._learning.load()
        async with asyncio.TaskGroup() as group:
            self._group = group
            for member in self._fleet.members.values():
                member.listening = group.create_task(member.link.run())
            group.create_task(self._tend())
            group.create_task(self._watch(group))
            group.create_task(self._place())
            group.create_task(self._cleaner.run())

    async def stop(self, *, grace: float) -> None:
        """Stop placing, let running attempts finish for `grace` seconds, hand the rest back without spending a try."""
        await self._placing.stop()
        if self._driver.running:
            _log.info("waiting_for_running_jobs", jobs=self._driver.running, seconds=grace)
            await self._driver.wait(grace)
        for member in self._fleet.members.values():
            await self._driver.hand_back(member)
        await self._learning.keep(now=True)
        await self._ties.workers.release(owner=self._options.owner)

    async def close(self) -> None:
        """Let go of everything at once, after `run` was cancelled; open attempts stay open, to be adopted."""
        await self._driver.close()
        for member in self._fleet.members.values():
            if member.refreshing is not None:
                member.refreshing.cancel()
            await member.link.client.close()

    async def _place(self) -> None:
        while True:
            for signal in await self._ties.bus.next_signals():
                if isinstance(signal, model.CancelAsked):
                    self._cancel(signal)
            try:
                await self._placing.round()
            except errors.StoreUnavailable as error:
                _log.warning("store_unavailable", reason=error.message)
                await asyncio.sleep(_TICK_SECONDS)
                self._placing.wake()

    def _cancel(self, asked: model.CancelAsked) -> None:
        for member in self._fleet.members.values():
            for run in member.runs.values():
                if run.claim.job_id == asked.job_id:
                    run.cancel()

    def _start(self, claim: model.Claim, *, alone: bool = False) -> None:
        """A member that vanished this very moment leaves the attempt open; it is adopted or lost later."""
        member = self._fleet.members.get(claim.attempt.worker)
        if member is not None:
            self._driver.start(member, claim, alone=alone)

    async def _tend(self) -> None:
        """Keep leases, adopt what is found open, finish drains, and look after workers that seem dead."""
        while True:
            try:
                await self._leasing.keep()
                await self._finish_drains()
                await self._expire()
                await self._learning.keep()
                await self._hear_cancels()
            except errors.StoreUnavailable as error:
                _log.warning("store_unavailable", reason=error.message)
            self._placing.wake()
            await self._pause(_TICK_SECONDS)

    async def _hear_cancels(self) -> None:
        """What was asked through another gateway, or of us at a bad moment, never came as a signal."""
        if not self._driver.running:
            return
        asked = await self._ties.queue.canceling()
        for member in self._fleet.members.values():
            for run in member.runs.values():
                if run.id in asked and not run.cancel_asked:
                    run.cancel()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._tend_now.wait()
        except TimeoutError:
            pass
        self._tend_now.clear()

    async def _finish_drains(self) -> None:
        for member in tuple(self._fleet.members.values()):
            if member.draining and not member.runs:
                await self._drop(member, "it was drained")
                await self._ties.workers.remove(member.worker.id)

    async def _watch(self, group: asyncio.TaskGroup) -> None:
        """Look after workers, each by itself: one that hangs delays neither the others nor our leases."""
        while True:
            now = self._ties.clock()
            members = tuple(self._fleet.members.values())
            for member in members:
                if member.looking is None or member.looking.done():
                    member.looking = group.create_task(self._watchdog.look(member))
                self._refresh_if_due(member, now)
            await watching.recycle(members, self._watchdog)
            await asyncio.sleep(_TICK_SECONDS)

    async def _expire(self) -> None:
        """End jobs that have waited for longer than they may."""
        for job_id in await self._ties.queue.expire(now=self._ties.clock()):
            _log.info("job_expire", job=job_id)
            self._ties.bus.publish(job_id, model.StatusChanged(status=JobStatus.EXPIRED))
            self._ties.forget_secret(job_id)

    def _refresh_if_due(self, member: fleet.Member, now: float) -> None:
        """Ask anew what a worker can run, beside everything else: some take over a minute to list their models."""
        due = now - member.link.catalog_at >= self._options.catalog_refresh
        ready = member.link.state is link.LinkState.READY
        if due and ready and (member.refreshing is None or member.refreshing.done()):
            member.refreshing = asyncio.create_task(self._refresh(member))

    async def _refresh(self, member: fleet.Member) -> None:
        before = member.link.catalog
        try:
            await member.link.refresh()
        except errors.WorkerError as error:
            _log.info("refresh_failed", worker=member.worker.id, reason=error.message)
            return
        if member.link.catalog is not before:
            _log.info(
                "worker_changed", worker=member.worker.id, reason="its nodes or model files are not what they were"
            )
            self._fleet.forget_catalogs()
            self._placing.wake()


def _why_not(member: fleet.Member, paused: pauses.Pauses) -> str:
    """Why a worker takes nothing."""
    pause = paused.find(pauses.PauseKind.WORKER, member.worker.id)
    return pause.sentence if pause is not None else f"the worker {member.worker.id} is {member.view().state}"


def _behind(position: int | None) -> model.Why:
    if position is None:
        return model.Why(sentence="is about to start")
    if position == 1:
        return model.Why(sentence="waits for a worker: it is the next one")
    return model.Why(sentence=f"waits in the queue: {position - 1} jobs go before it")


def _remote(url: str, worker_id: str | None, depth: int, now: float) -> model.Worker:
    """A remote worker that was added while running; its id is made of its host and port unless given."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise errors.InvalidRequest(f"{url!r} is not the http(s) address of a ComfyUI")
    name = worker_id or parts.netloc.rpartition("@")[2]
    return model.Worker(
        id=model.WorkerId(name),
        url=url.rstrip("/"),
        kind=model.WorkerKind.REMOTE,
        depth=depth,
        persistent=True,
        created_at=now,
    )
