"""The life of a job: one table of edges, and nothing about it anywhere else.

An edge has a name (what happened) and leads from one status to another. Whoever changes a job's status names the
edge; an edge that does not leave the present status is refused and nothing changes. The store applies edges in
its transactions, the log names its lines after them, and docs/explanation/job-states.md is drawn from this table.

    queued ──claim/begin──► running ──succeed──► succeeded
      │ ▲               │  ├────fail─────► failed
      │ └───requeue─────┘  └─ask_cancel──► canceling ──confirm_cancel──► canceled
      ├──cancel──► canceled                    └──succeed / fail──► it finished first
      ├──refuse──► failed
      └──expire──► expired
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class JobStatus(StrEnum):
    """The contract's statuses of a job (Comfy API v2, `JobStatus`)."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"
    FAILED = "failed"
    EXPIRED = "expired"


TERMINAL: Final = frozenset({JobStatus.SUCCEEDED, JobStatus.CANCELED, JobStatus.FAILED, JobStatus.EXPIRED})
ACTIVE: Final = frozenset({JobStatus.RUNNING, JobStatus.CANCELING})


class Edge(StrEnum):
    """What can happen to a job."""

    BEGIN = "begin"  #: the gateway takes it on by itself: its steps are led on from here
    CLAIM = "claim"  #: a worker takes it, an attempt begins
    REQUEUE = "requeue"  #: its attempt was lost, handed back or may be tried again
    CANCEL = "cancel"  #: canceled before anything ran
    REFUSE = "refuse"  #: it can never run (its key was lost, its parent failed, its tries are spent)
    EXPIRE = "expire"  #: it outlived its queue limit
    ASK_CANCEL = "ask_cancel"  #: cancel was asked for while it runs
    CONFIRM_CANCEL = "confirm_cancel"  #: the worker stopped it, or its attempt is gone
    SUCCEED = "succeed"
    FAIL = "fail"


EDGES: Final[dict[tuple[JobStatus, Edge], JobStatus]] = {
    (JobStatus.QUEUED, Edge.BEGIN): JobStatus.RUNNING,
    (JobStatus.QUEUED, Edge.CLAIM): JobStatus.RUNNING,
    (JobStatus.QUEUED, Edge.CANCEL): JobStatus.CANCELED,
    (JobStatus.QUEUED, Edge.REFUSE): JobStatus.FAILED,
    (JobStatus.QUEUED, Edge.EXPIRE): JobStatus.EXPIRED,
    (JobStatus.RUNNING, Edge.ASK_CANCEL): JobStatus.CANCELING,
    (JobStatus.RUNNING, Edge.REQUEUE): JobStatus.QUEUED,
    (JobStatus.RUNNING, Edge.SUCCEED): JobStatus.SUCCEEDED,
    (JobStatus.RUNNING, Edge.FAIL): JobStatus.FAILED,
    (JobStatus.CANCELING, Edge.CONFIRM_CANCEL): JobStatus.CANCELED,
    (JobStatus.CANCELING, Edge.SUCCEED): JobStatus.SUCCEEDED,
    (JobStatus.CANCELING, Edge.FAIL): JobStatus.FAILED,
}


class IllegalEdge(Exception):
    """An edge that does not leave this status; a defect of ours, never a client's fault."""

    def __init__(self, status: JobStatus, edge: Edge) -> None:
        super().__init__(f"a job that is {status} has no edge {edge}")
        self.status = status
        self.edge = edge


def follow(status: JobStatus, edge: Edge) -> JobStatus:
    """The status that `edge` leads to from `status`; IllegalEdge when it does not leave there."""
    try:
        return EDGES[(status, edge)]
    except KeyError:
        raise IllegalEdge(status, edge) from None


class Outcome(StrEnum):
    """How one attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  #: the graph or a node of it is wrong: another try would fail again
    BROKEN = "broken"  #: the worker's fault (out of memory, CUDA fault, lost output): worth another try
    LOST = "lost"  #: the worker forgot it or went away
    CANCELED = "canceled"  #: stopped because a client asked
    RELEASED = "released"  #: handed back, by a gateway that stops or for an idle worker; spends no try


RETRYABLE: Final = frozenset({Outcome.BROKEN, Outcome.LOST})


def edge_after(outcome: Outcome, *, status: JobStatus, tries: int, max_tries: int) -> Edge:
    """What an attempt's end means for its job, which is `running` or `canceling`.

    `tries` counts the attempts that were spent, this one included.
    """
    if outcome is Outcome.SUCCEEDED:
        return Edge.SUCCEED
    if status is JobStatus.CANCELING and outcome is not Outcome.FAILED:
        return Edge.CONFIRM_CANCEL
    if outcome is Outcome.RELEASED:
        return Edge.REQUEUE
    # Stopped on the worker although no client of ours asked: worth another try, like a loss.
    if outcome in RETRYABLE | {Outcome.CANCELED} and tries < max_tries:
        return Edge.REQUEUE
    return Edge.FAIL
