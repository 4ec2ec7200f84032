"""Taking back: a job that was sent to a worker waits there behind another run, while a worker elsewhere is idle.

A job is sent before its worker can begin it where the way is long (`depth` above 1) or a run is about to end. That
binds it early, and the run before it may take longer than was expected. So once a worker is idle and the queue has
nothing for it, the lines at busy workers are looked at: the first job, of the longest line of which any gains, goes to
the idle worker where it would be done first. It gains if it is done there sooner by more than doubt allows, with the
way back and the way there counted.

An idle worker gets as many jobs as it has places, one after the other; no job is ever moved to a worker that is busy.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.domain import model
from gateway.domain.placement import reasons, seats
from gateway.domain.placement.outlook import Outlook

MOST: Final = 3  #: times that a job is handed back before it is left where it is: it must not go to and fro for ever
_GAIN_SECONDS: Final = 0.05  #: what it must gain at least
_GAIN_SHARE: Final = 0.1  #: and this part of what it takes on the idle worker
_QUESTIONS: Final = 3  #: requests, one after the other, until it is known to have left its worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A job that waits on a worker. Those of one worker are listed in the order in which they would run."""

    attempt: model.AttemptId
    candidate: model.Candidate
    worker: model.WorkerId
    starts_in: float  #: seconds until it is its turn there
    takes: float | None = None  #: seconds that it would run there; None: not known
    released: int = 0  #: how often it was handed back before


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeBack:
    """What is to leave its worker's queue, for whom, and why."""

    attempt: model.AttemptId
    worker: model.WorkerId
    to: model.WorkerId
    reason: str


def take_back(
    waiting: Sequence[Waiting], idle: Sequence[model.Slot], outlook: Outlook, *, delays: Mapping[model.WorkerId, float]
) -> tuple[TakeBack, ...]:
    """What idle workers take, at most one job for each of their free places. `delays`: seconds to a worker and back."""
    lines = _lines(waiting)
    takers = _Takers(idle, outlook, delays)
    found: list[TakeBack] = []
    while takers.free and (move := _next(lines, takers)) is not None:
        line, job, to = move
        _leave(line, job)
        takers.give(to)
        reason = _reason(job, to.worker)
        found.append(TakeBack(attempt=job.attempt, worker=job.worker, to=to.worker, reason=reason))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _Taker:
    """An idle worker that would do a job, and when; the least is the best."""

    done_in: float
    jobs_done: int
    worker: model.WorkerId
    takes: float


class _Takers:
    """The idle workers, with what they were given in this round."""

    def __init__(self, idle: Sequence[model.Slot], outlook: Outlook, delays: Mapping[model.WorkerId, float]) -> None:
        self._seats = seats.Seats(idle, outlook)
        self._delays = delays
        self._jobs_done = {slot.worker: slot.jobs_done for slot in idle}
        self._busy: dict[model.WorkerId, float] = {}
        self.free = Counter(slot.worker for slot in idle)

    def best(self, job: Waiting) -> _Taker | None:
        """Where it would be done first, if that is soon enough."""
        found = (self._taker(job, fit) for fit in self._seats.fits(job.candidate) if self._may_take(fit.seat.id, job))
        return min((taker for taker in found if taker is not None), default=None)

    def give(self, to: _Taker) -> None:
        """It gets the job."""
        self._busy[to.worker] = self._busy.get(to.worker, 0.0) + to.takes
        self.free[to.worker] -= 1
        self.free = +self.free

    def _may_take(self, worker: model.WorkerId, job: Waiting) -> bool:
        return self.free[worker] > 0 and worker != job.worker and worker not in job.candidate.avoid

    def _taker(self, job: Waiting, fit: seats.Fit) -> _Taker | None:
        worker = fit.seat.id
        here, there = (fit.seconds, job.takes) if fit.known and job.takes is not None else (0.0, 0.0)
        moved = _QUESTIONS * self._delays.get(job.worker, 0.0) + self._delays.get(worker, 0.0)
        done_in = moved + self._busy.get(worker, 0.0) + here
        if job.starts_in + there - done_in <= max(_GAIN_SECONDS, _GAIN_SHARE * here):
            return None
        return _Taker(done_in=done_in, jobs_done=self._jobs_done[worker], worker=worker, takes=here)


def _lines(waiting: Sequence[Waiting]) -> list[list[Waiting]]:
    lines: dict[model.WorkerId, list[Waiting]] = {}
    for job in waiting:
        lines.setdefault(job.worker, []).append(job)
    return list(lines.values())


def _next(lines: Sequence[list[Waiting]], takers: _Takers) -> tuple[list[Waiting], Waiting, _Taker] | None:
    """The first job that gains, in the longest line that has one, and where it goes."""
    for line in sorted((line for line in lines if line), key=lambda line: (-_end(line[-1]), line[0].worker)):
        for job in line:
            to = takers.best(job) if job.released < MOST else None
            if to is not None:
                return line, job, to
    return None


def _end(job: Waiting) -> float:
    return job.starts_in + (job.takes or 0.0)


def _leave(line: list[Waiting], job: Waiting) -> None:
    """Take it out; those behind it move up."""
    place = line.index(job)
    sooner = job.takes or 0.0
    line[place:] = [
        dataclasses.replace(later, starts_in=max(0.0, later.starts_in - sooner)) for later in line[place + 1 :]
    ]


def _reason(job: Waiting, to: model.WorkerId) -> str:
    if job.takes is None:
        return f"taken back: {to} became idle while it waited for {job.worker}"
    return f"taken back: {to} became idle, {job.worker} is busy for {reasons.seconds(job.starts_in)} more"
