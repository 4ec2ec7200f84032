"""When a job is tried again, and when it must stop going round."""

from __future__ import annotations

import pytest

from gateway.domain import model, retrying

W0, W1 = model.WorkerId("w0"), model.WorkerId("w1")


@pytest.mark.parametrize(
    ("tries", "chance", "seconds"), [(1, 0.0, 1.0), (1, 0.5, 2.0), (1, 1.0, 3.0), (2, 0.5, 4.0), (3, 0.5, 8.0)]
)
def test_the_wait_doubles_and_jitters(tries: int, chance: float, seconds: float) -> None:
    assert retrying.Backoff(first=2.0, most=60.0).delay(tries, chance) == seconds


@pytest.mark.parametrize("tries", [0, 10, 10_000])
def test_the_wait_is_bounded(tries: int) -> None:
    assert retrying.Backoff(first=1.0, most=60.0).delay(tries, 1.0) <= 90.0


def error(code: str) -> model.JobError:
    return model.JobError(code=code, message=f"{code}!", node_id="3", class_type="KSampler")


@pytest.mark.parametrize("code", ["worker_died", "execution_thread_dead", "cuda_fault"])
def test_two_workers_down_are_enough(code: str) -> None:
    found = retrying.killer([(W0, error("worker_died")), (W1, error(code))])
    assert found is not None
    assert (found.code, found.node_id) == ("worker_killer", "3")
    assert "w0 and w1" in found.message
    assert set((found.details or {})["workers"]) == {"w0", "w1"}


@pytest.mark.parametrize(
    "downed",
    [
        [],
        [(W0, error("cuda_fault"))],
        [(W0, error("cuda_fault")), (W0, error("worker_died"))],
        [(W0, error("cuda_fault")), (W1, error("worker_lost"))],
        [(W0, error("out_of_memory")), (W1, error("out_of_memory"))],
        [(W0, None), (W1, None)],
    ],
)
def test_less_than_that_is_no_proof(downed: list[tuple[model.WorkerId, model.JobError | None]]) -> None:
    assert retrying.killer(downed) is None
