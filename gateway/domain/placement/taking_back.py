"""Taking back: a job that was sent to a worker waits there behind another run, while a worker elsewhere is idle.

A job is sent before its worker can begin it where the way is long (`depth` above 1) or a run is about to end. That
binds it early, and the run before it may take longer than was expected. So once a worker is idle and the queue has
nothing for it, the lines at busy workers are looked at: the first job, of the longest line of which any gains, goes to
the idle worker where it would be done first. It gains if it is done there sooner by more than doubt allows, with the
way back and the way there counted.

An idle worker gets one job at a time, and no job is ever moved to a worker that is busy as well.
"""

from __future__ import annotations

import dataclasses
import math
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
    """What idle workers (a slot each) take, at most one job each. `delays`: seconds to a worker and back."""
    free = {slot.worker: slot for slot in idle}
    places = seats.Seats(tuple(free.values()), outlook)
    lines = _lines(waiting)
    found: list[TakeBack] = []
    while free and (move := _next(lines, free, places, delays)) is not None:
        line, job, to = move
        _leave(line, job)
        del free[to]
        found.append(TakeBack(attempt=job.attempt, worker=job.worker, to=to, reason=_reason(job, to)))
    return tuple(found)


def _lines(waiting: Sequence[Waiting]) -> list[list[Waiting]]:
    lines: dict[model.WorkerId, list[Waiting]] = {}
    for job in waiting:
        lines.setdefault(job.worker, []).append(job)
    return list(lines.values())


def _next(
    lines: Sequence[list[Waiting]],
    free: Mapping[model.WorkerId, model.Slot],
    places: seats.Seats,
    delays: Mapping[model.WorkerId, float],
) -> tuple[list[Waiting], Waiting, model.WorkerId] | None:
    """The first job that gains, in the longest line that has one, and where it goes."""
    for line in sorted((line for line in lines if line), key=lambda line: (-_end(line[-1]), line[0].worker)):
        for job in line:
            to = _best(job, free, places, delays)
            if to is not None:
                return line, job, to
    return None


def _best(
    job: Waiting,
    free: Mapping[model.WorkerId, model.Slot],
    places: seats.Seats,
    delays: Mapping[model.WorkerId, float],
) -> model.WorkerId | None:
    """The idle worker where it would be done first, if that is soon enough."""
    if job.released >= MOST:
        return None
    best: tuple[float, int, str] | None = None
    for fit in places.fits(job.candidate):
        worker = fit.seat.id
        if worker not in free or worker == job.worker or worker in job.candidate.avoid:
            continue
        here, there = (fit.seconds, job.takes) if fit.known and job.takes is not None else (0.0, 0.0)
        moved = _QUESTIONS * delays.get(job.worker, 0.0) + delays.get(worker, 0.0)
        gain = job.starts_in + there - moved - here
        if gain > max(_GAIN_SECONDS, _GAIN_SHARE * here):
            best = min(best or (math.inf, 0, ""), (moved + here, free[worker].jobs_done, worker))
    return None if best is None else model.WorkerId(best[2])


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
