"""Taking jobs back from busy workers for idle ones. What is taken is decided purely (`placement.taking_back`); here the
lines are read off the attempts, and the attempts are told.

Looked at is only what a round of claims left over: the queue goes first. An attempt that is told leaves its worker's
queue by itself, and until it is settled its idle worker is promised to it. Then its job is queued where it stood
before, and claimed like any other.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway import ports
from gateway.dispatch import attempt, fleet, foresight, learning
from gateway.domain import model, pauses
from gateway.domain.comfy.graph import Requirements
from gateway.domain.placement import taking_back

_AGAIN_SECONDS: Final = 0.2  #: between looks at a line, while a worker is idle: the run before it may take too long
_PROMISED_SECONDS: Final = 0.5  #: for so long a place is kept for a job that has left another worker's line
_FOREIGN_SECONDS: Final = 1.0  #: sent so long ago and not begun, with others' prompts there, it waits behind those


@dataclass(frozen=True, slots=True, kw_only=True)
class _Promise:
    """A place of an idle worker, kept for a job until that is claimed again."""

    worker: model.WorkerId
    attempt: model.AttemptId  #: that is being taken back for it
    at: float


@dataclass(slots=True, kw_only=True)
class Balance:
    """`look` after each round of claims; `look_again` is called when another round is due for the sake of it."""

    fleet: fleet.Fleet
    foresight: foresight.Foresight
    learning: learning.Learning
    clock: ports.Clock
    look_again: Callable[[], None]
    _promised: dict[model.JobId, _Promise] = field(default_factory=dict[model.JobId, "_Promise"])
    _timer: asyncio.TimerHandle | None = None

    def is_uneven(self) -> bool:
        """Whether something may wait on a worker, so that one that becomes idle calls for a look."""
        return any(
            member.occupied > 1 or (member.occupied and member.link.others and _line(member, self.clock())[0])
            for member in self.fleet.members.values()
        )

    def look(self, requirements: Mapping[str, Requirements], paused: pauses.Pauses) -> None:
        """Have attempts taken back that idle workers would have done sooner."""
        if not self.is_uneven():
            return
        now = self.clock()
        runs = {run.id: (run, waiting) for run, waiting in self._waiting(paused, now)}
        idle = _of_idle(self.fleet.slots(requirements)) if runs else []
        if not idle:
            return
        self._look_soon()
        free = self._unpromised(idle, now)
        outlook = self.foresight.choosing(lambda: self.fleet.standings(requirements), always=True).outlook
        delays = {worker: self.foresight.delay(worker) for worker in self.fleet.members}
        for found in taking_back.take_back([one for _, one in runs.values()], free, outlook, delays=delays):
            run, _ = runs[found.attempt]
            self._promised[run.claim.job_id] = _Promise(worker=found.to, attempt=found.attempt, at=now)
            run.take_back(found.reason)

    def claimed(self, job_id: model.JobId) -> None:
        """It is on its way to a worker again."""
        self._promised.pop(job_id, None)

    def _look_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._again)

    def _again(self) -> None:
        self._timer = None
        self.look_again()

    def _unpromised(self, idle: Sequence[model.Slot], now: float) -> Sequence[model.Slot]:
        """The places that nothing is on its way to."""
        runs = [run for member in self.fleet.members.values() for run in member.runs.values()]
        leaving = {run.id for run in runs if run.is_leaving and run.stays}
        self._promised = {
            job: one
            for job, one in self._promised.items()
            if one.attempt in leaving or now - one.at < _PROMISED_SECONDS
        }
        taken = Counter(one.worker for one in self._promised.values())
        free: list[model.Slot] = []
        for slot in idle:
            taken[slot.worker] -= 1
            if taken[slot.worker] < 0:
                free.append(slot)
        return free

    def _waiting(self, paused: pauses.Pauses, now: float) -> list[tuple[attempt.AttemptRun, taking_back.Waiting]]:
        """What waits on workers and may go elsewhere."""
        found: list[tuple[attempt.AttemptRun, taking_back.Waiting]] = []
        for member in self.fleet.members.values():
            line, blocked = _line(member, now)
            for run in line:
                if not self._is_bound(run, paused):
                    starts_in = blocked + self.foresight.waits(run.claim)
                    found.append((run, _waiting(run.claim, starts_in, self.foresight.takes(run.claim))))
        return found

    def _is_bound(self, run: attempt.AttemptRun, paused: pauses.Pauses) -> bool:
        """Whether it is to stay: it is being stopped, was asked to leave before, is there for its card's memory, or
        would not get out of the queue again."""
        claim, memory = run.claim, self.learning.memory
        return bool(
            run.leaving is not None
            or run.cancel_asked
            or run.overdue is not None
            or run.alone
            or claim.room is not None
            or (memory and memory.demand(claim.family, claim.size))
            or paused.over(claim.tenant, claim.template) is not None
        )


def _of_idle(slots: Sequence[model.Slot]) -> list[model.Slot]:
    """The places of workers that have nothing to do."""
    idle = {slot.worker for slot in slots if slot.connections == 0}
    return [slot for slot in slots if slot.worker in idle]


def _line(member: fleet.Member, now: float) -> tuple[Sequence[attempt.AttemptRun], float]:
    """What waits there, in the order in which it was sent, and how long prompts of others will keep it waiting."""
    there = [run for run in member.runs.values() if run.stays]
    sent = sorted((run for run in there if run.running_since is None), key=lambda run: run.posted_at or now)
    if len(sent) < len(there):
        return sent, 0.0  # one of ours runs
    waited = now - (sent[0].posted_at or now) if sent and member.link.others else 0.0
    if waited >= _FOREIGN_SECONDS:
        return sent, waited  # it is expected to take as long again
    return sent[1:], 0.0  # the first is about to begin


def _waiting(claim: model.Claim, starts_in: float, takes: float | None) -> taking_back.Waiting:
    return taking_back.Waiting(
        attempt=claim.attempt.id,
        candidate=model.Candidate(
            job_id=claim.job_id,
            tenant=claim.tenant,
            requirements_key=claim.requirements_key,
            priority=0,
            created_at=claim.attempt.created_at,
            avoid=claim.avoid,
            template=claim.template,
            size=claim.size,
            sketch=claim.sketch,
        ),
        worker=claim.attempt.worker,
        starts_in=starts_in,
        takes=takes,
        released=claim.attempt.number - 1 - claim.tries,
    )
