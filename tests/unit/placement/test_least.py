"""Least connections: tables for what it decides, properties for what always holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import model, placement


def slot(worker: str, *, connections: int = 0, accepts: str = "a", jobs_done: int = 0) -> model.Slot:
    return model.Slot(
        worker=model.WorkerId(worker),
        epoch=1,
        accepts=frozenset(accepts),
        connections=connections,
        jobs_done=jobs_done,
    )


def candidate(job: str, *, needs: str = "a", avoid: str = "") -> model.Candidate:
    return model.Candidate(
        job_id=model.JobId(job),
        tenant=model.DEFAULT_TENANT,
        requirements_key=needs,
        priority=0,
        created_at=0.0,
        avoid=frozenset(model.WorkerId(worker) for worker in avoid.split()),
    )


def decide(candidates: list[model.Candidate], slots: list[model.Slot]) -> dict[str, str]:
    return {str(done.job_id): str(done.worker) for done in placement.least_connections(candidates, slots)}


@pytest.mark.parametrize(
    ("candidates", "slots", "expected"),
    [
        ([], [slot("w0")], {}),
        ([candidate("j0")], [], {}),
        ([candidate("j0")], [slot("w1", connections=2), slot("w0", connections=1)], {"j0": "w0"}),
        ([candidate("j0")], [slot("w0", jobs_done=9), slot("w1", jobs_done=3)], {"j0": "w1"}),
        ([candidate("j0")], [slot("w1"), slot("w0")], {"j0": "w0"}),
        ([candidate("j0"), candidate("j1")], [slot("w0")], {"j0": "w0"}),
        ([candidate("j0", needs="b"), candidate("j1")], [slot("w0")], {"j1": "w0"}),
        ([candidate("j0", avoid="w0")], [slot("w0"), slot("w1", connections=5)], {"j0": "w1"}),
        ([candidate("j0", avoid="w0")], [slot("w0")], {"j0": "w0"}),
        ([candidate("j0", avoid="w0"), candidate("j1")], [slot("w0"), slot("w1")], {"j0": "w1", "j1": "w0"}),
    ],
    ids=[
        "nothing waits",
        "nobody is idle",
        "fewest connections",
        "then fewest jobs done",
        "then the name",
        "fair order: the first in line goes first",
        "a job that nobody idle can run does not hide the next",
        "a retry goes elsewhere, even to a busier worker",
        "a retry goes back where there is no other",
        "a retry leaves its old worker to the next job",
    ],
)
def test_table(candidates: list[model.Candidate], slots: list[model.Slot], expected: dict[str, str]) -> None:
    assert decide(candidates, slots) == expected


def test_a_reason_is_given_in_plain_words() -> None:
    (done,) = placement.least_connections([candidate("j0")], [slot("w0", connections=1)])
    assert done.reason == "w0 has the fewest prompts among those that can run it: 1 prompt"


slots_of = st.lists(
    st.builds(
        slot,
        st.sampled_from(["w0", "w1", "w2", "w3"]),
        connections=st.integers(0, 3),
        accepts=st.sampled_from(["a", "b", "ab"]),
        jobs_done=st.integers(0, 2),
    ),
    max_size=6,
    unique_by=lambda made: (made.worker, made.connections),
)
candidates_of = st.lists(
    st.builds(
        candidate,
        st.uuids().map(str),
        needs=st.sampled_from(["a", "b", "c"]),
        avoid=st.sampled_from(["", "w0", "w0 w1"]),
    ),
    max_size=8,
)


@given(candidates_of, slots_of)
def test_what_always_holds(candidates: list[model.Candidate], slots: list[model.Slot]) -> None:
    done = placement.least_connections(candidates, slots)
    by_job = {made.job_id: made for made in candidates}
    places = [(made.worker, made.connections) for made in slots]
    assert len({made.job_id for made in done}) == len(done)
    for assignment in done:
        needs = by_job[assignment.job_id].requirements_key
        assert any(made.worker == assignment.worker and needs in made.accepts for made in slots)
    for worker in {place[0] for place in places}:
        assert sum(made.worker == worker for made in done) <= sum(place[0] == worker for place in places)


@given(candidates_of, slots_of, st.randoms())
def test_the_order_in_which_workers_are_listed_changes_nothing(
    candidates: list[model.Candidate], slots: list[model.Slot], random: object
) -> None:
    shuffled = list(slots)
    random.shuffle(shuffled)  # pyright: ignore[reportAttributeAccessIssue]
    assert decide(candidates, slots) == decide(candidates, shuffled)


@given(candidates_of, slots_of)
def test_no_place_stays_idle_while_a_job_that_fits_it_waits(
    candidates: list[model.Candidate], slots: list[model.Slot]
) -> None:
    done = placement.least_connections(candidates, slots)
    waiting = [made for made in candidates if made.job_id not in {assigned.job_id for assigned in done}]
    taken = [assigned.worker for assigned in done]
    for made in slots:
        if made.worker in taken:
            taken.remove(made.worker)
        elif all(other.worker != made.worker for other in slots if other is not made):
            assert not any(job.requirements_key in made.accepts for job in waiting)
