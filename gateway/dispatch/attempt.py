"""One attempt: from a claim to its settle. History decides, the socket hints (decision 2 of the design); only a success
of which no frame was missed is believed without asking (docs/decisions/when-frames-are-believed.md).

The attempt id is the prompt id, written before anything is sent (decision 3). So whenever we do not know what a worker
did — a lost answer, a broken socket, silence, a restarted gateway — we ask it for that id: `/queue` first and then
`/history`, because a prompt leaves the one exactly when it enters the other. What the worker does not know any more
is lost, and tried again under a new id; the old one stays condemned on that worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from gateway.dispatch import blaming, collect, endings, inputs, link, looking, room, tools
from gateway.domain import errors, model, retrying, verdict
from gateway.domain.comfy import history, watch
from gateway.domain.states import Outcome

_log = structlog.get_logger("gateway.attempt")
_FOLDER: Final = "gw"


class _Over(Exception):
    """The attempt is over before or without a run; carries its ending."""

    def __init__(self, ending: model.Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending


@dataclass(slots=True, kw_only=True, eq=False)
class AttemptRun:
    """Drives one claim on one worker. `on_start` is called when it is seen to run there, `on_free` once, when the
    worker can take its next job: as soon as the run has ended there, before we read its history or fetch its files.
    `make_room` frees the card's memory, `may_post` says whether the worker's lease outlasts a POST, `was_restarted`
    whether somebody had the worker restarted since."""

    claim: model.Claim
    link: link.Link
    inputs: inputs.Inputs
    known: dict[tuple[str, str], model.Asset]
    tools: tools.Tools
    on_free: Callable[[], None]
    on_start: Callable[[], None]
    make_room: Callable[[], Awaitable[None]]
    may_post: Callable[[], bool]
    was_restarted: Callable[[float], bool]
    alone: bool = False  #: it has the card for itself
    cancel_asked: bool = False
    posted_at: float | None = None
    started_at: float | None = None
    progress: model.Progress | None = None
    outline: inputs.Outline | None = None  #: of its graph, once that was read
    heard_at: float = 0.0  #: when the worker last told anything about it
    running_since: float | None = None  #: when it was first seen to run there
    overdue: str | None = None  #: why it is being stopped
    overdue_at: float = 0.0
    leaving: str | None = None  #: why it is (or may have been) taken out of the worker's queue
    is_leaving: bool = False  #: that is being done now
    taken_back: bool = False  #: it left the worker's queue before it began there
    _longest_silence: float = 0.0
    _given_up: verdict.Verdict | None = None
    _posted_as: str | None = None  #: the client id that its frames are addressed to
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _hint: watch.EndHint | None = None
    _look_now: bool = False
    _heard: bool = False
    _freed: bool = False
    _missed: bool = False  #: frames may have been: a connection ended or began
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

    @property
    def stays(self) -> bool:
        """Whether it is, or may be, on the worker: posted, and not ended there as far as we know."""
        return self.posted_at is not None and not self._freed

    @property
    def busy(self) -> bool:
        """Whether it takes a place of the worker."""
        return not self._freed

    @property
    def hears(self) -> bool:
        """Whether the worker's frames about it reach us for certain."""
        return self._posted_as is not None and self._posted_as == self.link.client_id

    def take_back(self, reason: str) -> None:
        """An idle worker would have it done sooner: it leaves this one's queue, unless it has begun here."""
        self.leaving, self.is_leaving = reason, True
        self._wake.set()

    def seen_to_run(self) -> None:
        """The worker says that it runs."""
        self.running_since = self.running_since or self.tools.clock()

    def stop_late(self, reason: str) -> None:
        """It takes too long: the worker is asked to stop it, and then it is tried again."""
        self.overdue, self.overdue_at = reason, self.tools.clock()
        _log.warning("attempt_overdue", job=self.claim.job_id, attempt=self.id, reason=reason)
        self._wake.set()

    def give_up(self, end: verdict.Verdict) -> None:
        """Nothing more is to be expected from the worker: end like this."""
        self._given_up = end
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
            canceled=lambda: self.cancel_asked,
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
            away = isinstance(error, errors.StoreUnavailable) and await self.tools.assets.space.doubt(error.message)
            outcome = Outcome.RELEASED if away else Outcome.BROKEN  # a store that is away costs no try
            raise self._over(_end(outcome, f"its inputs could not be uploaded: {error.message}")) from None
        self._begin_following(ready.outline, posted=False)
        if self.alone and not self.cancel_asked:
            await self.make_room()
        if self.cancel_asked:
            raise self._over(_end(Outcome.CANCELED, "canceled before it was sent"))
        if not self.may_post():
            raise self._over(
                _end(Outcome.RELEASED, "nothing was sent: the worker's lease may run out before it answers")
            )
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
            self._posted_as = client_id
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
            if not isinstance(found, looking.Missing):
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
        now = self.tools.clock()
        if self.heard_at:  # frames may be here before the answer to POST
            self._longest_silence = max(self._longest_silence, now - self.heard_at)
        self.heard_at = now
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
                self.started_at = now
                self.running_since = self.running_since or now
                self.on_start()
            case watch.Ended(hint=hint):
                if self._hint is not watch.EndHint.WRITTEN:
                    self._hint = hint
                self._wake.set()
                # It runs nothing of ours now: its next job need not wait for what we read and fetch. Unless a cancel
                # may be on its way there: that is not to meet the next job.
                if hint is watch.EndHint.WRITTEN and not self._to_stop:
                    self.free()

    def _on_change(self) -> None:
        self._missed = self._look_now = True
        self._wake.set()

    async def _adopt(self) -> None:
        """After a restart of the gateway: the worker says what became of the prompt."""
        found = await self._look_patiently()
        if isinstance(found, looking.Missing):
            found = await self._look_patiently()
        if isinstance(found, looking.Missing):
            self.link.condemn(self.id)
            raise self._over(
                _end(Outcome.LOST, "the gateway restarted, and the worker does not know the prompt any more")
            )
        self._mark_posted()
        state = "still has it" if isinstance(found, looking.Present) else "had finished it"
        _log.info("adopt", job=self.claim.job_id, attempt=self.id, worker=self.link.worker.id, found=state)

    async def _until_ended(self) -> history.HistoryEntry:
        """Wait for the run's end by whatever sign comes first, and read its history entry unless the frames told it."""
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
            if self._to_stop and due and not self._freed:  # freed: it has ended, the next one may be there
                canceled_at = self.tools.clock()
                await self.ask_worker_to_cancel()
            if self.is_leaving:
                await self._leave()
            if self._hint is None and self._heard and not self._look_now and not self._to_stop:
                self._heard = False
                continue
            told = self._told()
            if told is not None:
                return told
            self._look_now = False
            found = await self._look_patiently(history_first=self._hint is not None)
            if isinstance(found, history.HistoryEntry):
                return found
            pause = min(pause * 2, 0.5)
            missing = missing + 1 if isinstance(found, looking.Missing) else 0
            if missing >= 2:
                if self.leaving is not None and self.running_since is None and self.hears:
                    raise self._left()  # asked to leave, in a request of which no answer came
                raise self._gone("the worker does not know the prompt any more", forgotten=True)
            if self._hint is watch.EndHint.WRITTEN and isinstance(found, looking.Present):
                self._hint = None

    def _told(self) -> history.HistoryEntry | None:
        """The whole story of a run that succeeded, by its frames: what history says, without asking for it."""
        if self._missed or self._to_stop or not self.hears or self._follow is None:
            return None
        return self._follow.watch.transcript.entry()

    async def _leave(self) -> None:
        """Leave the worker's queue. It is taken back only if it is known to be gone without having begun; otherwise it
        stays what it was, and its end is seen like any other's."""
        try:
            if self.running_since is None and not self._to_stop:
                found = self._noted(await looking.withdraw(self.link.client, self.id))
                if isinstance(found, looking.Missing) and self.running_since is None and self._hint is None:
                    raise self._left()
        except errors.WorkerError as error:
            _log.info("take_back_not_heard", attempt=self.id, worker=self.link.worker.id, reason=error.message)
        self.is_leaving, self._look_now = False, True

    def _left(self) -> _Over:
        """It never began here: that costs no try, and nobody is to blame."""
        self.taken_back = True
        if self.cancel_asked:
            return self._over(_end(Outcome.CANCELED, "canceled"))
        end = _end(Outcome.RELEASED, self.leaving or "taken back")
        return _Over(self._ending(end, started_at=None, made=endings.Made(avoid=False, at_once=True)))

    def _wait_seconds(self, canceled_at: float) -> float:
        if self._to_stop:
            return 0.2 if canceled_at or self._freed else 0.0
        if self.hears:
            return self.tools.patience.silence
        self._listen_again()
        return self.tools.patience.no_socket * (0.2 if self._ends_soon() else 1.0)

    @property
    def _to_stop(self) -> bool:
        return self.cancel_asked or self.overdue is not None

    def _listen_again(self) -> None:
        """Its frames are addressed to a socket that is gone: one more under the same client id may get them."""
        before = self._posted_as or self.claim.attempt.client_id
        if before is not None and self.link.client_id is not None and not self._freed:
            self.link.listen_again(self.id, before)

    def _ends_soon(self) -> bool:
        """By what such runs usually take; then it is worth asking more often."""
        usual = self.tools.learning.durations.expected(self.claim.family)
        if usual is None or self.running_since is None:
            return False
        return abs(self.running_since + usual - self.tools.clock()) < 2 * self.tools.patience.no_socket

    async def _rest(self, seconds: float) -> None:
        """Until something happens, at most `seconds`."""
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                pass
        self._wake.clear()
        if self._given_up is not None:
            self.link.condemn(self.id)
            raise self._over(self._given_up)

    async def ask_worker_to_cancel(self) -> None:
        """Ask the worker to stop this prompt; that it may not hear is no error."""
        try:
            await self.link.client.cancel(self.id)
        except errors.WorkerError as error:
            _log.info("cancel_not_heard", attempt=self.id, worker=self.link.worker.id, reason=error.message)

    async def _look_patiently(self, *, history_first: bool = False) -> looking.Found:
        """Ask the worker for the prompt, bearing with a worker that does not answer for a while."""
        patience, clock = self.tools.patience, self.tools.clock
        silent_since: float | None = None
        while True:
            try:
                return self._noted(await looking.look(self.link.client, self.id, history_first=history_first))
            except errors.WorkerError as error:
                silent_since = silent_since if silent_since is not None else clock()
                refused = isinstance(error, errors.WorkerUnreachable) and error.refused
                limit = patience.refused if refused else patience.unreachable
                if clock() - silent_since >= limit:
                    raise self._gone(f"the worker is gone: {error.message}", refused=refused) from None
            await self._rest(min(patience.no_socket, patience.refused / 4))

    def _noted(self, found: looking.Found) -> looking.Found:
        if isinstance(found, looking.Present) and found.running:
            self.seen_to_run()
        return found

    def _gone(self, reason: str, *, refused: bool = False, forgotten: bool = False) -> _Over:
        """The worker is gone, or it is a new process at the old address."""
        self.link.condemn(self.id)
        if self.cancel_asked:
            return self._over(_end(Outcome.CANCELED, "canceled"))
        if self.was_restarted(self.claim.attempt.created_at):
            return self._over(_end(Outcome.LOST, reason))
        lost = blaming.Vanished(
            reason=reason,
            refused=refused,
            forgotten=forgotten,
            posted_as=self._posted_as,
            ran=self.running_since is not None,
        )
        return self._over(blaming.after_loss(self.link, self.id, lost))

    # -- ending -------------------------------------------------------------------------------------------------

    async def _ending_of(self, entry: history.HistoryEntry) -> model.Ending:
        if self.outline is not None:
            self.tools.foresight.ran(self.claim, entry, self.outline)
        blocked = self._follow.watch.error if self._follow is not None else None
        end = verdict.of_history(entry, blocked=blocked, cancel_asked=self.cancel_asked, overdue=self.overdue)
        began = self.tools.clock() - entry.seconds if entry.seconds is not None else self.started_at
        if end.error is not None and end.error.code == retrying.CUDA_FAULT:
            end = blaming.after_cuda_fault(self.link, self.id, end, end.error)
        if end.error is not None and end.error.code == retrying.OUT_OF_MEMORY and end.outcome is Outcome.BROKEN:
            return self._out_of_memory(end.error, began)
        if end.outcome is not Outcome.SUCCEEDED or self._collector is None:
            return self._ending(end, started_at=began)
        self._learn(entry, began)
        try:
            outputs = await self._collector.finish(entry.outputs)
        except (errors.WorkerError, errors.NotFound, errors.StoreUnavailable) as error:
            message = f"an output could not be fetched: {error.message}"
            job_error = model.JobError(code="output_unavailable", message=message)
            end = verdict.Verdict(outcome=Outcome.BROKEN, reason=message, error=job_error)
            return self._ending(end, started_at=began)
        reused = self.outline is not None and self.outline.reused(entry.cached)
        return self._ending(end, started_at=began, made=endings.Made(outputs=outputs, reused=reused))

    def _learn(self, entry: history.HistoryEntry, began: float | None) -> None:
        now, learning = self.tools.clock(), self.tools.learning
        seconds = entry.seconds if entry.seconds is not None else now - (began or now)
        silence = max(self._longest_silence, now - self.heard_at)
        learning.durations.ran(self.claim.family, seconds=seconds, silent=min(silence, seconds))
        vram = self.link.facts.vram_total
        if vram is not None:
            learning.memory.fitted(self.claim.family, self.claim.size, vram=vram, alone=self.alone)

    def _out_of_memory(self, error: model.JobError, began: float | None) -> model.Ending:
        trouble = room.Trouble(claim=self.claim, error=error, link=self.link, alone=self.alone)
        found = room.consequence(trouble, self.tools)
        end = _end(found.outcome, found.error.message, found.error)
        return self._ending(end, started_at=began, made=endings.Made(room=found.room, avoid=found.avoid))

    def _over(self, end: verdict.Verdict) -> _Over:
        return _Over(self._ending(end, started_at=self.started_at))

    def _ending(
        self, end: verdict.Verdict, *, started_at: float | None, made: endings.Made = endings.NOTHING
    ) -> model.Ending:
        times = endings.Times(posted_at=self.posted_at, started_at=started_at)
        return endings.ending(end, self.claim, times, made, self.tools)

    def hand_back(self) -> model.Ending:
        """The ending of an attempt that this gateway gives back because it stops."""
        return self._ending(_end(Outcome.RELEASED, "handed back by a gateway that was stopped"), started_at=None)

    def broken(self, reason: str) -> model.Ending:
        """The ending of an attempt that failed in a way nobody foresaw; its prompt may still be there."""
        self.link.condemn(self.id)
        return self._ending(_end(Outcome.BROKEN, reason), started_at=self.started_at)


def _end(outcome: Outcome, reason: str, error: model.JobError | None = None) -> verdict.Verdict:
    return verdict.Verdict(outcome=outcome, reason=reason, error=error)
