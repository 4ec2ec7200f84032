"""Places ahead of a run's end are offered only while the queue is deep."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.domain import model, placement
from gateway.domain.placement import ahead


def slot(worker: str, *, is_ahead: bool = False) -> model.Slot:
    return model.Slot(
        worker=model.WorkerId(worker),
        epoch=1,
        accepts=frozenset({"plain"}),
        connections=int(is_ahead),
        ahead=is_ahead,
    )


def jobs(count: int) -> Sequence[model.Candidate]:
    return [
        model.Candidate(
            job_id=model.JobId(f"j{number:02}"),
            tenant=model.DEFAULT_TENANT,
            requirements_key="plain",
            priority=0,
            created_at=float(number),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("waiting", "given"),
    [
        pytest.param(0, [], id="nothing waits"),
        pytest.param(1, ["idle"], id="one goes to who is idle"),
        pytest.param(4, ["idle"], id="fewer than become free next"),
        pytest.param(5, ["busy", "idle"], id="one for every place and every worker"),
    ],
)
def test_places_ahead_are_for_a_deep_queue(waiting: int, given: list[str]) -> None:
    choose = ahead.Sparing(choose=placement.least_connections, workers=3)
    made = choose(jobs(waiting), [slot("busy", is_ahead=True), slot("idle")])
    assert sorted(assignment.worker for assignment in made) == given


def test_a_worker_about_to_be_free_gets_nothing_from_a_short_queue() -> None:
    choose = ahead.Sparing(choose=placement.least_connections, workers=3)
    assert choose(jobs(3), [slot("busy", is_ahead=True)]) == ()
