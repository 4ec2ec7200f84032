"""What waits on a busy worker goes to an idle one, if it is done there sooner: tables and properties."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import model
from gateway.domain.costs import book
from gateway.domain.placement import taking_back
from tests.unit.placement import kit
from tests.unit.placement.kit import candidate, slot, worker


def waiting(
    job: str, on: str, starts_in: float, *, takes: float | None = 1.0, needs: str = "a", **more: Any
) -> taking_back.Waiting:
    """A job that waits there; `avoid` as of a candidate."""
    made = candidate(job, needs, avoid=more.pop("avoid", ""))
    return taking_back.Waiting(
        attempt=model.AttemptId(job),
        candidate=made,
        worker=model.WorkerId(on),
        starts_in=starts_in,
        takes=takes,
        **more,
    )


def taken(found: Sequence[taking_back.TakeBack]) -> dict[str, str]:
    return {str(one.attempt): str(one.to) for one in found}


def decided(
    jobs: Sequence[taking_back.Waiting],
    idle: Sequence[str],
    *,
    holds: str = "a",
    costs: book.Costs | None = None,
    delays: dict[str, float] | None = None,
) -> dict[str, str]:
    """Of idle workers that hold the models of a key."""
    outlook = kit.outlook([worker(name, holds) for name in idle], costs=costs)
    far = {model.WorkerId(name): seconds for name, seconds in (delays or {}).items()}
    return taken(taking_back.take_back(jobs, [slot(name) for name in idle], outlook, delays=far))


@pytest.mark.parametrize(
    ("jobs", "idle", "expected"),
    [
        pytest.param([], ["w1"], {}, id="nothing waits"),
        pytest.param([waiting("j0", "w0", 5)], [], {}, id="nobody is idle"),
        pytest.param([waiting("j0", "w0", 5)], ["w1"], {"j0": "w1"}, id="sooner done there"),
        pytest.param([waiting("j0", "w0", 0.08)], ["w1"], {}, id="not sooner by more than the doubt"),
        pytest.param([waiting("j0", "w0", 0.2)], ["w1"], {"j0": "w1"}, id="sooner by more than the doubt"),
        pytest.param([waiting("j0", "w0", 9, avoid="w1")], ["w1"], {}, id="it was lost there"),
        pytest.param([waiting("j0", "w0", 9, avoid="w1")], ["w1", "w2"], {"j0": "w2"}, id="one that did not lose it"),
        pytest.param([waiting("j0", "w0", 9, released=3)], ["w1"], {}, id="it went to and fro"),
        pytest.param([waiting("j0", "w0", 9, needs="e")], ["w1"], {}, id="it cannot run there"),
        pytest.param(
            [waiting("j0", "w0", 5), waiting("j1", "w0", 6)], ["w1"], {"j0": "w1"}, id="the first of a line, one each"
        ),
        pytest.param(
            [waiting("j0", "w0", 5), waiting("j1", "w0", 6)],
            ["w1", "w2"],
            {"j0": "w1", "j1": "w2"},
            id="as many as are idle",
        ),
        pytest.param(
            [waiting("j0", "w0", 2), waiting("j1", "w0", 3), waiting("j2", "w3", 9)],
            ["w1"],
            {"j2": "w1"},
            id="of the longest line",
        ),
        pytest.param(
            [waiting("j0", "w0", 0.5), waiting("j1", "w0", 1.5)],
            ["w1", "w2"],
            {"j0": "w1", "j1": "w2"},
            id="the second one, although it moves up",
        ),
        pytest.param(
            [waiting("j0", "w0", 0.5, takes=3), waiting("j1", "w0", 3.5)],
            ["w1", "w2"],
            {"j0": "w1", "j1": "w2"},
            id="the second one, by half a second",
        ),
        pytest.param(
            [waiting("j0", "w0", 0.12, takes=3), waiting("j1", "w0", 3.0)],
            ["w1", "w2"],
            {"j0": "w1"},
            id="not the second one, once it is next",
        ),
    ],
)
def test_what_is_taken_back(jobs: list[taking_back.Waiting], idle: list[str], expected: dict[str, str]) -> None:
    assert decided(jobs, idle) == expected


@pytest.mark.parametrize(("starts_in", "expected"), [(3.0, {}), (3.5, {"j0": "w1"})])
def test_loading_counts(starts_in: float, expected: dict[str, str]) -> None:
    assert decided([waiting("j0", "w0", starts_in)], ["w1"], holds="") == expected


@pytest.mark.parametrize(("starts_in", "expected"), [(0.45, {}), (0.55, {"j0": "w1"})])
def test_the_way_back_and_there_counts(starts_in: float, expected: dict[str, str]) -> None:
    assert decided([waiting("j0", "w0", starts_in)], ["w1"], delays={"w0": 0.1, "w1": 0.1}) == expected


def test_of_idle_workers_it_is_the_one_where_it_is_done_first() -> None:
    outlook = kit.outlook([worker("w1"), worker("w2", "a"), worker("w3", "b")])
    idle = [slot(name) for name in ("w1", "w2", "w3")]
    assert taken(taking_back.take_back([waiting("j0", "w0", 20)], idle, outlook, delays={})) == {"j0": "w2"}


def test_an_idle_worker_with_places_takes_as_many_as_gain_one_after_the_other() -> None:
    outlook = kit.outlook([worker("w1", "a")])
    places = [slot("w1", connections=place) for place in range(3)]
    jobs = [waiting("j0", "w0", 5.0), waiting("j1", "w0", 6.0), waiting("j2", "w2", 1.0), waiting("j3", "w3", 2.5)]
    assert taken(taking_back.take_back(jobs, places, outlook, delays={})) == {"j0": "w1", "j1": "w1", "j3": "w1"}
    assert taken(taking_back.take_back(jobs[2:], places, outlook, delays={})) == {"j3": "w1"}


def test_a_quick_card_takes_from_a_slow_one_but_not_the_other_way() -> None:
    costs = kit.learned(slowness={"w1": 4.0})
    assert decided([waiting("j0", "w1", 0.5, takes=4.0)], ["w0"], costs=costs) == {"j0": "w0"}
    assert decided([waiting("j0", "w0", 0.5)], ["w1"], costs=costs) == {}


@pytest.mark.parametrize(("starts_in", "expected"), [(0.04, {}), (0.06, {"j0": "w1"})])
def test_with_nothing_learned_the_wait_so_far_decides(starts_in: float, expected: dict[str, str]) -> None:
    """A run of unknown length is expected to take as long as it has taken."""
    assert decided([waiting("j0", "w0", starts_in, takes=None)], ["w1"], costs=book.Costs()) == expected


def test_the_reason_is_told_with_its_numbers() -> None:
    outlook = kit.outlook([worker("w1", "a")])
    (one,) = taking_back.take_back([waiting("j0", "w0", 8.13)], [slot("w1")], outlook, delays={})
    assert one.reason == "taken back: w1 became idle, w0 is busy for 8.1 s more"
    (one,) = taking_back.take_back([waiting("j0", "w0", 8.13, takes=None)], [slot("w1")], outlook, delays={})
    assert one.reason == "taken back: w1 became idle while it waited for w0"


seconds = st.floats(0.01, 10)
lines = st.dictionaries(
    st.sampled_from(["w0", "w1", "w2"]),
    st.tuples(seconds, st.lists(st.tuples(st.sampled_from("abcd"), seconds), min_size=1, max_size=3)),
)
idlers = st.dictionaries(
    st.sampled_from(["w3", "w4", "w5"]), st.tuples(st.sampled_from(["", "a", "b"]), st.integers(0, 2))
)
ways = st.dictionaries(st.sampled_from(["w0", "w1", "w2", "w3", "w4", "w5"]), st.floats(0, 0.5))


def of_lines(lines: dict[str, tuple[float, list[tuple[str, float]]]]) -> list[taking_back.Waiting]:
    """The first of each line starts after the run that is there, the others one after the other."""
    found: list[taking_back.Waiting] = []
    for name, (busy, jobs) in lines.items():
        starts = busy
        for place, (needs, takes) in enumerate(jobs):
            found.append(waiting(f"{name}-{place}", name, starts, takes=takes, needs=needs))
            starts += takes
    return found


def far(ways: dict[str, float]) -> dict[model.WorkerId, float]:
    return {model.WorkerId(name): value for name, value in ways.items()}


@given(lines, idlers, ways)
def test_nothing_goes_where_it_is_done_later(
    lines: dict[str, tuple[float, list[tuple[str, float]]]],
    idlers: dict[str, tuple[str, int]],
    ways: dict[str, float],
) -> None:
    jobs = of_lines(lines)
    outlook = kit.outlook([worker(name, holds) for name, (holds, _) in idlers.items()])
    slots = [slot(name, connections=place) for name in idlers for place in range(2)]
    found = taking_back.take_back(jobs, slots, outlook, delays=far(ways))
    assert len({one.attempt for one in found}) == len(found)
    assert max(Counter(one.to for one in found).values(), default=0) <= 2
    by_attempt = {one.attempt: one for one in jobs}
    for one in found:
        job = by_attempt[one.attempt]
        held = outlook.workers[one.to].memory.files
        kind = book.Kind.of(kit.needs(job.candidate.requirements_key), job.candidate.sketch)
        cost = outlook.costs.cost(kind, kind.models - held)
        assert cost is not None
        assert job.takes is not None
        moved = 3 * ways.get(one.worker, 0.0) + ways.get(one.to, 0.0)
        assert moved + cost.seconds < job.starts_in + job.takes


@given(lines, idlers, ways, st.randoms(use_true_random=False))
def test_the_order_in_which_workers_are_listed_changes_nothing(
    lines: dict[str, tuple[float, list[tuple[str, float]]]],
    idlers: dict[str, tuple[str, int]],
    ways: dict[str, float],
    shuffler: random.Random,
) -> None:
    jobs = of_lines(lines)
    workers = [worker(name, holds) for name, (holds, _) in idlers.items()]
    slots = [slot(name, jobs_done=done) for name, (_, done) in idlers.items()]
    before = taking_back.take_back(jobs, slots, kit.outlook(workers), delays=far(ways))
    names = list(lines)
    shuffler.shuffle(names)
    shuffler.shuffle(workers)
    shuffler.shuffle(slots)
    again = of_lines({name: lines[name] for name in names})
    assert taking_back.take_back(again, slots, kit.outlook(workers), delays=far(ways)) == before
