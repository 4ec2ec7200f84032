"""The nouns of the gateway. All data, all frozen; times are seconds since the epoch (UTC), sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType

from gateway.domain.comfy.graph import Requirements
from gateway.domain.costs.sketch import UNKNOWN, Sketch
from gateway.domain.states import TERMINAL, JobStatus, Outcome
from gateway.domain.webhooks import Webhook

JobId = NewType("JobId", str)  #: a lowercase UUID (version 7, so ids sort by time)
AttemptId = NewType("AttemptId", str)  #: a lowercase UUID; *is* ComfyUI's `prompt_id`
AssetId = NewType("AssetId", str)
BatchId = NewType("BatchId", str)
WorkerId = NewType("WorkerId", str)  #: short and readable: `gpu0`, `sim1`, `10.0.0.7:8188`
TenantId = NewType("TenantId", str)

DEFAULT_TENANT = TenantId("default")
BATCH_PRIORITY = -10  #: of what is ordered in bulk, so that single orders overtake it


class OutputType(StrEnum):
    """The contract's kinds of output."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    TEXT = "text"
    FILE = "file"
    LATENT = "latent"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """Why a job failed; `code` is a stable word, `message` a sentence (contract: `JobError`)."""

    code: str
    message: str
    node_id: str | None = None
    class_type: str | None = None
    traceback: str | None = None
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """Stored bytes with an identity. `hash` is `blake3:<64 hex>`; many assets may share one blob."""

    id: AssetId
    tenant: TenantId
    hash: str
    size_bytes: int
    content_type: str
    file_path: str | None = None  #: where the client said it belongs, as in `photo.png`
    tags: tuple[str, ...] = ()
    created_at: float
    expires_at: float | None = None  #: None: kept until deleted
    job_id: JobId | None = None  #: the job that produced it; None for an upload
    simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An asset that a job produced, with the node that made it. `name` is the client's own file name."""

    asset: Asset
    node_id: str
    name: str
    type: OutputType
    index: int  #: order within the job


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A complete snapshot of how far a job is (contract: `Progress`); `value` is 0..1 and never falls."""

    value: float
    nodes_done: int
    nodes_total: int
    current_node: str | None = None
    current_node_class: str | None = None
    step: int | None = None
    steps: int | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A picture of work in progress, as the worker sent it."""

    node_id: str
    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of a job on one worker. Written before anything is sent (decision 3 of the design)."""

    id: AttemptId
    job_id: JobId
    worker: WorkerId
    epoch: int  #: the worker lease's fencing number under which it was claimed
    number: int  #: 1 for the job's first attempt
    created_at: float
    posted_at: float | None = None  #: the worker accepted it
    started_at: float | None = None  #: the worker began to execute it
    ended_at: float | None = None
    outcome: Outcome | None = None  #: None while it is open
    reason: str | None = None  #: in plain words
    error: JobError | None = None
    client_id: str | None = None  #: the socket that its frames were meant for when it was claimed
    node_errors: Mapping[str, Any] | None = None  #: of a 200 answer to POST: outputs that were dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A client's order, as the store knows it. The graph is read apart (it can be megabytes)."""

    id: JobId
    tenant: TenantId
    status: JobStatus
    created_at: float
    expires_at: float
    started_at: float | None = None
    completed_at: float | None = None
    priority: int = 0  #: higher goes first
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    template: str | None = None
    template_version: str | None = None
    inputs: Mapping[str, Any] | None = None  #: the template's values as used, seeds drawn
    batch_id: BatchId | None = None
    batch_index: int | None = None
    parent_id: JobId | None = None
    step: str | None = None  #: the step of its parent that it is
    sealed: bool = False  #: it is nobody's to see: a check may withhold what it makes
    tries: int = 0  #: attempts spent
    max_tries: int = 3
    worker: WorkerId | None = None  #: of the latest attempt
    attempt_id: AttemptId | None = None  #: the open attempt, while there is one
    outputs: tuple[Output, ...] = ()
    outputs_reused: bool = False  #: the worker answered from its cache
    execution_ms: int | None = None
    error: JobError | None = None
    simulated: bool = False
    webhook: Webhook | None = None
    requirements_key: str = ""
    sketch: Sketch = UNKNOWN  #: of a job that has not ended
    attempts: tuple[Attempt, ...] | None = field(default=None, compare=False)  #: None: not read with it

    @property
    def ended(self) -> bool:
        """Whether the job is in a terminal state."""
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a job may take, in seconds; None: the gateway's own bounds hold."""

    queue: float | None = None  #: queued for longer, it expires
    run: float | None = None  #: running for longer, the attempt is stopped
    idle: float | None = None  #: no sign of life for longer, the attempt is stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a job that ran out of memory needs for its next try."""

    alone_on: WorkerId | None = None  #: nothing else on that worker's card meanwhile
    until: float = 0.0  #: not longer than this does it wait for `alone_on`
    more_than: int = 0  #: bytes of card memory that were too few


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to be queued. `graph` is the bound API-format graph as JSON bytes, opaque from here on;
    asset references in it stay references until a worker is known."""

    id: JobId
    tenant: TenantId
    created_at: float
    expires_at: float
    graph: bytes
    requirements: Requirements
    assets: tuple[AssetId, ...] = ()  #: referenced by the graph; kept while the job needs them
    priority: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    template: str | None = None
    template_version: str | None = None
    inputs: Mapping[str, Any] | None = None
    batch_index: int | None = None
    parent_id: JobId | None = None
    step: str | None = None
    sealed: bool = False
    max_tries: int = 3
    needs_secret: bool = False  #: it came with a partner API key, which lives in memory only
    webhook: Webhook | None = None
    size: int = 0  #: pixels that its graph makes at once, at most; 0: it does not say
    limits: Limits = Limits()
    deadline: float | None = None  #: not begun by then, it expires
    sketch: Sketch = UNKNOWN  #: what placement needs to know of the graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Canceled:
    """A job whose end was asked for together with others': `canceled`, or `canceling` while an attempt runs."""

    job_id: JobId
    status: JobStatus
    attempt_id: AttemptId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evicted:
    """What had its retention cut for the sake of the disk budget, and about how many bytes that frees."""

    jobs: int = 0
    uploads: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantLimits:
    """What one tenant may take; None is no bound. `weight` is its share of the workers beside others'."""

    weight: float = 1.0
    max_queued: int | None = None
    max_queued_bytes: int | None = None
    max_running: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """Several jobs ordered together."""

    id: BatchId
    created_at: float
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch with how its jobs stand."""

    id: BatchId
    tenant: TenantId
    created_at: float
    metadata: Mapping[str, str]
    counts: Mapping[JobStatus, int]  #: jobs by status; absent means none
    outputs: int = 0  #: outputs recorded so far, of all its jobs

    @property
    def total(self) -> int:
        """How many jobs the batch has."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A queued job as placement sees it: no graph, just what order and eligibility need."""

    job_id: JobId
    tenant: TenantId
    requirements_key: str
    priority: int
    created_at: float
    avoid: frozenset[WorkerId] = frozenset()  #: workers that lost it before: others first
    template: str | None = None
    size: int = 0  #: as in NewJob
    since: float = 0.0  #: before this it may not be tried again
    room: Room | None = None
    refuses: frozenset[WorkerId] = frozenset()  #: workers that must not get it now
    sketch: Sketch = UNKNOWN

    @property
    def family(self) -> str:
        """What it is compared with when something was learned: jobs of one template, or of one kind of graph."""
        return self.template or self.requirements_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A worker that can take a job now. `accepts` names the requirement keys that it can run."""

    worker: WorkerId
    epoch: int
    accepts: frozenset[str]
    connections: int = 0  #: prompts on it, ours and others'
    simulated: bool = False
    jobs_done: int = 0
    vram: int | None = None  #: bytes of card memory; None: not known
    client_id: str | None = None  #: of the open socket, which frames of an attempt will be addressed to
    warm: frozenset[str] = frozenset()  #: those of `accepts` whose models it holds
    ahead: bool = False  #: a place that is about to be free: what is sent there waits for the running one's end


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Placement's decision: this job on this worker, with the reason in plain words."""

    job_id: JobId
    worker: WorkerId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why a queued job waits, or where it is about to go, in one sentence. Times are seconds from now."""

    sentence: str
    worker: WorkerId | None = None  #: where it will run, as things stand
    starts_in: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A job that is ours to run now, with all that running it needs."""

    attempt: Attempt
    job_id: JobId
    tenant: TenantId
    graph: bytes
    expires_at: float
    template: str | None
    needs_secret: bool = False
    webhook: Webhook | None = None
    canceling: bool = False  #: cancel was asked for before this gateway started
    resumed: bool = False  #: found open at start-up: ask the worker before sending anything
    recorded: tuple[tuple[str, str], ...] = ()  #: node and hash of each output that was recorded before
    requirements_key: str = ""
    size: int = 0
    tries: int = 0  #: attempts spent before this one
    avoid: frozenset[WorkerId] = frozenset()  #: workers that lost it before
    room: Room | None = None
    limits: Limits = Limits()
    sketch: Sketch = UNKNOWN

    @property
    def family(self) -> str:
        """As of a candidate."""
        return self.template or self.requirements_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The answer to one call of claim. `waiting` is false only when no due job was left unclaimed, whoever could run
    it: then a place that becomes free needs no look at the queue."""

    claims: tuple[Claim, ...]
    waiting: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOutput:
    """An output to be recorded: the asset record to mint and where it belongs."""

    asset: Asset
    node_id: str
    name: str
    type: OutputType
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an attempt ended, with all that its settle writes."""

    outcome: Outcome
    reason: str
    ended_at: float
    posted_at: float | None = None
    started_at: float | None = None
    error: JobError | None = None
    outputs: tuple[NewOutput, ...] = ()  #: those not recorded yet
    outputs_reused: bool = False
    retry_at: float | None = None  #: not before this time, if it is queued again
    avoid: bool = True  #: whether a retry prefers another worker
    room: Room | None = None  #: what the retry needs


class WorkerKind(StrEnum):
    """Where a worker comes from."""

    LOCAL = "local"  #: a ComfyUI process of our own supervisor
    REMOTE = "remote"  #: a URL
    SIMULATED = "simulated"  #: a built-in simulator of our own supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A ComfyUI process as the store knows it; what it does right now is the fleet's to tell."""

    id: WorkerId
    url: str
    kind: WorkerKind
    gpu: str | None = None  #: `CUDA_VISIBLE_DEVICES` of a local worker
    depth: int = 1  #: attempts sent to it at once
    persistent: bool = False  #: added through the API, so that it comes back after a restart
    created_at: float
    jobs_done: int = 0
    lease_owner: str | None = None
    lease_epoch: int = 0
    lease_until: float = 0.0


class WorkerState(StrEnum):
    """What a worker is doing, as the fleet sees it right now."""

    STARTING = "starting"  #: not heard from yet
    IDLE = "idle"
    BUSY = "busy"  #: it runs as much as its depth allows
    DRAINING = "draining"  #: it finishes what it runs and takes nothing new
    PAUSED = "paused"  #: as draining, until somebody resumes it; it stays
    UNREACHABLE = "unreachable"
    QUARANTINED = "quarantined"  #: it answers, but lost or broke too much in a row


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerJob:
    """A job that a worker runs right now."""

    job_id: JobId
    attempt_id: AttemptId
    since: float
    progress: Progress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcess:
    """A worker process of our own supervisor, as the supervisor tells it."""

    id: WorkerId
    url: str
    kind: WorkerKind
    gpu: str | None = None
    pid: int | None = None  #: None while it does not run
    restarts: int = 0
    idle_seconds: float | None = None  #: how long the process has used no CPU worth the name; None: not known
    gpu_idle_seconds: float | None = None  #: how long its card has done nothing, whoever uses it; None: not known
    memory_bytes: int | None = None  #: of the machine's memory, children included; None: not known
    restart_asked_at: float | None = None  #: when a restart was last asked for
    failure: str | None = None  #: why the supervisor stopped restarting it
    log_tail: str | None = None  #: the end of its log, once the supervisor stopped restarting it


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """A worker as people see it: what the store knows and what the fleet sees. None: not known (yet)."""

    id: WorkerId
    url: str
    kind: WorkerKind
    state: WorkerState
    since: float  #: when it entered that state
    depth: int = 1
    gpu: str | None = None  #: `CUDA_VISIBLE_DEVICES` of a local worker
    jobs: tuple[WorkerJob, ...] = ()
    loaded: tuple[str, ...] = ()  #: model files it is believed to hold
    others: int = 0  #: prompts of other clients in its queue
    jobs_done: int = 0
    restarts: int = 0
    pid: int | None = None
    simulated: bool = False
    comfyui_version: str | None = None
    device: str | None = None  #: the card's name, as ComfyUI tells it
    vram_total: int | None = None
    vram_free: int | None = None
    last_error: str | None = None
    log_tail: str | None = None  #: the end of the log of a local worker that is not started any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A stored fact about a job; `seq` counts within the job from 1. `data` never holds pictures."""

    job_id: JobId
    seq: int
    type: str
    at: float
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a listing, newest first; `next_cursor` is None on the last."""

    jobs: tuple[Job, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """What a listing asks for; None and empty mean no restriction."""

    statuses: frozenset[JobStatus] = frozenset()
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    batch_id: BatchId | None = None
    template: str | None = None
    parent_id: JobId | None = None  #: the steps of this pipeline; without, no steps at all


# What the bus carries about a job. The store stays the truth; these only save a poll.


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChanged:
    """The job's row changed: read it again, unless `job` is what it is now (of an ended job: for good)."""

    status: JobStatus
    job: Job | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressMade:
    """A new progress snapshot."""

    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewMade:
    """A new preview picture."""

    preview: Preview


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputMade:
    """An output was recorded."""

    output: Output


News = StatusChanged | ProgressMade | PreviewMade | OutputMade


# What the dispatcher listens to.


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkQueued:
    """Jobs were queued, or queued again: look for idle workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAsked:
    """A running job shall stop."""

    job_id: JobId
    attempt_id: AttemptId | None


Signal = WorkQueued | CancelAsked
