"""The table of edges, and what an attempt's end means."""

from __future__ import annotations

from collections import deque
from itertools import product

import pytest

from gateway.domain import states
from gateway.domain.states import ACTIVE, EDGES, TERMINAL, Edge, JobStatus, Outcome


@pytest.mark.parametrize(("status", "edge"), list(product(JobStatus, Edge)))
def test_an_edge_is_followed_or_refused(status: JobStatus, edge: Edge) -> None:
    if (status, edge) in EDGES:
        assert states.follow(status, edge) is EDGES[(status, edge)]
        return
    with pytest.raises(states.IllegalEdge) as caught:
        states.follow(status, edge)
    assert (caught.value.status, caught.value.edge) == (status, edge)


def test_every_status_is_terminal_active_or_queued() -> None:
    assert TERMINAL | ACTIVE | {JobStatus.QUEUED} == set(JobStatus)
    assert not TERMINAL & ACTIVE


def test_nothing_leaves_a_terminal_status_and_something_leaves_every_other() -> None:
    assert {status for status, _ in EDGES} == set(JobStatus) - TERMINAL


def test_every_edge_is_in_the_table() -> None:
    assert {edge for _, edge in EDGES} == set(Edge)


def test_every_status_can_be_reached() -> None:
    reached = {JobStatus.QUEUED}
    todo = deque(reached)
    while todo:
        here = todo.popleft()
        for (status, _), after in EDGES.items():
            if status is here and after not in reached:
                reached.add(after)
                todo.append(after)
    assert reached == set(JobStatus)


RUNNING, CANCELING = JobStatus.RUNNING, JobStatus.CANCELING


@pytest.mark.parametrize(
    ("outcome", "status", "tries", "edge"),
    [
        (Outcome.SUCCEEDED, RUNNING, 1, Edge.SUCCEED),
        (Outcome.SUCCEEDED, RUNNING, 9, Edge.SUCCEED),
        (Outcome.SUCCEEDED, CANCELING, 1, Edge.SUCCEED),
        (Outcome.FAILED, RUNNING, 1, Edge.FAIL),
        (Outcome.FAILED, CANCELING, 1, Edge.FAIL),
        (Outcome.BROKEN, RUNNING, 1, Edge.REQUEUE),
        (Outcome.BROKEN, RUNNING, 2, Edge.REQUEUE),
        (Outcome.BROKEN, RUNNING, 3, Edge.FAIL),
        (Outcome.BROKEN, CANCELING, 1, Edge.CONFIRM_CANCEL),
        (Outcome.LOST, RUNNING, 1, Edge.REQUEUE),
        (Outcome.LOST, RUNNING, 3, Edge.FAIL),
        (Outcome.LOST, CANCELING, 3, Edge.CONFIRM_CANCEL),
        (Outcome.CANCELED, RUNNING, 1, Edge.REQUEUE),
        (Outcome.CANCELED, CANCELING, 1, Edge.CONFIRM_CANCEL),
        (Outcome.RELEASED, RUNNING, 0, Edge.REQUEUE),
        (Outcome.RELEASED, RUNNING, 3, Edge.REQUEUE),
        (Outcome.RELEASED, CANCELING, 0, Edge.CONFIRM_CANCEL),
    ],
)
def test_what_an_attempts_end_means(outcome: Outcome, status: JobStatus, tries: int, edge: Edge) -> None:
    assert states.edge_after(outcome, status=status, tries=tries, max_tries=3) is edge


@pytest.mark.parametrize(("outcome", "status", "tries"), list(product(Outcome, sorted(ACTIVE), range(5))))
def test_what_an_attempts_end_means_is_always_an_edge_of_the_table(
    outcome: Outcome, status: JobStatus, tries: int
) -> None:
    edge = states.edge_after(outcome, status=status, tries=tries, max_tries=3)
    assert (status, edge) in EDGES
