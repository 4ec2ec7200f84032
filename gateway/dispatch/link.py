"""Our connection to one worker: always listening, always draining, never trusted.

Theory of operation (decision 2 of the design). A link keeps one websocket to its worker, under a client id that no
socket ever had before: a re-used one can be orphaned for ever by the server. It reads frames as fast as they come,
since one unread socket freezes everybody's, and hands those of a followed prompt to whoever follows it. Frames of a
lost socket are lost; so whenever a connection ends or begins, every follower is told to look for itself, over HTTP.

Prompts that were posted under the client id of a socket that is gone are followed by asking. One more socket under that
old id is opened for them, because it usually gets their frames and costs nothing when it does not; the link's own
socket never re-uses an id (docs/decisions/progress-after-a-reconnect.md).

A quarantined worker answers and gets nothing. It is released when a new process is there: ComfyUI tells no boot id, but
a new process knows nothing of the prompts that the quarantine was marked with, neither in its queue nor in its history.

The link also knows how many prompts others have put on the worker, which ids must not live there any more (attempts
that were given up: their old prompt is cancelled wherever it shows up), and what the worker can run (its catalog).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import structlog
import tenacity

from gateway import ports
from gateway.domain import errors, model
from gateway.domain.comfy import answers, frames, history, watch
from gateway.domain.comfy.object_info import NodeCatalog

_log = structlog.get_logger("gateway.link")
_RECONNECT: Final = tenacity.wait_exponential_jitter(multiplier=0.2, max=10.0, jitter=0.3)
_ECHO_SECONDS: Final = 2.0  #: between two tries to listen under an old client id
_SUSPECT_SECONDS: Final = 60.0  #: for so long a given-up prompt that is not there is looked for
_PAUSE_SECONDS: Final = 0.1  #: between a connection's end and the next try


class LinkState(StrEnum):
    """How a worker stands, as its link sees it."""

    CONNECTING = "connecting"
    READY = "ready"
    UNREACHABLE = "unreachable"
    QUARANTINED = "quarantined"  #: it answers, but must not get work: a CUDA fault, a dead execution thread


@dataclass(slots=True, kw_only=True)
class Follow:
    """Somebody follows one prompt: `on_sign` gets what its frames mean, `on_change` a reason to look over HTTP."""

    watch: watch.Watch
    on_sign: Callable[[watch.Sign], None]
    on_change: Callable[[], None]
    posted: bool = False  #: the worker has it, so that it counts in the worker's queue


@dataclass(slots=True, kw_only=True)
class _Echo:
    """One more socket, under a client id of before, for the prompts that were posted with it."""

    task: asyncio.Task[None]
    prompts: set[str] = field(default_factory=set[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quarantine:
    reason: str
    marks: tuple[str, ...]
    stuck: bool


@dataclass(slots=True, kw_only=True)
class Link:
    """One worker's connection and what it told. `on_ready` is called whenever the worker may take work (again)."""

    worker: model.Worker
    client: ports.WorkerClient
    parse_catalog: Callable[[Mapping[str, object]], NodeCatalog]
    new_id: ports.NewId
    clock: ports.Clock
    on_ready: Callable[[], None]
    on_eased: Callable[[], None]  #: it has fewer prompts than before
    on_lost: Callable[[], None]  #: a standing connection ended
    admit: Callable[[answers.WorkerFacts], None]  #: raises Conflict when such a worker may not be driven here
    state: LinkState = LinkState.CONNECTING
    reason: str | None = None  #: why it is not ready, in plain words
    since: float = 0.0
    client_id: str | None = None  #: of the open socket; None while there is none
    answered: bool = False  #: it has been there, at least once
    catalog: NodeCatalog | None = None
    catalog_at: float = 0.0  #: when it was read; 0 asks for reading it again
    facts: answers.WorkerFacts = field(default_factory=answers.WorkerFacts)
    remaining: int = 0  #: prompts on the worker by its latest status frame, ours included
    condemned: set[str] = field(default_factory=set[str])
    broken_by: str | None = None  #: the first prompt of this connection that ended by a CUDA fault
    suspected: dict[str, float] = field(default_factory=dict[str, float])  #: given up and not there, until this time
    cancels_atomically: bool = False  #: only then may something wait behind what may have to be canceled
    _follows: dict[str, Follow] = field(default_factory=dict[str, Follow])
    _echoes: dict[str, _Echo] = field(default_factory=dict[str, "_Echo"])
    _quarantine: _Quarantine | None = None

    async def run(self) -> None:
        """Keep the connection, for ever."""
        down = tenacity.retry_if_exception_type((errors.WorkerError, errors.Conflict))
        while True:
            async for attempt in tenacity.AsyncRetrying(wait=_RECONNECT, retry=down):
                with attempt:
                    await self._session()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _session(self) -> None:
        """One connection, from the first question to its end; raises only when it never stood."""
        stood = False
        try:
            facts = await self.client.facts()
            self.answered = True
            self.admit(facts)
            self.facts = facts
            self.cancels_atomically = await self.client.cancels_atomically()
            await self.refresh()
            client_id = self.new_id()
            async with self.client.listen(client_id) as socket:
                stood = True
                await self._drain(socket, client_id)
            raise errors.WorkerUnreachable("the worker closed the websocket")
        except (errors.WorkerError, errors.Conflict) as error:
            self._turn(LinkState.UNREACHABLE, error.message)
            self._call_all()
            if not stood:
                raise
            self.on_lost()

    async def _drain(self, socket: ports.Frames, client_id: str) -> None:
        self.client_id = client_id
        self.broken_by = None
        try:
            await self._cancel_condemned()
            await self._admit_again()
            self._call_all()
            async for frame in socket:
                self._route(frame)
        finally:
            self.client_id = None

    async def refresh(self) -> None:
        """Ask again what the worker can run."""
        info = await self.client.object_info()
        self.catalog = await asyncio.to_thread(self.parse_catalog, info)
        self.catalog_at = self.clock()

    def follow(self, prompt_id: str, follow: Follow) -> None:
        """Hand the frames of this prompt to `follow` until `unfollow`."""
        self._follows[prompt_id] = follow

    def unfollow(self, prompt_id: str) -> None:
        """Stop following."""
        self._follows.pop(prompt_id, None)
        for client_id, echo in tuple(self._echoes.items()):
            echo.prompts.discard(prompt_id)
            if not echo.prompts:
                echo.task.cancel()
                del self._echoes[client_id]

    def listen_again(self, prompt_id: str, client_id: str) -> None:
        """Listen for this prompt's frames under the client id that it was posted with, while it is followed."""
        if client_id == self.client_id:  # two sockets under one id would be the end of ours
            return
        echo = self._echoes.get(client_id)
        if echo is None or echo.task.done():
            echo = _Echo(task=asyncio.create_task(self._echo(client_id)))
            self._echoes[client_id] = echo
        echo.prompts.add(prompt_id)

    async def _echo(self, client_id: str) -> None:
        try:
            async with self.client.listen(client_id) as socket:
                async for frame in socket:
                    if not isinstance(frame, frames.QueueStatus):
                        self._route(frame)
        except errors.WorkerError as error:
            _log.debug("echo_ended", worker=self.worker.id, reason=error.message)
        await asyncio.sleep(_ECHO_SECONDS)  # before anybody tries again

    @property
    def depth(self) -> int:
        """How many prompts may be sent at once: one, unless the worker can cancel one without hitting the next."""
        return self.worker.depth if self.cancels_atomically else 1

    @property
    def others(self) -> int:
        """Prompts on the worker that are not ours, such as those of somebody's browser."""
        ours = sum(1 for follow in self._follows.values() if follow.posted)
        return max(0, self.remaining - ours)

    def has_only(self, prompt_id: str) -> bool:
        """Whether this was the only prompt on the worker, when we last heard."""
        return self.others == 0 and not any(
            follow.posted for known, follow in self._follows.items() if known != prompt_id
        )

    def condemn(self, prompt_id: str) -> None:
        """This attempt was given up: cancel its prompt if it ever shows up."""
        self.condemned.add(prompt_id)

    def suspect(self, prompt_ids: Iterable[str]) -> None:
        """These were given up before we drove the worker: look for them for a while."""
        until = self.clock() + _SUSPECT_SECONDS
        self.suspected.update(dict.fromkeys(prompt_ids, until))

    def quarantine(self, reason: str, *, marks: tuple[str, ...] = (), stuck: bool = False) -> None:
        """Give the worker nothing until it has restarted: until it knows none of the prompts `marks`. One that is only
        `stuck` is released, too, when it has them no longer in its queue: it went on."""
        self._quarantine = _Quarantine(reason=reason, marks=marks, stuck=stuck)
        self._turn(LinkState.QUARANTINED, reason)

    async def doubt(self, reason: str, *, marks: tuple[str, ...], stuck: bool) -> None:
        """It was quarantined before we drove it: it is still, if it is the same process. WorkerError when it cannot be
        asked right now; it will be when it is connected."""
        self._quarantine = _Quarantine(reason=reason, marks=marks, stuck=stuck)
        if self.client_id is not None:
            await self._admit_again()

    async def probe(self) -> None:
        """Look whether a quarantined worker went on by itself; called now and then."""
        found = self._quarantine
        if found is None or not found.stuck or self.state is not LinkState.QUARANTINED:
            return
        present = await self.client.queue()
        if not any(mark in present for mark in found.marks):
            self._release("it went on")

    async def _admit_again(self) -> None:
        """At the beginning of a connection: take work, unless it is still the process that was quarantined."""
        if self._quarantine is not None and await self._is_old(self._quarantine):
            self._turn(LinkState.QUARANTINED, self._quarantine.reason)
            return
        if self._quarantine is not None:
            self._release("it has restarted")
        else:
            self._turn(LinkState.READY, None)

    async def _is_old(self, found: _Quarantine) -> bool:
        present = await self.client.queue()
        for mark in found.marks:
            if mark in present or await self.client.history(mark) is not None:
                return True
        return False

    def _release(self, reason: str) -> None:
        self._quarantine = None
        _log.info("quarantine_ended", worker=self.worker.id, reason=reason)
        self._turn(LinkState.READY, None)

    def _route(self, frame: frames.Frame) -> None:
        match frame:
            case frames.QueueStatus(remaining=remaining):
                fell = remaining < self.remaining
                self.remaining = remaining
                if fell:
                    self.on_eased()
            case frames.PreviewImage(prompt_id=None):
                self._route_preview(frame)
            case frames.ExecutionError(prompt_id=prompt_id, data=data) if self.broken_by is None:
                if history.is_cuda_fault(str(data.get("exception_message"))):
                    self.broken_by = prompt_id
                self._hand_on(prompt_id, frame)
            case _:
                self._hand_on(frames.prompt_of(frame), frame)

    def _hand_on(self, prompt_id: str | None, frame: frames.Frame) -> None:
        """To who follows this prompt."""
        follow = self._follows.get(prompt_id) if prompt_id else None
        if follow is not None:
            self._feed(follow, frame)

    def _route_preview(self, frame: frames.PreviewImage) -> None:
        """A preview without ids counts only while exactly one of our prompts executes."""
        executing = [follow for follow in self._follows.values() if follow.watch.started]
        if len(executing) == 1:
            self._feed(executing[0], frame)

    @staticmethod
    def _feed(follow: Follow, frame: frames.Frame) -> None:
        for sign in follow.watch.feed(frame):
            follow.on_sign(sign)

    def _turn(self, state: LinkState, reason: str | None) -> None:
        if (state, reason) == (self.state, self.reason):
            return
        self._log_turn(state)(f"worker_{state}", worker=self.worker.id, url=self.worker.url, reason=reason)
        self.state, self.reason, self.since = state, reason, self.clock()
        if state is LinkState.READY:
            self.on_ready()

    def _log_turn(self, state: LinkState) -> Callable[..., None]:
        """Not to be there yet is normal, all the more for a process that has only just been started."""
        if not self.answered and self.worker.kind is not model.WorkerKind.REMOTE:
            return _log.debug
        return _log.info if LinkState.CONNECTING is self.state or state is LinkState.READY else _log.warning

    def _call_all(self) -> None:
        for follow in tuple(self._follows.values()):
            follow.on_change()

    async def _cancel_condemned(self) -> None:
        """Cancel given-up prompts that the worker has. Those it does not have will hardly come any more; for a while
        they are looked for all the same, since a POST can be on its way for long."""
        if not self.condemned and not self.suspected:
            return
        present = await self.client.queue()
        now = self.clock()
        for prompt_id in (*self.condemned, *self.suspected):
            if prompt_id in present:
                _log.info("cancel_given_up_prompt", worker=self.worker.id, prompt=prompt_id)
                self.suspected.pop(prompt_id, None)
                self.condemned.add(prompt_id)
                await self.client.cancel(prompt_id)
            elif prompt_id in self.condemned:
                self.condemned.discard(prompt_id)
                self.suspected[prompt_id] = now + _SUSPECT_SECONDS
        self.suspected = {prompt_id: until for prompt_id, until in self.suspected.items() if until > now}

    async def sweep(self) -> None:
        """Look for given-up prompts now and then while connected; called by the fleet."""
        if self.state is LinkState.READY:
            await self._cancel_condemned()
