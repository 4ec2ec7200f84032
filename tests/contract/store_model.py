"""The store as plain Python: what must be true of jobs and leases after any calls."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway import ports
from gateway.domain import model, states
from gateway.domain.states import TERMINAL, Edge, JobStatus, Outcome

ENDS = {Edge.CANCEL, Edge.EXPIRE, Edge.CONFIRM_CANCEL, Edge.SUCCEED, Edge.FAIL, Edge.REFUSE}


@dataclass(slots=True, kw_only=True)
class Host:
    """A gateway: its present boot, and the leases as it last heard of them (which may be stale)."""

    owner: str
    store: ports.Store
    boot: int
    epochs: dict[model.WorkerId, int] = field(default_factory=dict[model.WorkerId, int])


@dataclass(slots=True, kw_only=True)
class Lease:
    """Who drives a worker. `live`: others have to wait for it to run out."""

    owner: str | None = None
    boot: int | None = None
    epoch: int = 0
    live: bool = False

    def take(self, host: Host, *, live: bool) -> int | None:
        """What `Workers.lease` does; the epoch that the host holds then."""
        if self.owner not in {None, host.owner} and self.live:
            return None
        if (self.owner, self.boot) != (host.owner, host.boot):
            self.epoch += 1
        self.owner, self.boot, self.live = host.owner, host.boot, live
        return self.epoch

    def free(self) -> None:
        """Given back."""
        self.owner, self.boot, self.live = None, None, False


@dataclass(slots=True, kw_only=True)
class Open:
    """An attempt that has not ended."""

    job_id: model.JobId
    worker: model.WorkerId
    epoch: int


@dataclass(slots=True, kw_only=True)
class Expected:
    """What must be true of a job."""

    tenant: model.TenantId
    max_tries: int
    queued_at: float
    expires_at: float
    status: JobStatus = JobStatus.QUEUED
    tries: int = 0
    attempts: int = 0
    open: model.AttemptId | None = None
    outputs: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])  #: node and hash
    not_before: float = 0.0
    edges: list[str] = field(default_factory=lambda: ["submit"])

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.status in TERMINAL

    def follow(self, edge: Edge) -> None:
        """Go along an edge; one that does not leave here is a defect."""
        self.status = states.follow(self.status, edge)
        self.edges.append(edge)

    def settle(self, outcome: Outcome, *, outputs: list[tuple[str, str]], now: float, retry_at: float) -> None:
        """What the end of its open attempt means."""
        self.tries += outcome is not Outcome.RELEASED
        edge = states.edge_after(outcome, status=self.status, tries=self.tries, max_tries=self.max_tries)
        if edge is Edge.REQUEUE:
            self.outputs, self.queued_at, self.not_before = [], now, retry_at
        else:
            self.edges += ["output"] * len(outputs)
            self.outputs += outputs
        self.follow(edge)
        self.open = None
