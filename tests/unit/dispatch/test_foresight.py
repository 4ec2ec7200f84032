"""What is believed of a worker that has more than one job at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from gateway.dispatch import foresight
from gateway.domain import model
from gateway.domain.comfy.graph import Requirements
from gateway.domain.costs.sketch import Sketch
from gateway.domain.states import JobStatus
from tests.unit.placement import kit

W0 = model.WorkerId("w0")
STANDING = foresight.Standing(worker=W0, accepts=kit.KEYS, others=0, is_idle=False)


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def claim(name: str, clock: Clock, *, needs: str = "a") -> model.Claim:
    attempt = model.Attempt(
        id=model.AttemptId(name),
        job_id=model.JobId(name),
        worker=W0,
        epoch=1,
        number=1,
        created_at=clock.now,
    )
    return model.Claim(
        attempt=attempt,
        job_id=attempt.job_id,
        tenant=model.DEFAULT_TENANT,
        graph=b"{}",
        expires_at=0.0,
        template=None,
        requirements_key=needs,
        sketch=Sketch(),
    )


def foreseen(clock: Clock, claims: Sequence[model.Claim]) -> foresight.Foresight:
    """A worker to which these were given, each 1 s, or 4 s if its models have to be loaded."""
    made = foresight.Foresight(clock=clock, costs=kit.learned())
    wanted = {
        key: Requirements(classes=frozenset({"Sampler"}), models=frozenset({("Loader", "name", f"{key}.safetensors")}))
        for key in kit.KEYS
    }
    made.learn_needs(wanted)
    for one in claims:
        choosing = made.choosing(lambda: [STANDING])
        choosing([kit.candidate(one.job_id, one.requirements_key)], [kit.slot("w0")])
        made.chosen(choosing, model.Claimed(claims=(one,), waiting=False))
        made.begun(one)
    return made


def waits(made: foresight.Foresight, claims: Sequence[model.Claim]) -> list[float]:
    return [round(made.waits(one), 1) for one in claims]


def holds(made: foresight.Foresight) -> frozenset[str]:
    outlook = made.choosing(lambda: [STANDING]).outlook
    return outlook.workers[W0].memory.files


def test_only_the_first_gets_on_while_the_others_wait() -> None:
    clock = Clock()
    claims = [claim(name, clock) for name in ("j0", "j1", "j2")]
    made = foreseen(clock, claims)
    assert waits(made, claims) == [0.0, 4.0, 5.0]  # the first one loads
    clock.now += 3.0
    assert waits(made, claims) == [0.0, 1.0, 2.0]
    assert made.choosing(lambda: [STANDING]).outlook.workers[W0].ready_in == pytest.approx(3.0, rel=0.1)


def test_one_that_is_over_its_time_is_expected_to_need_as_long_again() -> None:
    clock = Clock()
    claims = [claim(name, clock) for name in ("j0", "j1")]
    made = foreseen(clock, claims)
    clock.now += 14.0
    assert waits(made, claims) == [0.0, 10.0]


def test_the_next_one_begins_when_the_first_has_ended() -> None:
    clock = Clock()
    claims = [claim(name, clock) for name in ("j0", "j1", "j2")]
    made = foreseen(clock, claims)
    clock.now += 6.0
    made.freed(claims[0])
    assert waits(made, claims[1:]) == [0.0, 1.0]
    clock.now += 0.5
    assert waits(made, claims[1:]) == [0.0, 0.5]


def test_one_that_leaves_the_line_changes_nothing_for_the_one_that_runs() -> None:
    clock = Clock()
    claims = [claim("j0", clock), claim("j1", clock, needs="b"), claim("j2", clock, needs="a")]
    made = foreseen(clock, claims)
    clock.now += 3.0
    assert waits(made, claims) == [0.0, 1.0, 5.0]  # the second one loads
    made.freed(claims[1])
    made.ended(claims[1], posted=False)
    assert waits(made, [claims[0], claims[2]]) == [0.0, 1.0]
    assert holds(made) == kit.models("a")


def test_the_last_one_that_leaves_takes_its_models_along() -> None:
    clock = Clock()
    claims = [claim("j0", clock), claim("j1", clock, needs="b")]
    made = foreseen(clock, claims)
    assert holds(made) == kit.models("b")
    made.freed(claims[1])
    made.ended(claims[1], posted=False)
    assert holds(made) == kit.models("a")


def test_the_worker_has_the_last_word_on_which_one_runs() -> None:
    clock = Clock()
    claims = [claim("j0", clock), claim("j1", clock)]
    made = foreseen(clock, claims)
    made.started(claims[1])
    assert waits(made, claims) == [1.0, 0.0]


def test_an_estimate_counts_what_runs_before_it() -> None:
    clock = Clock()
    claims = [claim("j0", clock), claim("j1", clock)]
    made = foreseen(clock, claims)
    clock.now += 3.0
    job = model.Job(
        id=model.JobId("j1"),
        tenant=model.DEFAULT_TENANT,
        status=JobStatus.RUNNING,
        created_at=0.0,
        expires_at=0.0,
        worker=W0,
        attempt_id=model.AttemptId("j1"),
    )
    expected = made.eta(job, [STANDING], position=None)
    assert expected is not None
    assert expected.p50 == pytest.approx(2.0, rel=0.1)
