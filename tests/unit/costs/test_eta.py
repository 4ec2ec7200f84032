"""When a job will be done: formulas against a queue that is played through."""

from __future__ import annotations

import heapq
import math
import random
import statistics
from collections.abc import Callable

import pytest

from gateway.domain.costs import book, eta
from gateway.domain.costs.estimate import Average


def length(seconds: float, sigma: float = 0.0) -> eta.Length:
    return eta.Length(seconds=seconds, sigma=sigma)


@pytest.mark.parametrize(
    ("position", "busy", "expected"),
    [
        (1, [0.0], 2.0),
        (1, [3.0, 5.0], 5.0),
        (2, [3.0, 5.0], 7.0),
        (3, [3.0, 3.0], 7.0),
        (1, [9.0, 0.0], 2.0),
        (101, [0.0], 202.0),
        (5, [0.0, 100.0], 10.0),
        (1000, [0.0, 1.0, 50.0], 684.0),
    ],
    ids=["idle", "first", "second", "a round later", "one is idle", "a long queue", "one is away", "many rounds"],
)
def test_with_equal_jobs_it_is_exact(position: int, busy: list[float], expected: float) -> None:
    found = eta.of_queued(position, busy, Average(mean=2.0), length(2.0))
    assert found is not None
    assert found.p50 == pytest.approx(expected)
    assert expected <= found.p90 < 1.1 * expected


def test_nobody_to_run_it_is_no_guess() -> None:
    assert eta.of_queued(1, [], Average(mean=1.0), length(1.0)) is None


@pytest.mark.parametrize(("position", "workers"), [(1, 4), (10, 4), (60, 8)])
def test_half_are_done_by_p50_and_nine_in_ten_by_p90(position: int, workers: int) -> None:
    draw = random.Random(position)
    usual = Average(mean=2.0 * math.exp(0.125), deviation=2.0 * math.exp(0.125) * math.sqrt(math.expm1(0.25)))
    guess = eta.of_queued(position, [0.0] * workers, usual, length(2.0, 0.5))
    assert guess is not None
    ends: list[float] = []
    for _ in range(800):
        free = [0.0] * workers
        end = 0.0
        for _ in range(position):
            end = heapq.heappop(free) + 2.0 * draw.lognormvariate(0, 0.5)
            heapq.heappush(free, end)
        ends.append(end)
    assert 0.4 < statistics.mean(end <= guess.p50 for end in ends) < 0.65
    assert statistics.mean(end <= guess.p90 for end in ends) > 0.85
    assert guess.p90 < 2.5 * guess.p50


Draw = Callable[[random.Random], float]

MIXES: dict[str, Draw] = {
    "nearly equal": lambda draw: draw.lognormvariate(0, 0.03),
    "log-normal": lambda draw: draw.lognormvariate(-1.9, 0.7),
    "very uneven": lambda draw: draw.lognormvariate(-2.8, 1.0),
    "one in ten is long": lambda draw: 20.0 if draw.random() < 0.1 else 1.0,
}


def burst(seed: int, draw: Draw, *, jobs: int = 200, workers: int = 4) -> tuple[float, float]:
    """Learn from as many jobs, then guess for each of a queue when it will be done, and play the queue. The shares that
    were done by p50 and by p90."""
    numbers = random.Random(seed)
    costs = book.Costs()
    for _ in range(jobs):
        costs.observe_place(draw(numbers))
    usual = costs.average
    assert usual is not None
    free = [0.0] * workers
    done: list[tuple[bool, bool]] = []
    for position in range(1, jobs + 1):
        own = draw(numbers)
        end = free[0] + own
        heapq.heapreplace(free, end)
        guess = eta.of_queued(position, [0.0] * workers, usual, length(own, 0.05))
        assert guess is not None
        done.append((end <= guess.p50, end <= guess.p90))
    return statistics.mean(by for by, _ in done), statistics.mean(by for _, by in done)


@pytest.mark.parametrize("mix", MIXES)
def test_over_many_bursts_half_are_done_by_p50_and_nine_in_ten_by_p90(mix: str) -> None:
    """One burst may be wrong as a whole, since all its guesses rest on the same average; many are right together."""
    shares = [burst(seed, MIXES[mix]) for seed in range(80)]
    assert 0.4 < statistics.mean(middle for middle, _ in shares) < 0.6
    assert statistics.mean(late for _, late in shares) > 0.84


def test_a_running_job_comes_nearer_and_one_that_is_late_is_not_promised_at_once() -> None:
    own = length(10.0, 0.2)
    early, late = eta.of_running(2.0, own), eta.of_running(14.0, own)
    assert (early.p50, early.p90) == (pytest.approx(8.0), pytest.approx(10.92, rel=0.01))
    assert late.p50 == pytest.approx(4.0)
    assert late.p90 >= late.p50
