"""Attempts in flight: started from claims, driven to their end, settled or handed back.

`settle` is the one place where an attempt's end is written, and the one place that is shielded from cancellation: what
a worker finished is not forgotten because the gateway stops at that moment.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
import tenacity

from gateway.dispatch import attempt, fleet, link, room, tools, trying
from gateway.domain import errors, model
from gateway.domain.states import JobStatus, Outcome

_log = structlog.get_logger("gateway.dispatch")


@dataclass(slots=True, kw_only=True, eq=False)
class Driver:
    """Drives attempts as tasks of its own. `on_free` is called when a worker has a place again, `on_requeue` when a
    job may be claimed again, `forget` when one has ended for good."""

    tools: tools.Tools
    on_free: Callable[[], None]
    on_requeue: Callable[[], None]
    forget: Callable[[model.JobId], None]
    on_settled: Callable[[fleet.Member, model.AttemptId, Outcome], None]  #: its end is written
    sharing: Callable[[fleet.Member], Sequence[link.Link]]  #: the workers on the same card
    post_seconds: float  #: how long a POST may take: the worker's lease has to outlast it
    ahead: float  #: how long before the expected end of a run its place may be given away; 0: never
    _tasks: dict[model.AttemptId, asyncio.Task[None]] = field(default_factory=dict[model.AttemptId, asyncio.Task[None]])

    @property
    def running(self) -> int:
        """Attempts in flight."""
        return len(self._tasks)

    def start(self, member: fleet.Member, claim: model.Claim, *, alone: bool = False) -> None:
        """Begin (or, for a resumed claim, take up) an attempt; `alone`: it has the card for itself."""
        member.occupied += 1

        self.tools.foresight.begun(claim)

        def free() -> None:
            member.occupied -= 1
            member.ends_soon = False
            self.tools.foresight.freed(claim)
            self.on_free()

        run = attempt.AttemptRun(
            claim=claim,
            link=member.link,
            inputs=member.inputs,
            known=member.known,
            tools=self.tools,
            on_free=free,
            on_start=lambda: self._started(member, run),
            make_room=lambda: self._make_room(member, claim),
            may_post=lambda: member.leased_until > self.tools.clock() + self.post_seconds,
            was_restarted=lambda since: _was_restarted(member, since),
            alone=alone or (claim.room is not None and claim.room.alone_on == member.worker.id),
        )
        member.runs[run.id] = run
        if claim.canceling:
            run.cancel()
        if not claim.resumed:
            number = claim.attempt.number
            _log.info("job_claim", job=claim.job_id, attempt=run.id, worker=member.worker.id, number=number)
            self.tools.bus.publish(claim.job_id, model.StatusChanged(status=JobStatus.RUNNING))
        task = asyncio.create_task(self._drive(member, run))
        self._tasks[run.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(run.id, None))

    def _started(self, member: fleet.Member, run: attempt.AttemptRun) -> None:
        """It runs: have the next job sent a moment before this one is expected to end."""
        self.tools.foresight.started(run.claim)
        seconds = self.tools.foresight.takes(run.claim) if self.ahead else None
        if seconds is not None:
            lead = self.ahead + self.tools.foresight.delay(member.worker.id)
            asyncio.get_running_loop().call_later(max(0.0, seconds - lead), self._ends_soon, member, run)

    def _ends_soon(self, member: fleet.Member, run: attempt.AttemptRun) -> None:
        if run.busy and not run.alone:
            member.ends_soon = True
            self.on_free()

    async def _make_room(self, member: fleet.Member, claim: model.Claim) -> None:
        """Free the card, unless what it holds is what this job needs."""
        retried = claim.room is not None and claim.room.alone_on == member.worker.id
        if retried or member.family != claim.family:
            await room.make_room(self.sharing(member), self.tools.patience)
            for shared in self.sharing(member):
                self.tools.foresight.forget(shared.worker.id)

    async def wait(self, seconds: float) -> None:
        """Until no attempt is in flight, at most `seconds`."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks.values()), timeout=seconds)

    async def hand_back(self, member: fleet.Member, *, tell_worker: bool = True) -> None:
        """Give a worker's attempts back: nothing of them is kept, and they spend no try."""
        for run in tuple(member.runs.values()):
            await self._abandon(member, run)
            if tell_worker:
                await run.ask_worker_to_cancel()
            await self._settle(member, run, run.hand_back())

    async def drop(self, member: fleet.Member) -> None:
        """Let go of a worker's attempts without writing anything: its lease is somebody else's now."""
        for run in tuple(member.runs.values()):
            await self._abandon(member, run)

    async def close(self) -> None:
        """Cancel what is in flight and write nothing: the next gateway adopts it."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _abandon(self, member: fleet.Member, run: attempt.AttemptRun) -> None:
        member.runs.pop(run.id, None)
        task = self._tasks.get(run.id)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _drive(self, member: fleet.Member, run: attempt.AttemptRun) -> None:
        """Drive one attempt and settle it, whatever happens to it."""
        try:
            ending = await run.run()
        except Exception as error:  # noqa: BLE001 - around an attempt anything may come, and the job must not be lost
            _log.exception("attempt_broke", job=run.claim.job_id, attempt=run.id)
            ending = run.broken(f"the gateway failed: {type(error).__name__}: {error}")
        await asyncio.shield(self._settle(member, run, ending))

    async def _settle(self, member: fleet.Member, run: attempt.AttemptRun, ending: model.Ending) -> None:
        """Write an attempt's end, however long the store needs to come back."""
        settle = functools.partial(self.tools.queue.settle, run.id, ending)
        try:
            job = await trying.patiently(settle, errors.StoreUnavailable, _for_ever)
            self._settled(member, run, ending, job)
        except errors.LeaseLost as error:
            _log.warning("settle_fenced", job=run.claim.job_id, attempt=run.id, reason=error.message)
        finally:
            member.runs.pop(run.id, None)
            self.tools.foresight.ended(run.claim, posted=run.posted_at is not None and not run.taken_back)

    def _settled(self, member: fleet.Member, run: attempt.AttemptRun, ending: model.Ending, job: model.Job) -> None:
        edge = "job_requeue" if job.status is JobStatus.QUEUED else f"job_{job.status}"
        is_meant = ending.outcome in {Outcome.SUCCEEDED, Outcome.CANCELED} or run.taken_back
        log = _log.info if is_meant else _log.warning
        log(edge, job=job.id, attempt=run.id, worker=member.worker.id, outcome=ending.outcome, reason=ending.reason)
        member.jobs_since += 1
        if run.taken_back and ending.outcome is Outcome.RELEASED:
            self.tools.foresight.tally.decisions["stolen"] += 1
        if ending.outcome is Outcome.SUCCEEDED:
            member.jobs_done += 1
            member.family = run.claim.family
            member.loaded = (run.outline.models if run.outline else ()) or member.loaded
        self.tools.bus.publish(job.id, model.StatusChanged(status=job.status, job=job))
        self.on_settled(member, run.id, ending.outcome)
        if job.ended:
            self.forget(job.id)
        else:
            delay = max(0.0, (ending.retry_at or 0.0) - self.tools.clock())
            asyncio.get_running_loop().call_later(delay, self.on_requeue)


def _for_ever() -> tenacity.AsyncRetrying:
    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(errors.StoreUnavailable),
        wait=tenacity.wait_exponential_jitter(multiplier=0.1, max=5),
    )


def _was_restarted(member: fleet.Member, since: float) -> bool:
    """Whether a person or the watchdog had the worker restarted since then."""
    asked = member.process.restart_asked_at if member.process is not None else None
    return asked is not None and asked >= since
