"""When a job will be done: formulas against a queue that is played through."""

from __future__ import annotations

import heapq
import random
import statistics

import pytest

from gateway.domain.costs import eta


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
    found = eta.of_queued(position, busy, length(2.0), length(2.0))
    assert found is not None
    assert found.p50 == pytest.approx(expected)
    assert expected <= found.p90 < 1.1 * expected


def test_nobody_to_run_it_is_no_guess() -> None:
    assert eta.of_queued(1, [], length(1.0), length(1.0)) is None


@pytest.mark.parametrize(("position", "workers"), [(1, 4), (10, 4), (60, 8)])
def test_half_are_done_by_p50_and_nine_in_ten_by_p90(position: int, workers: int) -> None:
    draw = random.Random(position)
    guess = eta.of_queued(position, [0.0] * workers, length(2.0, 0.5), length(2.0, 0.5))
    assert guess is not None
    ends: list[float] = []
    for _ in range(800):
        free = [0.0] * workers
        end = 0.0
        for _ in range(position):
            end = heapq.heappop(free) + 2.0 * draw.lognormvariate(0, 0.5)
            heapq.heappush(free, end)
        ends.append(end)
    assert 0.3 < statistics.mean(end <= guess.p50 for end in ends) < 0.75
    assert statistics.mean(end <= guess.p90 for end in ends) > 0.85
    assert guess.p90 < 2.5 * guess.p50


def test_a_running_job_comes_nearer_and_one_that_is_late_is_not_promised_at_once() -> None:
    own = length(10.0, 0.2)
    early, late = eta.of_running(2.0, own), eta.of_running(14.0, own)
    assert (early.p50, early.p90) == (pytest.approx(8.0), pytest.approx(10.92, rel=0.01))
    assert late.p50 == pytest.approx(4.0)
    assert late.p90 >= late.p50
