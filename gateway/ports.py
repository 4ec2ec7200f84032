"""What the gateway needs from the outside, as small Protocols. Adapters implement them; nobody inherits them.

The store is several ports over one database, so that each reader sees only what it needs. Every method is one unit of
work: it happens whole or not at all, and what it returned is on disk. All of them raise `errors.StoreUnavailable`
when the database cannot be used (locked, full, gone) and stay usable afterwards.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.domain import deliveries, model, pauses
from gateway.domain.comfy import answers, frames, history
from gateway.domain.comfy.graph import Requirements
from gateway.domain.costs import eta
from gateway.domain.costs.sketch import Sketch
from gateway.domain.pipelines import moves
from gateway.domain.states import JobStatus
from gateway.domain.templates import drafts, library, records

Choose = Callable[[Sequence[model.Candidate], Sequence[model.Slot]], Sequence[model.Assignment]]
Clock = Callable[[], float]  #: seconds since the epoch, UTC
NewId = Callable[[], str]  #: a fresh lowercase UUID, version 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """Jobs that the gateway leads on by itself. `plans` are those of pipelines, by job; `owner` leads them on."""

    owner: str
    plans: Mapping[model.JobId, Mapping[str, Any]] = field(default_factory=dict[model.JobId, Mapping[str, Any]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Free places, for jobs that are being queued at this moment: they are claimed for in the transaction that queues
    them. `given` is called once in any case, with what was claimed."""

    slots: Sequence[model.Slot]
    choose: Choose
    now: float
    new_id: NewId
    given: Callable[[model.Claimed], None]


#: Asked for free places with what the jobs need, by requirement key.
Offering = Callable[[Mapping[str, Requirements]], Offer | None]


class Jobs(Protocol):
    """Submitting, reading and cancelling jobs. Everything is scoped by tenant; what is not the caller's is NotFound."""

    async def submit(
        self,
        jobs: Sequence[model.NewJob],
        *,
        batch: model.NewBatch | None = None,
        idempotency_key: str | None = None,
        queue_limit: int | None = None,
        queue_bytes: int | None = None,
        begin: Begin | None = None,
        offer: Offering | None = None,
        written: Callable[[], None] | None = None,
    ) -> tuple[model.Job, ...]:
        """Queue jobs of one tenant, all or none; returns them in the order given. With `begin` they are running when
        this returns: pipelines, and steps that need no worker. `offer` is asked for free places right before the jobs
        are written, if claiming for them in the same transaction is possible here.

        Claims `idempotency_key` (per tenant, single-use for 24 h, counted from the jobs' `created_at`) in the same
        transaction: IdempotencyKeyReuse when it was presented before, also concurrently. QueueFull when all queued jobs
        together would exceed `queue_limit`, or their graphs `queue_bytes`, or the tenant's own limits would be.
        MissingAsset when a referenced asset is gone.

        A large order is written in slices, each in a transaction of its own with an offer of its own, so that others
        are not kept waiting; `written` is told of each of them, as of any other order. The first decides: from then on
        the order stands, whatever happens to its gateway. What a gateway that died has left of one is written when the
        store is opened, or by `Queue.finish_orders`.
        """
        ...

    async def get(self, tenant: model.TenantId, job_id: str) -> model.Job:
        """One job with its outputs; NotFound."""
        ...

    async def page(
        self, tenant: model.TenantId, want: model.JobFilter, *, limit: int, cursor: str | None
    ) -> model.Page:
        """Jobs newest first; InvalidCursor for a cursor that is not ours."""
        ...

    async def graph(self, tenant: model.TenantId, job_id: str) -> bytes:
        """The bound graph as JSON bytes; NotFound."""
        ...

    async def queue_position(self, job_id: str) -> int | None:
        """1 for the queued job that is next in fair order; None when it is not queued."""
        ...

    async def attempts(self, job_id: str) -> tuple[model.Attempt, ...]:
        """The job's attempts, oldest first."""
        ...

    async def place_of_new(self, tenant: model.TenantId, *, priority: int, n: int) -> int:
        """The queue position that the last of `n` jobs would have, were they ordered now."""
        ...

    async def prioritize(self, tenant: model.TenantId, job_id: str, priority: int, *, now: float) -> model.Job:
        """Give a queued job another priority: within it, it stands where it would had it been ordered now, or behind
        what its tenant has had. NotFound; NotQueued when a worker has it, or it has ended."""
        ...

    async def events(self, job_id: str) -> tuple[model.Event, ...]:
        """The job's stored facts in order."""
        ...

    async def cancel(self, tenant: model.TenantId, job_id: str, *, now: float) -> model.Job:
        """Ask for an end: a queued job is `canceled` at once, a running one becomes `canceling`, an ended one stays.

        Returns the job as it is afterwards; NotFound.
        """
        ...

    async def batch(self, tenant: model.TenantId, batch_id: str) -> model.Batch:
        """A batch with counts of its jobs; NotFound."""
        ...

    def cancel_batch(
        self, tenant: model.TenantId, batch_id: str, *, now: float
    ) -> AsyncGenerator[Sequence[model.Canceled], None]:
        """Cancel every job of a batch that has not ended, as `cancel` does, some hundred in a transaction.

        Yields those whose status this changed; NotFound.
        """
        ...

    def cancel_queued(
        self, tenant: model.TenantId | None, *, now: float, running: bool = False
    ) -> AsyncGenerator[Sequence[model.Canceled], None]:
        """Cancel everything that is queued now, of one tenant or of all, as `cancel` does, some hundred in a
        transaction; with `running` what runs, too. What a worker took in the meantime is asked to stop."""
        ...

    async def count_by_status(self) -> Mapping[JobStatus, int]:
        """All tenants' jobs by status, for metrics; may be up to a second old."""
        ...


class Queue(Protocol):
    """What dispatch does with jobs. Writes about an attempt are fenced: LeaseLost when the attempt is no longer
    open, or the worker's lease has another epoch by now."""

    async def requirements(self) -> Mapping[str, Requirements]:
        """Requirement keys that queued jobs have, with their meaning."""
        ...

    async def pauses(self) -> pauses.Pauses:
        """What takes nothing new; `claim` keeps to it."""
        ...

    async def claim(self, slots: Sequence[model.Slot], choose: Choose, *, now: float, new_id: NewId) -> model.Claimed:
        """Give queued jobs to idle workers, in one transaction.

        Reads a bounded window of due candidates in fair order (priority, virtual time of the tenant, age) for each
        distinct set of `accepts`, so that jobs which only a busy worker can run never hide others; asks `choose`;
        claims each assignment by compare-and-set (an assignment that lost its race is left out) and writes the
        Attempt before anything is sent.
        """
        ...

    async def look(self, slots: Sequence[model.Slot], *, now: float) -> Sequence[model.Candidate]:
        """The candidates that `claim` would let placement see for these places, in fair order; nothing is claimed."""
        ...

    async def mark_posted(self, attempt: model.AttemptId, *, at: float, node_errors: Mapping[str, object]) -> None:
        """Keep what only the answer to POST told."""
        ...

    async def add_outputs(
        self, attempt: model.AttemptId, outputs: Sequence[model.NewOutput]
    ) -> tuple[model.Output, ...]:
        """Record outputs of an attempt that still runs: assets, output rows and events."""
        ...

    async def settle(self, attempt: model.AttemptId, ending: model.Ending) -> model.Job:
        """End an attempt and follow the edge it means for the job, with outputs and event, in one transaction.

        A job that is queued again keeps none of the attempt's outputs, and prefers other workers if `ending.avoid`.
        """
        ...

    async def open_claims(self, workers: Sequence[model.WorkerId]) -> tuple[model.Claim, ...]:
        """Open attempts on these workers, `resumed`, re-fenced with the lease epochs now held."""
        ...

    async def given_up(self, worker: model.WorkerId, *, since: float) -> tuple[model.Attempt, ...]:
        """Attempts on this worker that were lost or broken since then, oldest first: prompts of lost ones must not live
        there any more."""
        ...

    async def canceling(self) -> frozenset[model.AttemptId]:
        """Open attempts whose job somebody wants canceled, through whichever gateway."""
        ...

    async def expire(self, *, now: float, queued_before: float | None = None) -> tuple[model.JobId, ...]:
        """Expire jobs that have been queued for longer than their own limit; with `queued_before`, also all that have
        been queued since before that."""
        ...

    async def finish_orders(self, *, age: float) -> int:
        """Queue what is left of large orders that were taken more than `age` seconds ago, by whichever gateway; how
        many jobs."""
        ...

    async def prune(self, *, now: float, limit: int = 500) -> tuple[str, ...]:
        """Forget jobs, assets and idempotency keys past retention; returns hashes of blobs that nothing uses now."""
        ...

    async def weigh(self) -> int:
        """Bytes of all blobs that have a record, each counted once. Not cheap."""
        ...

    async def evict(self, *, now: float, excess: int) -> model.Evicted:
        """End the retention of the oldest ended jobs whose outputs weigh `excess` bytes, some hundred at most, or of
        uploads that no job needs where there is no such job. The next `prune` forgets them."""
        ...


class Workers(Protocol):
    """The known workers and who drives them."""

    async def put(self, worker: model.Worker) -> model.Worker:
        """Add a worker, or update url, kind, gpu and depth of the one with that id; counters and lease stay."""
        ...

    async def remove(self, worker: model.WorkerId) -> None:
        """Forget a worker; NotFound. Its attempts must have ended; jobs keep its name."""
        ...

    async def all(self) -> tuple[model.Worker, ...]:
        """All workers by id."""
        ...

    async def lease(
        self, workers: Sequence[model.WorkerId], *, owner: str, seconds: float
    ) -> Mapping[model.WorkerId, int]:
        """Take or renew leases by the database's clock; returns the epoch of each lease held now.

        A lease that was free, somebody else's and run out, or another boot's of the same `owner` gets the next epoch;
        one that this boot of `owner` holds, or held until it ran out, keeps its epoch; one that somebody else holds
        is left out. A boot is one opening of the store.
        """
        ...

    async def release(self, *, owner: str) -> None:
        """Give all leases of `owner` back at once."""
        ...


class Assets(Protocol):
    """Asset records. Bytes are the Blobs port's."""

    async def add(self, asset: model.Asset, *, idempotency_key: str | None = None) -> model.Asset:
        """Record an asset. Claims `idempotency_key` in the same transaction, as `Jobs.submit` does, in a namespace
        of its own: IdempotencyKeyReuse."""
        ...

    async def get(self, tenant: model.TenantId, asset_id: str) -> model.Asset:
        """One asset; NotFound."""
        ...

    async def find(self, asset_id: str) -> model.Asset:
        """One asset whoever owns it: for signed URLs only; NotFound."""
        ...

    async def get_many(self, tenant: model.TenantId, asset_ids: Sequence[str]) -> Mapping[str, model.Asset]:
        """Those of the asked assets that exist."""
        ...

    async def by_hash(self, tenant: model.TenantId, hash_: str) -> model.Asset | None:
        """The tenant's newest unexpired asset over these bytes."""
        ...

    async def by_path(self, tenant: model.TenantId, file_paths: Sequence[str]) -> Mapping[str, model.Asset]:
        """The tenant's newest upload at each of these `file_path`s that has one."""
        ...

    async def extend(
        self, asset_id: str, *, expires_at: float | None, idempotency_key: str | None = None
    ) -> model.Asset:
        """Move an asset's expiry later (never earlier; None: keep for ever); NotFound. Claims `idempotency_key` as
        `add` does."""
        ...

    async def delete(self, tenant: model.TenantId, asset_id: str) -> str | None:
        """Delete a record; returns the hash when no asset of any tenant uses its blob any more.

        NotFound; AssetInUse while a job that has not ended needs it, or a retained job lists it as an output.
        """
        ...

    async def unused(self, hashes: Sequence[str]) -> frozenset[str]:
        """Those of these hashes that no asset record of any tenant has."""
        ...


class Tenants(Protocol):
    """Whose keys there are, and how much each may take."""

    async def limit(self, limits: Mapping[model.TenantId, model.TenantLimits]) -> None:
        """Set the limits of these tenants; others keep theirs."""
        ...


class Deliveries(Protocol):
    """Webhook POSTs that are owed. They are written with the events that they tell, by whoever writes those."""

    async def rung(self) -> Sequence[deliveries.Heard]:
        """Wait until this process has written something that is owed; the jobs that began to run here since then and
        whose progress is wanted. One caller only."""
        ...

    async def claim(
        self,
        *,
        owner: str,
        now: float,
        seconds: float,
        full: Sequence[str],
        choose: Callable[[Sequence[str]], Sequence[int]],
    ) -> tuple[deliveries.Delivery, ...]:
        """Lease what is due for `seconds`, oldest due first: of each job only the first that is pending, so that they
        go in order. Nothing for the hosts that are `full`; `choose` gets the hosts of what is left, in that order, and
        says which places of the list shall be leased.

        By compare-and-set: what several gateways claim at once only one of them gets. `tries` counts this one. What
        another boot of the same `owner` has leased is free, since that boot is gone.
        """
        ...

    async def finish(self, delivery: deliveries.Delivery, verdict: deliveries.Verdict, *, now: float) -> bool:
        """Write what a try came to, and end the lease; False, and nothing written, when somebody else has it now.

        With `gone`, all that is pending for the job is dead.
        """
        ...

    async def get(self, tenant: model.TenantId, delivery_id: str) -> deliveries.Delivery:
        """One delivery; NotFound."""
        ...

    async def page(
        self, tenant: model.TenantId, want: deliveries.DeliveryFilter, *, limit: int, cursor: str | None
    ) -> deliveries.DeliveryPage:
        """Deliveries newest first; InvalidCursor for a cursor that is not ours."""
        ...

    async def redeliver(self, tenant: model.TenantId, delivery_id: str, *, now: float) -> deliveries.Delivery:
        """Owe it again from now on, under the same id; NotFound, and Conflict when its job is not kept any more."""
        ...

    async def backlog(self) -> deliveries.Backlog:
        """How many are pending and dead, of all tenants; may be up to a second old."""
        ...

    async def forget(self, *, ended_before: float) -> int:
        """Drop deliveries that ended before that time; how many."""
        ...


class Outgoing(Protocol):
    """Requests to addresses that clients choose, guarded."""

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes, seconds: float) -> deliveries.Answer:
        """POST and read the answer's status; redirects are not followed.

        TargetRefused when we may not send anything there, TargetUnreachable when no answer came within `seconds`.
        """
        ...


class Pipelines(Protocol):
    """Jobs that are made of steps, and who leads them on."""

    async def take(self, *, owner: str, seconds: float) -> Sequence[model.JobId]:
        """The pipelines that have not ended and are `owner`'s for so long now: its own, and those of an owner whose
        time is up by the database's clock."""
        ...

    async def plan(self, job_id: str) -> moves.Plan | None:
        """A pipeline's plan; None for any other job."""
        ...

    async def job(self, job_id: str) -> model.Job | None:
        """A job with its outputs, whoever owns it; None when it is gone."""
        ...

    async def steps(self, job_id: str) -> Mapping[str, model.Job]:
        """The steps of a pipeline that were begun, with their outputs, by name."""
        ...

    async def end(self, job_id: str, end: moves.End, *, at: float) -> model.Job | None:
        """End a pipeline, or a step that the gateway did, with outputs and events in one transaction; None when it has
        ended already."""
        ...


class Learned(Protocol):
    """What was learned from runs, by learner (`kind`) and key; bodies are JSON objects. Losing some of it costs time,
    never a job."""

    async def load(self, kind: str) -> Mapping[str, Mapping[str, Any]]:
        """All that a learner kept, by key."""
        ...

    async def keep(self, kind: str, bodies: Mapping[str, Mapping[str, Any]]) -> None:
        """Write these, over what was there under their keys."""
        ...

    async def forget(self, kind: str, *, unused_since: float) -> None:
        """Drop what was last written before that time."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFiles:
    """Template files by name, as they were last read. What did not change is the same object as before."""

    own: Mapping[str, drafts.Draft | library.Broken]  #: of the user's folders
    shipped: Mapping[str, drafts.Draft | library.Broken]  #: of the library that comes with the gateway


class TemplateFiles(Protocol):
    """Where template files are."""

    def look(self) -> FoundFiles:
        """The files as they are now. Blocks: call it in a thread, one call at a time."""
        ...


class Templates(Protocol):
    """Versions of templates, templates that were added over the API, aliases, and conversions. Not scoped by tenant."""

    async def keep(self, versions: Sequence[records.NewVersion]) -> None:
        """Record versions that are their templates' newest now; those that are known become the newest again."""
        ...

    async def newest(self) -> Mapping[str, records.VersionInfo]:
        """The newest version of each template that there ever was, by name."""
        ...

    async def versions(self, name: str) -> tuple[records.VersionInfo, ...]:
        """A template's versions, newest first; empty when none is known."""
        ...

    async def content(self, name: str, version: str) -> records.Content:
        """What a version is made of; NotFound."""
        ...

    async def heads(self) -> Mapping[str, records.Head]:
        """The templates that were added over the API, by name."""
        ...

    async def put(self, version: records.NewVersion, *, create: bool) -> bool:
        """Make this the content of a template that was added over the API, its version recorded; True when the
        template is new. Conflict when `create` and it is there."""
        ...

    async def remove(self, name: str) -> None:
        """Forget a template that was added over the API, and its aliases; its versions stay. NotFound."""
        ...

    async def aliases(self) -> tuple[records.Alias, ...]:
        """All aliases with their moves, removed ones included."""
        ...

    async def move(
        self, template: str, alias: str, to: Callable[[records.Alias | None], records.Move]
    ) -> records.Alias:
        """Point an alias elsewhere: `to` says where, given what it is (None: never set), and may raise. NotFound when
        the template has no such version. Moves of one alias happen one after the other."""
        ...

    async def conversion(self, source: str) -> records.Converted | None:
        """What the editor's file of this digest was converted to, if it was."""
        ...

    async def keep_conversion(self, source: str, converted: records.Converted) -> None:
        """Remember a conversion in place of the one before."""
        ...


class Pauses(Protocol):
    """What takes nothing new. Not scoped by tenant."""

    async def all(self) -> pauses.Pauses:
        """What is paused. What another gateway changed is seen within a second."""
        ...

    async def put(self, pause: pauses.Pause) -> pauses.Pause:
        """Pause it; one that is paused already stays so since then, as a drain if this asks for one."""
        ...

    async def lift(self, kind: pauses.PauseKind, name: str) -> None:
        """End a pause; NotFound. Jobs that it kept back stand where they would had they been ordered now."""
        ...

    async def running(self, kind: pauses.PauseKind, name: str) -> int:
        """How many attempts of it are still open."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The ports over one database, and its life."""

    jobs: Jobs
    queue: Queue
    workers: Workers
    assets: Assets
    learned: Learned
    pipelines: Pipelines
    deliveries: Deliveries
    tenants: Tenants
    templates: Templates
    pauses: Pauses
    check: Callable[[], Awaitable[None]]  #: StoreUnavailable when a write would fail now
    close: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Bytes that are safely kept. `hash` is `blake3:<64 hex>`."""

    hash: str
    size_bytes: int


class Blobs(Protocol):
    """Content-addressed bytes."""

    async def put(self, chunks: AsyncIterator[bytes], *, limit: int | None = None) -> Stored:
        """Store a stream, hashing as it goes; PayloadTooLarge past `limit` bytes, and nothing is kept then."""
        ...

    async def put_bytes(self, data: bytes) -> Stored:
        """Store bytes that are in memory."""
        ...

    def read(self, hash_: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes `start` to `end` (exclusive) in chunks; OutputUnavailable when the blob is gone."""
        ...

    async def delete(self, hash_: str) -> None:
        """Remove a blob; one that is gone already is no error."""
        ...

    def old(self, *, before: float) -> AsyncIterator[Sequence[str]]:
        """Hashes of the blobs that were last put before that time, some hundred at once, in no order."""
        ...

    async def put_at(self, hash_: str) -> float | None:
        """When these bytes were last put, by the store's clock; None when they are gone."""
        ...

    async def free(self) -> int | None:
        """Bytes that still fit; None where nobody can tell. StoreUnavailable."""
        ...

    async def check(self) -> None:
        """StoreUnavailable when a write would fail now."""
        ...


class Subscription(Protocol):
    """News of one job, in order. A reader that falls far behind loses progress and previews, never status."""

    async def next(self, *, timeout: float | None = None) -> model.News | None:
        """The next piece of news, or None after `timeout` seconds without any."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The latest progress and preview of a job that runs."""

    progress: model.Progress | None = None
    preview: model.Preview | None = None


class Bus(Protocol):
    """News about jobs, and signals to dispatch. It forgets: whoever needs the truth reads the store."""

    def publish(self, job_id: model.JobId, news: model.News) -> None:
        """Tell all who follow the job; progress and preview are kept as its snapshot until its status is terminal
        or `queued`."""
        ...

    def subscribe(self, job_id: model.JobId) -> AbstractContextManager[Subscription]:
        """Follow a job. Subscribe first, then read the store: nothing falls between."""
        ...

    def snapshot(self, job_id: model.JobId) -> Snapshot:
        """What is known right now; empty when nothing is."""
        ...

    def signal(self, signal: model.Signal) -> None:
        """Tell dispatch."""
        ...

    async def next_signals(self) -> Sequence[model.Signal]:
        """Wait for at least one signal and take all there are. Dispatch alone calls this."""
        ...


class Frames(Protocol):
    """An open websocket to a worker."""

    def __aiter__(self) -> AsyncIterator[frames.Frame]:
        """The frames until the connection ends; WorkerUnreachable when it breaks."""
        ...


class WorkerClient(Protocol):
    """One ComfyUI, through its own HTTP and websocket API.

    Everything raises WorkerUnreachable when whether the worker acted is unknown, WorkerRefused for a definite no and
    WorkerFault for an answer that makes no sense.
    """

    async def facts(self) -> answers.WorkerFacts:
        """`GET /system_stats`."""
        ...

    async def object_info(self) -> Mapping[str, object]:
        """`GET /object_info`: the node classes it has."""
        ...

    async def submit(self, graph: bytes, *, prompt_id: str, client_id: str, secret: str | None) -> answers.Accepted:
        """`POST /prompt` with an API-format graph as JSON bytes; `secret` is the client's partner API key."""
        ...

    async def queue(self) -> answers.QueueSnapshot:
        """`GET /queue`."""
        ...

    async def history(self, prompt_id: str) -> history.HistoryEntry | None:
        """`GET /history/{prompt_id}`; None while it has not ended, and for ever when it is unknown."""
        ...

    async def cancel(self, prompt_id: str) -> None:
        """Take a prompt out of the queue or interrupt it, and no other; one that is gone is no error.

        Unless `cancels_atomically`, the prompt behind it could be hit should it end at this very moment.
        """
        ...

    async def withdraw(self, prompt_id: str) -> None:
        """Take a prompt out of the queue if it waits there; one that runs, runs on."""
        ...

    async def cancels_atomically(self) -> bool:
        """Whether `cancel` is safe with prompts waiting behind the one that runs."""
        ...

    async def forget(self, prompt_ids: Sequence[str]) -> None:
        """Drop the history entries of these prompts; one that is gone is no error."""
        ...

    async def free(self) -> None:
        """Ask for models and results to be dropped when nothing runs there. It may be lost: say it twice."""
        ...

    async def log(self) -> Sequence[answers.LogLine]:
        """The newest lines that the worker printed, oldest first; none when it does not show them."""
        ...

    def view(self, file: history.OutputFile) -> AsyncGenerator[bytes, None]:
        """`GET /view`: a file's bytes; NotFound when it is gone."""
        ...

    async def upload(self, name: str, chunks: AsyncIterator[bytes]) -> str:
        """`POST /upload/image`: put an input file; returns the name that loader nodes take."""
        ...

    def listen(self, client_id: str) -> AbstractAsyncContextManager[Frames]:
        """Connect `/ws` under a client id that was never used before (a re-used one can be orphaned for ever)."""
        ...

    async def close(self) -> None:
        """Drop all connections."""
        ...


class WorkerFiles(Protocol):
    """Output files of our own workers, in the folders of attempts."""

    async def clear(self, worker: model.WorkerId, attempts: Sequence[model.AttemptId]) -> None:
        """Remove the folders of these attempts, those that are there."""
        ...

    async def clear_stale(self, worker: model.WorkerId, *, keep: Collection[model.AttemptId], before: float) -> int:
        """Remove folders of attempts that nothing was put into since then, but not these; how many."""
        ...


Connect = Callable[[str], WorkerClient]  #: a client for a worker's URL


class Foresight(Protocol):
    """When jobs will be done, and why they wait. Dispatch knows."""

    def eta(self, job: model.Job, *, position: int | None) -> eta.Eta | None:
        """Seconds until a queued (at this position) or running job is done; None while nothing is known."""
        ...

    def expect(self, wanted: Requirements, sketch: Sketch, *, position: int) -> eta.Eta | None:
        """Seconds until a job that is not ordered yet would be done, from that position; None: nobody can tell."""
        ...

    async def why(self, job: model.Job, *, position: int | None) -> model.Why:
        """Why a queued job waits, by the function that places it."""
        ...

    def decisions(self) -> Mapping[str, int]:
        """How many jobs were placed `cold`, `warm`, after they had `waited`, or were `stolen`, since the start."""
        ...


class Fleet(Protocol):
    """The workers as they are right now, and changing which there are. Dispatch owns it."""

    def views(self) -> Sequence[model.WorkerView]:
        """All workers, by id."""
        ...

    async def add(self, url: str, *, worker_id: str | None = None, depth: int = 1) -> model.WorkerView:
        """Take a ComfyUI at `url` into use, under `worker_id` or a name made of its host and port.

        Conflict when the id, or the url under another id, is known already; a worker that does not answer yet is
        taken and shown as `starting` or `unreachable`.
        """
        ...

    async def remove(self, worker_id: str, *, drain: bool) -> model.WorkerView | None:
        """Forget a worker; NotFound. With `drain` what it runs may finish first: the view of the draining worker is
        returned, and None once there is nothing left to wait for. Without, its jobs are handed back at once.

        Conflict for a local worker: its supervisor would bring it back.
        """
        ...
