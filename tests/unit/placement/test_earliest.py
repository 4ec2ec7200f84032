"""Earliest finish: tables for what it decides and says, properties for what always holds."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import model, placement
from gateway.domain.costs import book
from tests.unit.placement import kit

slot, worker, candidate = kit.slot, kit.worker, kit.candidate


@pytest.mark.parametrize(
    ("candidates", "slots", "workers", "expected"),
    [
        ([candidate("j0")], [slot("w0"), slot("w1")], [worker("w0"), worker("w1", "a")], {"j0": "w1"}),
        ([candidate("j0")], [slot("w0")], [worker("w0"), worker("w1", "a", ready_in=0.4)], {}),
        ([candidate("j0")], [slot("w0")], [worker("w0"), worker("w1", "a", ready_in=2.9)], {"j0": "w0"}),
        ([candidate("j0")], [slot("w0")], [worker("w0", "b"), worker("w1", "a", ready_in=9)], {"j0": "w0"}),
        ([candidate("j0"), candidate("j1", "b")], [slot("w0")], [worker("w0", "b")], {"j1": "w0"}),
        (
            [candidate("j0"), candidate("j1", "b")],
            [slot("w0"), slot("w1")],
            [worker("w0", "b"), worker("w1", "a")],
            {"j0": "w1", "j1": "w0"},
        ),
        (
            [candidate("j0", priority=1), candidate("j1", "b")],
            [slot("w0")],
            [worker("w0", "b")],
            {"j0": "w0"},
        ),
        (
            [candidate(f"j{n}") for n in range(6)],
            [slot("w0")],
            [worker("w0"), worker("w1", "a", ready_in=1)],
            {"j2": "w0"},
        ),
        (
            [candidate("j0", "c")],
            [slot("w0"), slot("w1"), slot("w2")],
            [worker("w0", "a"), worker("w1", "a"), worker("w2", "b")],
            {"j0": "w0"},
        ),
        (
            [candidate("j0", "c")],
            [slot("w0"), slot("w1"), slot("w2")],
            [worker("w0", "a"), worker("w1", "a"), worker("w2")],
            {"j0": "w2"},
        ),
        ([candidate("j0", avoid="w1")], [slot("w0"), slot("w1")], [worker("w0"), worker("w1", "a")], {"j0": "w0"}),
        ([candidate("j0", "d")], [slot("w0", accepts="a")], [worker("w0", accepts="a")], {}),
    ],
    ids=[
        "a warm worker before a cold one",
        "it waits for a warm worker that is free sooner than loading takes",
        "but not when the gain is no more than doubt",
        "nor longer than the loading that it avoids",
        "a job that the free worker is warm for overtakes one that would have to load",
        "each to the worker that is warm for it",
        "but no job overtakes one of higher priority",
        "of a long line, the first that is done sooner by loading elsewhere goes there",
        "what others hold as well is overwritten first",
        "but nothing is overwritten where memory is empty",
        "a retry goes elsewhere, even to a cold worker",
        "nobody runs what it cannot",
    ],
)
def test_table(
    candidates: list[model.Candidate],
    slots: list[model.Slot],
    workers: list[placement.Worker],
    expected: dict[str, str],
) -> None:
    assert kit.assigned(placement.decide(candidates, slots, kit.outlook(workers))) == expected


def test_a_slow_card_is_left_idle_while_a_fast_one_is_sooner_done() -> None:
    costs = kit.learned(slowness={"w0": 1.0, "w1": 4.0})
    workers = [worker("w0", "a", ready_in=0.5), worker("w1", "a")]
    decision = placement.decide([candidate("j0")], [slot("w1")], kit.outlook(workers, costs=costs))
    assert kit.assigned(decision) == {}
    workers = [worker("w0", "a", ready_in=5), worker("w1", "a")]
    decision = placement.decide([candidate("j0")], [slot("w1")], kit.outlook(workers, costs=costs))
    assert kit.assigned(decision) == {"j0": "w1"}


def test_a_wait_is_told_with_its_numbers() -> None:
    workers = [worker("w0"), worker("w1", "a", ready_in=0.4)]
    decision = placement.decide([candidate("j0")], [slot("w0")], kit.outlook(workers))
    assert decision.waits[model.JobId("j0")].reason == "waits for w1: warm in 0.4 s, loading elsewhere 3.0 s"
    assert decision.passed == {"j0"}


def test_a_choice_is_told_with_its_numbers() -> None:
    workers = [worker("w0"), worker("w1", "a", ready_in=5)]
    (done,) = placement.decide([candidate("j0")], [slot("w0")], kit.outlook(workers)).assignments
    assert done.reason == "w0 is free and loading there takes 3.0 s; w1, which is warm, is free in 5.0 s"
    assert placement.decide([candidate("j0")], [slot("w0")], kit.outlook(workers)).stolen == {"j0"}
    (done,) = placement.decide([candidate("j0")], [slot("w1")], kit.outlook(workers[1:])).assignments
    assert done.reason == "w1 is free"


def test_when_there_are_more_jobs_than_are_seen_nobody_stays_idle() -> None:
    """One warm worker would have done all that are seen before a model is loaded; but there are more behind."""
    costs = kit.learned(run=0.01, load=60.0)
    workers = [worker("w0"), worker("w1", "a", ready_in=0.005)]
    some = [candidate(f"j{n:02}") for n in range(placement.WINDOW - 1)]
    many = [*some, candidate("j99")]
    assert kit.assigned(placement.decide(some, [slot("w0")], kit.outlook(workers, costs=costs))) == {}
    assert kit.assigned(placement.decide(many, [slot("w0")], kit.outlook(workers, costs=costs))) == {"j99": "w0"}


@pytest.mark.parametrize(("waited", "expected"), [(29.9, "j1"), (30.0, "j0")])
def test_after_its_patience_a_job_takes_the_next_place(waited: float, expected: str) -> None:
    workers = [worker("w0", "b"), worker("w1", "a", ready_in=0.1)]
    two = [candidate("j0"), candidate("j1", "b")]
    outlook = kit.outlook(workers, passed={"j0": 100.0}, now=100.0 + waited)
    assert kit.assigned(placement.decide(two, [slot("w0")], outlook)) == {expected: "w0"}


@pytest.mark.parametrize(("waited", "expected"), [(14.9, "j1"), (15.1, "j0")])
def test_a_job_whose_models_nobody_holds_is_put_off_for_five_loads(waited: float, expected: str) -> None:
    two = [candidate("j0"), candidate("j1", "b")]
    outlook = kit.outlook([worker("w0", "b")], passed={"j0": 0.0}, now=waited)
    assert kit.assigned(placement.decide(two, [slot("w0")], outlook)) == {expected: "w0"}


names = st.sampled_from(["w0", "w1", "w2", "w3"])
free = st.dictionaries(names, st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(0, 2)), max_size=4)
queued = st.lists(
    st.builds(
        candidate,
        st.uuids().map(str),
        needs=st.sampled_from("abcd"),
        avoid=st.sampled_from(["", "", "w0", "w0 w1"]),
        work=st.sampled_from([0.5, 1.0, 2.0]),
    ),
    max_size=9,
)
busy = st.dictionaries(names, st.tuples(st.sampled_from(["", "a", "b"]), st.floats(0, 20)), max_size=4)


def places(free: dict[str, tuple[int, int, int]]) -> list[model.Slot]:
    return [
        slot(name, connections=connections + place, jobs_done=done, accepts="abcd" if name != "w3" else "ab")
        for name, (count, connections, done) in free.items()
        for place in range(count)
    ]


def fleet(free: dict[str, tuple[int, int, int]], busy: dict[str, tuple[str, float]]) -> list[placement.Worker]:
    """The busy workers, and the free ones, which have nothing to do."""
    return [
        worker(name, holds, ready_in=0.0 if name in free else ready, accepts="abcd" if name != "w3" else "ab")
        for name, (holds, ready) in busy.items()
    ]


@given(queued, free, busy)
def test_with_nothing_learned_it_is_least_connections(
    queued: list[model.Candidate], free: dict[str, tuple[int, int, int]], busy: dict[str, tuple[str, float]]
) -> None:
    outlook = kit.outlook(fleet(free, busy), costs=book.Costs())
    plain = placement.least_connections(queued, places(free))
    assert kit.assigned(placement.decide(queued, places(free), outlook)) == {
        str(done.job_id): str(done.worker) for done in plain
    }


@given(queued, free, busy, st.randoms(use_true_random=False))
def test_the_order_in_which_workers_are_listed_changes_nothing(
    queued: list[model.Candidate],
    free: dict[str, tuple[int, int, int]],
    busy: dict[str, tuple[str, float]],
    shuffler: random.Random,
) -> None:
    slots, workers = places(free), fleet(free, busy)
    before = placement.decide(queued, slots, kit.outlook(workers))
    shuffler.shuffle(slots)
    shuffler.shuffle(workers)
    assert placement.decide(queued, slots, kit.outlook(workers)) == before


@given(queued, free, busy)
def test_what_is_assigned_is_possible(
    queued: list[model.Candidate], free: dict[str, tuple[int, int, int]], busy: dict[str, tuple[str, float]]
) -> None:
    slots = places(free)
    decision = placement.decide(queued, slots, kit.outlook(fleet(free, busy)))
    by_job = {made.job_id: made for made in queued}
    assert len({done.job_id for done in decision.assignments}) == len(decision.assignments)
    for done in decision.assignments:
        accepts = next(made.accepts for made in slots if made.worker == done.worker)
        assert by_job[done.job_id].requirements_key in accepts
    for name in free:
        assert sum(done.worker == name for done in decision.assignments) <= free[name][0]
    assert not decision.waits.keys() & {done.job_id for done in decision.assignments}


@given(queued, free, busy)
def test_a_worker_stays_idle_only_while_every_job_for_it_is_sooner_done_elsewhere(
    queued: list[model.Candidate], free: dict[str, tuple[int, int, int]], busy: dict[str, tuple[str, float]]
) -> None:
    workers, slots = fleet(free, busy), places(free)
    decision = placement.decide(queued, slots, kit.outlook(workers))
    taken = [done.worker for done in decision.assignments]
    waiting = [made for made in queued if made.job_id not in {done.job_id for done in decision.assignments}]
    for name in free:
        if model.WorkerId(name) in taken:
            continue
        for job in waiting:
            if job.requirements_key not in next(made.accepts for made in slots if made.worker == name):
                continue
            if name in job.avoid:  # that one lost it before
                continue
            wait = decision.waits[job.job_id]
            assert wait.worker != name
            assert wait.starts_in <= 3.0 * 1.5 + 0.1  # the loading that it avoids, with what was learned of it


@given(queued, free, busy, st.floats(30, 1000))
def test_ageing_bounds_every_wait(
    queued: list[model.Candidate],
    free: dict[str, tuple[int, int, int]],
    busy: dict[str, tuple[str, float]],
    waited: float,
) -> None:
    """Once all of them have been patient for long enough, a place is idle only if no job can use it."""
    passed = {str(made.job_id): 0.0 for made in queued}
    slots = places(free)
    decision = placement.decide(queued, slots, kit.outlook(fleet(free, busy), passed=passed, now=waited))
    given = {done.job_id for done in decision.assignments}
    taken = [done.worker for done in decision.assignments]
    for made in slots:
        if taken.count(made.worker) < free[made.worker][0]:
            assert not any(job.requirements_key in made.accepts for job in queued if job.job_id not in given)
    first = next((job for job in queued if any(job.requirements_key in made.accepts for made in slots)), None)
    assert first is None or decision.assignments[0].job_id == first.job_id


# -- places behind a run (a depth above 1) ------------------------------------------------------------------------


def behind(name: str, *more: str) -> list[model.Slot]:
    """A free place behind the run on this worker, and the places of idle ones."""
    return [slot(name, connections=1), *(slot(other) for other in more)]


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        pytest.param([worker("w0", "a", ready_in=1.0), worker("w1", "a")], "w1", id="both warm"),
        pytest.param([worker("w0", "a", ready_in=0.001), worker("w1", "a")], "w1", id="about to be free"),
        pytest.param([worker("w0", "a", ready_in=0.4), worker("w1")], "w0", id="sooner done than loaded"),
        pytest.param([worker("w0", "a", ready_in=9.0), worker("w1")], "w1", id="sooner loaded than done"),
        pytest.param([worker("w0", ready_in=0.4), worker("w1")], "w1", id="both cold"),
    ],
)
def test_nothing_goes_behind_a_run_that_an_idle_worker_would_do_sooner(
    workers: list[placement.Worker], expected: str
) -> None:
    decision = placement.decide([candidate("j0")], behind("w0", "w1"), kit.outlook(workers))
    assert kit.assigned(decision) == {"j0": expected}


def test_a_quicker_card_is_worth_waiting_for_only_by_more_than_doubt() -> None:
    costs = kit.learned(slowness={"w1": 1.25})
    workers = [worker("w0", "a", ready_in=0.2), worker("w1", "a")]
    decision = placement.decide([candidate("j0")], behind("w0", "w1"), kit.outlook(workers, costs=costs))
    assert kit.assigned(decision) == {"j0": "w1"}


@given(queued, free, busy)
def test_no_job_goes_behind_a_long_run_while_an_idle_worker_takes_it(
    queued: list[model.Candidate], free: dict[str, tuple[int, int, int]], busy: dict[str, tuple[str, float]]
) -> None:
    slots = places(free)
    workers = [worker(name, holds, ready_in=ready) for name, (holds, ready) in busy.items()]
    outlook = kit.outlook(workers)
    decision = placement.decide(queued, slots, outlook)
    given = kit.assigned(decision)
    by_job = {made.job_id: made for made in queued}
    idle = {
        made.worker
        for made in slots
        if made.connections == 0 and made.worker not in given.values() and outlook.workers.get(made.worker) is None
    }
    for job, name in given.items():
        if busy.get(name, ("", 0.0))[1] < 5.0:
            continue
        made = by_job[model.JobId(job)]
        for other in idle - made.avoid:
            assert made.requirements_key not in next(one.accepts for one in slots if one.worker == other)
