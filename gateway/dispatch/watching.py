"""Looking after workers: is the silent one dead, is the broken one to be restarted, is the old one to be recycled.

What is judged is pure (`domain.watchdog`); here its signs are gathered and its findings acted on. A worker of ours that
is dead or broken is restarted. One that is not ours is quarantined: it gets nothing until it has restarted, or went on
by itself. A worker is asked for its log only when it has been silent for a while.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from gateway import ports
from gateway.dispatch import attempt, fleet, learning, link
from gateway.domain import errors, model, retrying, verdict, watchdog
from gateway.domain.states import Outcome
from gateway.domain.watchdog import Judgement

_log = structlog.get_logger("gateway.dispatch")

#: After these nothing runs in a process any more.
_BREAKS: Final = frozenset({retrying.CUDA_FAULT, retrying.THREAD_DEAD})

Restart = Callable[[model.WorkerId, str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """When to act; times in seconds."""

    dead: float = 120.0  #: without a frame *and* with a process that does nothing for so long, a worker is dead
    ask: float = 10.0  #: silent for so long, a worker's log is looked at, and again each time
    stuck: float = 60.0  #: a run that does not stop for so long holds up its worker for good
    restart_again: float = 30.0  #: a restart that did not come about is asked for again
    recycle_jobs: int | None = None  #: after so many jobs a worker of ours is started anew
    recycle_memory: int | None = None  #: and when its processes take more bytes than that


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchdog:
    """`look` at each member every second or so."""

    care: Care
    clock: ports.Clock
    learning: learning.Learning
    restart: Restart

    async def look(self, member: fleet.Member) -> None:
        """Judge it, and do what that means."""
        try:
            if member.link.state is link.LinkState.QUARANTINED:
                await self._quarantined(member)
            elif member.link.state is link.LinkState.READY:
                await self._judge(member)
                if member.link.condemned or member.link.suspected:
                    await member.link.sweep()
        except errors.WorkerError as error:
            _log.info("look_failed", worker=member.worker.id, reason=error.message)

    async def remember(self, member: fleet.Member, before: Sequence[model.Attempt]) -> None:
        """What ended there before we drove it (oldest first) may tell that the process is broken."""
        fatal = [one for one in before if one.error is not None and one.error.code in _BREAKS]
        if not fatal:
            return
        last, error = fatal[-1], fatal[-1].error
        reason = error.message if error is not None else ""
        try:
            await member.link.doubt(reason, marks=(last.id,), stuck=error is None or error.code != retrying.CUDA_FAULT)
        except errors.WorkerError as failure:
            _log.info("look_failed", worker=member.worker.id, reason=failure.message)

    # -- those that are broken ----------------------------------------------------------------------------------

    async def _quarantined(self, member: fleet.Member) -> None:
        reason = member.link.reason or "it is quarantined"
        for run in member.runs.values():
            if run.stays:  # it waited behind what broke the worker
                run.give_up(verdict.Verdict(outcome=Outcome.RELEASED, reason=f"the worker was broken: {reason}"))
        if member.process is not None:
            await self._restart(member, reason)
        else:
            await member.link.probe()

    async def _restart(self, member: fleet.Member, reason: str) -> None:
        now = self.clock()
        asked = member.restart_asked
        if asked is not None and asked.trouble_since == member.link.since and now - asked.at < self.care.restart_again:
            return
        member.restart_asked = fleet.RestartAsked(trouble_since=member.link.since, at=now)
        _log.warning("worker_restart", worker=member.worker.id, reason=reason)
        await self.restart(member.worker.id, reason)

    async def recycle(self, member: fleet.Member) -> None:
        """Have a process of ours that nobody uses started anew."""
        if member.recycling is not None:
            await self._restart(member, member.recycling)

    # -- those that are silent ----------------------------------------------------------------------------------

    async def _judge(self, member: fleet.Member) -> None:
        runs = [run for run in member.runs.values() if run.stays]
        if not runs:
            return
        now = self.clock()
        silent = min(now - run.heard_at for run in runs)
        if silent >= self.care.ask and now - member.log_at >= self.care.ask:
            member.log_at = now
            await self._read_log(member, now)
        for run in runs:
            signs = _signs(member, run, silent=silent, now=now, asks=self.care.ask)
            finding = watchdog.judge(signs, self._bounds(run))
            if finding.judgement is Judgement.BLOCKED:
                await self._put_aside(member, runs, finding.reason)
                return
            await self._act(member, runs, run, finding)

    @staticmethod
    async def _put_aside(member: fleet.Member, runs: Sequence[attempt.AttemptRun], reason: str) -> None:
        """Nothing gets through to this worker until what blocks it is gone; who waited is not to blame."""
        blocking = (await member.link.client.queue()).running
        member.link.quarantine(reason, marks=blocking, stuck=True)
        for run in runs:
            run.give_up(verdict.Verdict(outcome=Outcome.RELEASED, reason=f"the worker is blocked: {reason}"))

    @staticmethod
    async def _read_log(member: fleet.Member, now: float) -> None:
        try:
            member.log.look(await member.link.client.log(), now=now)
        except errors.WorkerError as error:  # one sign less
            _log.info("log_not_read", worker=member.worker.id, reason=error.message)

    def _bounds(self, run: attempt.AttemptRun) -> watchdog.Bounds:
        limits, learned, family = run.claim.limits, self.learning.durations, run.claim.family
        return watchdog.Bounds(
            run=limits.run if limits.run is not None else learned.run_limit(family),
            idle=limits.idle if limits.idle is not None else learned.idle_limit(family),
            dead=self.care.dead,
            known_dead=self.care.ask,
        )

    async def _act(
        self,
        member: fleet.Member,
        runs: Sequence[attempt.AttemptRun],
        run: attempt.AttemptRun,
        finding: watchdog.Finding,
    ) -> None:
        if member.link.state is not link.LinkState.READY:  # another run told already
            return
        if finding.judgement is Judgement.DEAD:
            await self._bury(member, runs, finding.reason)
        elif run.overdue is not None and self.clock() - run.overdue_at >= self.care.stuck:
            await self._bury(member, runs, f"it does not stop what takes too long: {run.overdue}")
        elif finding.judgement is Judgement.TOO_LONG and run.overdue is None:
            run.stop_late(finding.reason)

    async def _bury(self, member: fleet.Member, runs: Sequence[attempt.AttemptRun], reason: str) -> None:
        """Nothing comes from this worker any more; what ran there is to blame, what waited behind it is not."""
        running = (await member.link.client.queue()).running
        member.link.quarantine(reason, marks=running or tuple(run.id for run in runs), stuck=True)
        for run in runs:
            if run.id in running:
                run.seen_to_run()
            run.give_up(_last_word(run, reason))


def _last_word(run: attempt.AttemptRun, reason: str) -> verdict.Verdict:
    if run.overdue is not None:
        return verdict.too_late(run.overdue)
    if run.running_since is None:
        return verdict.Verdict(outcome=Outcome.RELEASED, reason=f"the worker is dead: {reason}")
    error = model.JobError(code=retrying.THREAD_DEAD, message=reason)
    return verdict.Verdict(outcome=Outcome.BROKEN, reason=reason, error=error)


def _signs(member: fleet.Member, run: attempt.AttemptRun, *, silent: float, now: float, asks: float) -> watchdog.Signs:
    process = member.process
    log_quiet = member.log.quiet(now) if silent >= asks else None
    nothing_runs = all(other.running_since is None for other in member.runs.values())
    return watchdog.Signs(
        silent=silent if run.hears else None,
        running=None if run.running_since is None else now - run.running_since,
        waiting=now - run.posted_at if nothing_runs and run.posted_at is not None else None,
        cpu_idle=process.idle_seconds if process else None,
        gpu_idle=process.gpu_idle_seconds if process else None,
        log_quiet=log_quiet,
        log_tells_death=member.log.tells_death and silent >= asks,
    )


# -- those that are old -------------------------------------------------------------------------------------------


def why_recycle(member: fleet.Member, care: Care) -> str | None:
    """Why this process of ours should be started anew, if it should."""
    if member.process is None or member.process.pid is None:
        return None
    if care.recycle_jobs is not None and member.jobs_since >= care.recycle_jobs:
        return f"it has done {member.jobs_since} jobs since it was started"
    taken = member.process.memory_bytes
    if care.recycle_memory is not None and taken is not None and taken > care.recycle_memory:
        most = care.recycle_memory / 2**30
        return f"it takes {taken / 2**30:.1f} GiB of the machine's memory, and {most:.1f} GiB is the most"
    return None


async def recycle(members: Sequence[fleet.Member], watch: Watchdog) -> None:
    """Start old processes anew, one at a time, each once it has finished what it runs."""
    if not any(member.recycling for member in members):
        for member in members:
            reason = None if member.draining else why_recycle(member, watch.care)
            if reason is not None:
                _log.info("worker_recycle", worker=member.worker.id, reason=reason, jobs=len(member.runs))
                member.recycling = reason
                break
    for member in members:
        if member.recycling and not member.runs and not member.link.remaining:
            await watch.recycle(member)
