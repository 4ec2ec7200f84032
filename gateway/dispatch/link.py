"""Our connection to one worker: always listening, always draining, never trusted.

Theory of operation (decision 2 of the design). A link keeps one websocket to its worker, under a client id that no
socket ever had before: a re-used one can be orphaned for ever by the server. It reads frames as fast as they come,
since one unread socket freezes everybody's, and hands those of a followed prompt to whoever follows it. Frames of a
lost socket are lost; so whenever a connection ends or begins, every follower is told to look for itself, over HTTP.

The link also knows how many prompts others have put on the worker, which ids must not live there any more (attempts
that were given up: their old prompt is cancelled wherever it shows up), and what the worker can run (its catalog).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import structlog
import tenacity

from gateway import ports
from gateway.domain import errors, model
from gateway.domain.comfy import answers, frames, watch
from gateway.domain.comfy.object_info import NodeCatalog

_log = structlog.get_logger("gateway.link")
_RECONNECT: Final = tenacity.wait_exponential_jitter(multiplier=0.2, max=10.0, jitter=0.3)
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
    cancels_atomically: bool = False  #: only then may something wait behind what may have to be canceled
    _follows: dict[str, Follow] = field(default_factory=dict[str, Follow])

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
            if self.worker.depth > 1:
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
        try:
            await self._cancel_condemned()
            self._turn(LinkState.READY, None)
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

    @property
    def depth(self) -> int:
        """How many prompts may be sent at once: one, unless the worker can cancel one without hitting the next."""
        return self.worker.depth if self.cancels_atomically else 1

    @property
    def others(self) -> int:
        """Prompts on the worker that are not ours, such as those of somebody's browser."""
        ours = sum(1 for follow in self._follows.values() if follow.posted)
        return max(0, self.remaining - ours)

    def condemn(self, prompt_id: str) -> None:
        """This attempt was given up: cancel its prompt if it ever shows up."""
        self.condemned.add(prompt_id)

    def quarantine(self, reason: str) -> None:
        """Give the worker nothing until it has restarted."""
        self._turn(LinkState.QUARANTINED, reason)

    def _route(self, frame: frames.Frame) -> None:
        match frame:
            case frames.QueueStatus(remaining=remaining):
                fell = remaining < self.remaining
                self.remaining = remaining
                if fell:
                    self.on_eased()
            case frames.PreviewImage(prompt_id=None):
                self._route_preview(frame)
            case _:
                prompt_id = frames.prompt_of(frame)
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
        if state is LinkState.UNREACHABLE and self.state is LinkState.QUARANTINED:
            _log.info("quarantine_ended", worker=self.worker.id, reason="its connection ended, so it has restarted")
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
        """Cancel given-up prompts that the worker has; those it does not have by now will not come."""
        if not self.condemned:
            return
        present = await self.client.queue()
        for prompt_id in tuple(self.condemned):
            if prompt_id in present:
                _log.info("cancel_given_up_prompt", worker=self.worker.id, prompt=prompt_id)
                await self.client.cancel(prompt_id)
            else:
                self.condemned.discard(prompt_id)

    async def sweep(self) -> None:
        """Look for given-up prompts now and then while connected; called by the fleet."""
        if self.state is LinkState.READY:
            await self._cancel_condemned()
