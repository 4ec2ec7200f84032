"""How commands order and cancel: each job once, whatever becomes of the answers, and the end of each that is not wanted
any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gateway.cli import client, failures, shapes

_BUSY_SECONDS = 5.0  #: before ordering again when the gateway's queue is full
_AWAY_SECONDS = 1.0  #: before ordering again when the gateway, or its store, is away for a moment
_PATIENCE_SECONDS = 60.0  #: how long such a moment may be
_CANCEL_TRIES = 5  #: with a second between two, while the gateway says that it cannot now
_MOST_METADATA = 16  #: pairs of a job, as the contract has it
_MOST_NAMED = 8

T = TypeVar("T")

#: Orders, with what stands beside the inputs, under an idempotency key.
Order = Callable[[Mapping[str, Any], str], Awaitable[T]]


@dataclass(slots=True, kw_only=True)
class Desk:
    """Where a command orders. Once `stop` is set it orders no more."""

    gateway: client.Gateway
    mark: str  #: the metadata key under which a job knows its order
    tell: Callable[[str], None]  #: a remark for whoever waits
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    waits: bool = True  #: for room in a full queue
    away: float = _AWAY_SECONDS
    told: set[str] = field(default_factory=set[str])  #: what needs saying but once

    def marked(self, metadata: Mapping[str, str], key: str) -> dict[str, str]:
        """The metadata of an order, with its key where there is room for it."""
        return {**metadata, self.mark: key} if len(metadata) < _MOST_METADATA else dict(metadata)

    async def job(self, key: str) -> shapes.Job | None:
        """The job that carries this key, if there is one."""
        async for job in self.gateway.jobs({f"metadata[{self.mark}]": key}, limit=1):
            return job
        return None

    async def one(self, order: Order[shapes.Job], about: Mapping[str, Any]) -> shapes.Job | None:
        """One job, ordered once; None when `stop` came first."""
        key = uuid.uuid4().hex
        marked = self._about(about, key)
        with _told_when_lost():
            return await self.placed(lambda: order(marked, key), lambda: self.job(key))

    async def copies(self, order: Order[Sequence[str]], about: Mapping[str, Any], n: int) -> Sequence[str]:
        """The ids of n jobs of one order, which is made once; none when `stop` came first."""
        key = uuid.uuid4().hex
        marked = self._about(about, key)
        with _told_when_lost():
            return await self.placed(lambda: order(marked, key), lambda: self._ids(key, n)) or ()

    def _about(self, about: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        return {**about, "metadata": self.marked(about.get("metadata", {}), key)}

    async def _ids(self, key: str, n: int) -> Sequence[str] | None:
        """The n jobs that carry this key, in the order of their seeds; None while there are not all."""
        newest_first = [job.id async for job in self.gateway.jobs({f"metadata[{self.mark}]": key}, limit=n)]
        return newest_first[::-1] if len(newest_first) == n else None

    async def placed(self, order: Callable[[], Awaitable[T]], find: Callable[[], Awaitable[T | None]]) -> T | None:
        """What was ordered; None when `stop` came first.

        A full queue is waited for, and so is a gateway that is away for a moment. `order` carries the same idempotency
        key each time, and `find` looks for what was ordered by it already.
        """
        until = _now() + _PATIENCE_SECONDS
        while not self.stop.is_set():
            found, pause = None, self.away
            try:
                return await order()
            except failures.Unreachable as lost:
                if not lost.sent or _now() > until:
                    raise
                found = await _looked(find, lost)  # waits for the gateway to come back
            except failures.Refused as refused:
                if refused.word == "idempotency_key_reuse":
                    found = await find()
                    if found is None and _now() > until:
                        raise
                elif refused.http_status == 429 and self.waits:
                    pause = refused.retry_after or _BUSY_SECONDS
                    until = _now() + pause + _PATIENCE_SECONDS  # that it is full is no moment of being away
                    self._tell(f"The gateway takes no more jobs for now ({refused.message}); waiting until it does.")
                elif refused.http_status not in client.LATER or _now() > until:
                    raise
                else:
                    pause = refused.retry_after or pause
                    self._tell(f"The gateway cannot take jobs for a moment ({refused.message}); trying again.")
            if found is not None:
                return found
            await self._sleep(pause)
        return None

    def _tell(self, remark: str) -> None:
        if remark not in self.told:
            self.told.add(remark)
            self.tell(remark)

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stop.wait()


@contextlib.contextmanager
def _told_when_lost() -> Generator[None]:
    """Say of an answer that is lost for good what that means."""
    try:
        yield
    except failures.Unreachable as lost:
        if not lost.sent:
            raise
        way_out = "it may have been ordered all the same; see: comfy-gateway jobs list"
        raise failures.Unreachable(lost.message, way_out=way_out, sent=True) from None


async def _looked(find: Callable[[], Awaitable[T | None]], lost: failures.Unreachable) -> T | None:
    """What `find` finds; a gateway that does not come back leaves it open whether anything was ordered."""
    try:
        return await find()
    except failures.Unreachable:
        raise lost from None


async def cancel(gateway: client.Gateway, job_id: str) -> None:
    """Ask for a job's end; what has ended meanwhile, or is gone, is no trouble."""
    for left in reversed(range(_CANCEL_TRIES)):
        try:
            await gateway.cancel(job_id)
        except failures.Unreachable as lost:
            if not lost.sent or not left:
                raise
        except failures.Refused as refused:
            if refused.http_status == 404:
                return
            if refused.http_status not in {429, *client.LATER} or not left:
                raise
        else:
            return
        await asyncio.sleep(1.0)


async def cancel_all(gateway: client.Gateway, job_ids: Sequence[str], tell: Callable[[str], None]) -> None:
    """Ask for the end of every job; those that could not be asked for it are told."""
    for number, job_id in enumerate(job_ids):
        try:
            await cancel(gateway, job_id)
        except failures.CommandFailed as error:
            left = job_ids[number:]
            tell(f"{len(left)} of {len(job_ids)} could not be canceled and go on: {error.message}")
            if len(left) <= _MOST_NAMED:
                tell(f"Cancel them with: comfy-gateway jobs cancel {' '.join(left)}")
            return


def _now() -> float:
    return asyncio.get_running_loop().time()
