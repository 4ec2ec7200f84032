"""One attempt: from a claim to its settle. History decides, the socket hints (decision 2 of the design).

The attempt id is the prompt id, written before anything is sent (decision 3). So whenever we do not know what a worker
did — a lost answer, a broken socket, silence, a restarted gateway — we ask it for that id: `/queue` first and then
`/history`, because a prompt leaves the one exactly when it enters the other. What the worker does not know any more
is lost, and tried again under a new id; the old one stays condemned on that worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from gateway import assets, ports
from gateway.dispatch import collect, inputs, link
from gateway.domain import errors, model, verdict
from gateway.domain.comfy import history, watch
from gateway.domain.states import RETRYABLE, Outcome

_log = structlog.get_logger("gateway.attempt")
_FOLDER: Final = "gw"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait, in seconds, before asking or giving up."""

    silence: float = 5.0  #: without a frame, before asking over HTTP
    no_socket: float = 1.0  #: the same while the socket is down
    after_end: float = 0.02  #: between reads of history once a frame said that the end is coming; doubles to 0.5
    refused: float = 2.0  #: nobody listens at the worker's address: its process, and so its queue, is gone
    unreachable: float = 30.0  #: it does not answer: it may be alive, so longer
    cancel_again: float = 2.0  #: an interrupt can be missed
    retry: float = 1.0  #: before a lost job is tried again; doubles with each try


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What every attempt needs."""

    queue: ports.Queue
    bus: ports.Bus
    assets: assets.Assets
    clock: ports.Clock
    secret_of: Callable[[model.JobId], str | None]
    patience: Patience


@dataclass(frozen=True, slots=True)
class _Missing:
    """The worker knows the prompt neither as queued nor as ended."""


@dataclass(frozen=True, slots=True)
class _Present:
    """The prompt waits or runs there."""


class _Over(Exception):
    """The attempt is over before or without a run; carries its ending."""

    def __init__(self, ending: model.Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending


@dataclass(slots=True, kw_only=True, eq=False)
class AttemptRun:
    """Drives one claim on one worker. `on_free` is called once, when the worker can take its next job: as soon as the
    run has ended there, before we read its history or fetch its files."""

    claim: model.Claim
    link: link.Link
    inputs: inputs.Inputs
    known: dict[tuple[str, str], model.Asset]
    tools: Tools
    on_free: Callable[[], None]
    cancel_asked: bool = False
    posted_at: float | None = None
    started_at: float | None = None
    progress: model.Progress | None = None
    outline: inputs.Outline | None = None  #: of its graph, once that was read
    heard_at: float = 0.0  #: when the worker last told anything about it
    _posted_as: str | None = None  #: the client id that its frames are addressed to
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _hint: watch.EndHint | None = None
    _look_now: bool = False
    _heard: bool = False
    _freed: bool = False
    _collector: collect.Collector | None = None
    _follow: link.Follow | None = None

    @property
    def id(self) -> model.AttemptId:
        """The attempt's id, which is the prompt's."""
        return self.claim.attempt.id

    def cancel(self) -> None:
        """A client wants this stopped; the worker is asked, and the end is seen as any other end is."""
        self.cancel_asked = True
        self._wake.set()

    async def run(self) -> model.Ending:
        """Drive the attempt to its end on the worker and fetch what it made. The caller settles."""
        try:
            return await self._run()
        except _Over as over:
            return over.ending
        finally:
            self.free()
            if self._collector is not None:
                await self._collector.close()

    def free(self) -> None:
        """Let the worker take its next job."""
        if not self._freed:
            self._freed = True
            self.link.unfollow(self.id)
            self.on_free()

    async def _run(self) -> model.Ending:
        folder = f"{_FOLDER}/{self.id}"
        self._collector = collect.Collector(
            claim=self.claim,
            client=self.link.client,
            assets=self.tools.assets,
            queue=self.tools.queue,
            bus=self.tools.bus,
            folder=folder,
            simulated=self.link.facts.simulated,
            known=self.known,
        )
        if self.claim.resumed:
            self._begin_following(inputs.stored_outline(self.claim.graph), posted=True)
            await self._adopt()
        else:
            await self._send(folder)
        entry = await self._until_ended()
        self.free()
        return await self._ending_of(entry)

    # -- sending ------------------------------------------------------------------------------------------------

    async def _send(self, folder: str) -> None:
        secret = self.tools.secret_of(self.claim.job_id)
        if self.claim.needs_secret and secret is None:
            message = (
                "its partner API key lived in memory only and was lost when the gateway restarted; submit it again"
            )
            raise self._over(_end(Outcome.FAILED, message, model.JobError(code="secret_lost", message=message)))
        try:
            ready = await self.inputs.ready(self.claim, folder)
        except errors.MissingAsset as error:
            job_error = model.JobError(code=error.code, message=error.message, details=error.details)
            raise self._over(_end(Outcome.FAILED, error.message, job_error)) from None
        except (errors.WorkerError, errors.StoreUnavailable, errors.OutputUnavailable) as error:
            raise self._over(_end(Outcome.BROKEN, f"its inputs could not be uploaded: {error.message}")) from None
        self._begin_following(ready.outline, posted=False)
        if self.cancel_asked:
            raise self._over(_end(Outcome.CANCELED, "canceled before it was sent"))
        await self._post(ready.graph, secret)

    async def _post(self, graph: bytes, secret: str | None) -> None:
        client_id = self.link.client_id
        if client_id is None:
            raise self._over(_end(Outcome.RELEASED, "the worker's connection broke before it was sent"))
        try:
            accepted = await self.link.client.submit(graph, prompt_id=self.id, client_id=client_id, secret=secret)
        except errors.WorkerRefused as refused:
            self.link.catalog_at = 0.0  # it may say no because it changed: a model was removed, a node pack is off
            raise self._over(verdict.of_refusal(refused.message, refused.body)) from None
        except (errors.WorkerUnreachable, errors.WorkerFault) as error:
            if isinstance(error, errors.WorkerUnreachable) and error.refused:
                raise self._over(_end(Outcome.RELEASED, f"nothing was sent: {error.message}")) from None
            await self._resolve_post(error)
        else:
            self._posted_as = client_id
            self._mark_posted()
            if accepted.node_errors:
                await self._keep_node_errors(accepted.node_errors)

    async def _keep_node_errors(self, node_errors: Mapping[str, object]) -> None:
        """Only this answer tells which outputs the worker dropped; a store that is away must not stop the run."""
        _log.info("outputs_dropped", job=self.claim.job_id, attempt=self.id, node_errors=node_errors)
        try:
            await self.tools.queue.mark_posted(self.id, at=self.tools.clock(), node_errors=node_errors)
        except errors.StoreUnavailable as error:
            _log.warning("node_errors_not_kept", attempt=self.id, reason=error.message)

    async def _resolve_post(self, error: errors.WorkerError) -> None:
        """The answer to POST was lost: ask for the id. A second look later catches a POST still on its way."""
        _log.warning("post_answer_lost", attempt=self.id, worker=self.link.worker.id, reason=error.message)
        for _ in range(2):
            found = await self._look_patiently()
            if not isinstance(found, _Missing):
                self._mark_posted()
                return
            await asyncio.sleep(self.tools.patience.no_socket)
        self.link.condemn(self.id)
        raise self._over(_end(Outcome.LOST, f"the worker does not know it after a lost answer: {error.message}"))

    def _mark_posted(self) -> None:
        self.posted_at = self.heard_at = self.tools.clock()
        if self._follow is not None:
            self._follow.posted = True

    # -- following ----------------------------------------------------------------------------------------------

    def _begin_following(self, outline: inputs.Outline, *, posted: bool) -> None:
        self.outline = outline
        self._follow = link.Follow(
            watch=watch.Watch(classes=outline.classes), on_sign=self._on_sign, on_change=self._on_change, posted=posted
        )
        self.link.follow(self.id, self._follow)

    def _on_sign(self, sign: watch.Sign) -> None:
        self._heard = True
        self.heard_at = self.tools.clock()
        match sign:
            case watch.Moved(progress=progress):
                self.progress = progress
                self.tools.bus.publish(self.claim.job_id, model.ProgressMade(progress=progress))
            case watch.Previewed(preview=preview):
                self.tools.bus.publish(self.claim.job_id, model.PreviewMade(preview=preview))
            case watch.Produced(node=node, output=output):
                if self._collector is not None and not self._freed:
                    self._collector.produced(node, output)
            case watch.Started():
                self.started_at = self.tools.clock()
            case watch.Ended(hint=hint):
                if self._hint is not watch.EndHint.WRITTEN:
                    self._hint = hint
                self._wake.set()
                # It runs nothing of ours now: its next job need not wait for what we read and fetch. Unless a cancel
                # may be on its way there: that is not to meet the next job.
                if hint is watch.EndHint.WRITTEN and not self.cancel_asked:
                    self.free()

    def _on_change(self) -> None:
        self._look_now = True
        self._wake.set()

    async def _adopt(self) -> None:
        """After a restart of the gateway: the worker says what became of the prompt."""
        found = await self._look_patiently()
        if isinstance(found, _Missing):
            found = await self._look_patiently()
        if isinstance(found, _Missing):
            self.link.condemn(self.id)
            raise self._over(
                _end(Outcome.LOST, "the gateway restarted, and the worker does not know the prompt any more")
            )
        self._mark_posted()
        state = "still has it" if isinstance(found, _Present) else "had finished it"
        _log.info("adopt", job=self.claim.job_id, attempt=self.id, worker=self.link.worker.id, found=state)

    async def _until_ended(self) -> history.HistoryEntry:
        """Wait for the run's end by whatever sign comes first, and read its history entry."""
        pause = self.tools.patience.after_end
        canceled_at = 0.0
        missing = 0
        while True:
            if self._hint is None:
                timeout = self._wait_seconds(canceled_at)
            else:
                timeout = 0.0 if self._hint is watch.EndHint.WRITTEN else pause
            await self._rest(timeout)
            due = self.tools.clock() - canceled_at >= self.tools.patience.cancel_again
            if self.cancel_asked and due and not self._freed:  # freed: it has ended, the next one may be there
                canceled_at = self.tools.clock()
                await self.ask_worker_to_cancel()
            if self._hint is None and self._heard and not self._look_now and not self.cancel_asked:
                self._heard = False
                continue
            self._look_now = False
            found = await self._look_patiently(history_first=self._hint is not None)
            if isinstance(found, history.HistoryEntry):
                return found
            pause = min(pause * 2, 0.5)
            missing = missing + 1 if isinstance(found, _Missing) else 0
            if missing >= 2:
                raise self._gone("the worker does not know the prompt any more; it has probably restarted")
            if self._hint is watch.EndHint.WRITTEN and isinstance(found, _Present):
                self._hint = None

    def _wait_seconds(self, canceled_at: float) -> float:
        if self.cancel_asked:
            return 0.2 if canceled_at or self._freed else 0.0
        hears = self._posted_as is not None and self._posted_as == self.link.client_id
        return self.tools.patience.silence if hears else self.tools.patience.no_socket

    async def _rest(self, seconds: float) -> None:
        """Until something happens, at most `seconds`."""
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                pass
        self._wake.clear()

    async def ask_worker_to_cancel(self) -> None:
        """Ask the worker to stop this prompt; that it may not hear is no error."""
        try:
            await self.link.client.cancel(self.id)
        except errors.WorkerError as error:
            _log.info("cancel_not_heard", attempt=self.id, worker=self.link.worker.id, reason=error.message)

    async def _look_patiently(self, *, history_first: bool = False) -> history.HistoryEntry | _Present | _Missing:
        """Ask the worker for the prompt, bearing with a worker that does not answer for a while."""
        patience, clock = self.tools.patience, self.tools.clock
        silent_since: float | None = None
        while True:
            try:
                return await self._look(history_first=history_first)
            except errors.WorkerError as error:
                silent_since = silent_since if silent_since is not None else clock()
                refused = isinstance(error, errors.WorkerUnreachable) and error.refused
                limit = patience.refused if refused else patience.unreachable
                if clock() - silent_since >= limit:
                    raise self._gone(f"the worker is gone: {error.message}") from None
            await self._rest(min(patience.no_socket, patience.refused / 4))

    async def _look(self, *, history_first: bool) -> history.HistoryEntry | _Present | _Missing:
        client = self.link.client
        if history_first:
            entry = await client.history(self.id)
            if entry is not None:
                return entry
        if self.id in await client.queue():
            return _Present()
        return await client.history(self.id) or _Missing()

    def _gone(self, reason: str) -> _Over:
        self.link.condemn(self.id)
        if self.cancel_asked:
            return self._over(_end(Outcome.CANCELED, "canceled"))
        return self._over(_end(Outcome.LOST, reason))

    # -- ending -------------------------------------------------------------------------------------------------

    async def _ending_of(self, entry: history.HistoryEntry) -> model.Ending:
        blocked = self._follow.watch.error if self._follow is not None else None
        end = verdict.of_history(entry, blocked=blocked, cancel_asked=self.cancel_asked)
        began = self.tools.clock() - entry.seconds if entry.seconds is not None else self.started_at
        if end.error is not None and end.error.code == "cuda_fault":
            self.link.quarantine(f"a CUDA fault: {end.error.message}; nothing runs there until it restarts")
        if end.outcome is not Outcome.SUCCEEDED or self._collector is None:
            return self._ending(end, started_at=began)
        try:
            outputs = await self._collector.finish(entry.outputs)
        except (errors.WorkerError, errors.NotFound, errors.StoreUnavailable) as error:
            message = f"an output could not be fetched: {error.message}"
            job_error = model.JobError(code="output_unavailable", message=message)
            end = verdict.Verdict(outcome=Outcome.BROKEN, reason=message, error=job_error)
            return self._ending(end, started_at=began)
        return self._ending(
            end,
            started_at=began,
            outputs=outputs,
            reused=self.outline is not None and self.outline.reused(entry.cached),
        )

    def _over(self, end: verdict.Verdict) -> _Over:
        return _Over(self._ending(end, started_at=self.started_at))

    def _ending(
        self,
        end: verdict.Verdict,
        *,
        started_at: float | None,
        outputs: tuple[model.NewOutput, ...] = (),
        reused: bool = False,
    ) -> model.Ending:
        now = self.tools.clock()
        again = end.outcome in RETRYABLE
        delay = self.tools.patience.retry * 2 ** (self.claim.attempt.number - 1)
        return model.Ending(
            outcome=end.outcome,
            reason=end.reason,
            ended_at=now,
            posted_at=self.posted_at,
            started_at=started_at,
            error=end.error or (model.JobError(code="worker_lost", message=end.reason) if again else None),
            outputs=outputs,
            outputs_reused=reused,
            retry_at=now + (delay if again else 0.2) if end.outcome in RETRYABLE | {Outcome.RELEASED} else None,
        )

    def hand_back(self) -> model.Ending:
        """The ending of an attempt that this gateway gives back because it stops."""
        return self._ending(_end(Outcome.RELEASED, "handed back by a gateway that was stopped"), started_at=None)

    def broken(self, reason: str) -> model.Ending:
        """The ending of an attempt that failed in a way nobody foresaw; its prompt may still be there."""
        self.link.condemn(self.id)
        return self._ending(_end(Outcome.BROKEN, reason), started_at=self.started_at)


def _end(outcome: Outcome, reason: str, error: model.JobError | None = None) -> verdict.Verdict:
    return verdict.Verdict(outcome=outcome, reason=reason, error=error)
