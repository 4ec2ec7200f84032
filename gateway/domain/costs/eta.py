"""When a job will be done: a guess with its doubt, from what was learned of runs. Pure, and cheap at any depth.

The workers that can run it are taken to serve the queue together: each is busy for what it still has, and then takes
jobs of the usual length. The job at place k starts when the k-th place becomes free, and then runs as long as its kind
does. p50 is as likely too early as too late; nine in ten jobs are done by p90, as long as nobody goes before them.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.domain.costs.estimate import Average

_NINE_IN_TEN: Final = 1.2816  #: standard deviations
_LEAST_DOUBT: Final = 0.05  #: no wait is known better than by this part of it
_MOST_SIGMA: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Eta:
    """Seconds from now until a job is done."""

    p50: float
    p90: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """How long something takes: the median, and the standard deviation of its logarithm."""

    seconds: float
    sigma: float

    @property
    def mean(self) -> float:
        """What many of them take, each."""
        return self.seconds * math.exp(min(self.sigma, _MOST_SIGMA) ** 2 / 2)

    def with_more(self, seconds: float) -> Length:
        """The same and so many seconds."""
        whole = self.seconds + seconds
        return Length(seconds=whole, sigma=self.sigma * self.seconds / whole if whole > 0 else self.sigma)

    @property
    def deviation(self) -> float:
        """The standard deviation in seconds."""
        return self.mean * math.sqrt(math.expm1(min(self.sigma, _MOST_SIGMA) ** 2))


def of_queued(position: int, busy: Sequence[float], usual: Average, own: Length) -> Eta | None:
    """Of the job at this place of the queue (1 is next); `busy` is what each worker for it still has to do, `usual`
    what any job takes a place.

    None when there is no such worker.
    """
    if not busy:
        return None
    starts = _start(position, busy, usual.mean)
    ahead = max(0, position - 1)
    starts = max(min(busy), starts - _earlier(ahead, len(busy), usual))
    doubt = math.hypot(
        math.sqrt(ahead) * usual.deviation / len(busy),
        own.deviation,
        starts * _LEAST_DOUBT,
        starts * usual.doubt,
    )
    middle = starts + own.seconds
    return Eta(p50=middle, p90=middle + _NINE_IN_TEN * doubt)


def _earlier(ahead: int, workers: int, usual: Average) -> float:
    """How much earlier a place becomes free than with jobs of equal length: when one does, the others are in the middle
    of jobs, and long ones are more likely to be met there, so that more than half a job of each is left to do."""
    if usual.mean <= 0:
        return 0.0
    more = usual.deviation**2 / (2 * usual.mean)
    return min(1.0, ahead / workers) * more * (workers - 1) / workers


def _start(position: int, busy: Sequence[float], each: float) -> float:
    """When the job at this place starts, if all before it take as long. Most rounds are skipped, not played."""
    skipped = _level(position, sorted(busy), each) - each
    rounds = [math.ceil((skipped - first) / each) if skipped > first else 0 for first in busy]
    upcoming = [first + count * each for first, count in zip(busy, rounds, strict=True)]
    heapq.heapify(upcoming)
    for _ in range(min(position - sum(rounds), 4 * len(busy)) - 1):
        heapq.heapreplace(upcoming, upcoming[0] + each)
    return upcoming[0]


def _level(position: int, busy: Sequence[float], each: float) -> float:
    """About when so many jobs have started, as water finds its level over the (sorted) times when workers are free."""
    total = 0.0
    for count, first in enumerate(busy, start=1):
        total += first
        level = (each * (position - count) + total) / count
        if count == len(busy) or level <= busy[count]:
            return level
    return 0.0


def of_running(elapsed: float, own: Length) -> Eta:
    """Of a job that has been running for so long. What is over its time is taken to need as long as it is over."""
    late = own.seconds * math.exp(_NINE_IN_TEN * own.sigma)
    middle = own.seconds - elapsed if elapsed < own.seconds else elapsed - own.seconds
    return Eta(p50=middle, p90=max(late - elapsed, 2 * middle if elapsed >= own.seconds else middle))
