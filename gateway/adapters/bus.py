"""News about jobs within one process."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Generator, Sequence
from typing import Final

from gateway import ports
from gateway.domain import model
from gateway.domain.states import TERMINAL, JobStatus

#: How many of these a slow reader may have waiting before the oldest of them goes. The others always stay.
KEPT: Final[dict[type, int]] = {model.ProgressMade: 16, model.PreviewMade: 2}
SNAPSHOTS: Final = 4096  #: jobs whose latest progress is kept; more run nowhere at once

_NOTHING: Final = ports.Snapshot()
_FORGETTING: Final = TERMINAL | {JobStatus.QUEUED}


class MemoryBus:
    """`ports.Bus` for one event loop."""

    def __init__(self) -> None:
        self._followers: dict[model.JobId, list[_Subscription]] = {}
        self._snapshots: OrderedDict[model.JobId, ports.Snapshot] = OrderedDict()
        self._signals: list[model.Signal] = []
        self._signaled = asyncio.Event()

    def publish(self, job_id: model.JobId, news: model.News) -> None:
        """Tell all who follow the job."""
        self._remember(job_id, news)
        for follower in self._followers.get(job_id, ()):
            follower.push(news)

    @contextlib.contextmanager
    def subscribe(self, job_id: model.JobId) -> Generator[ports.Subscription]:
        """Follow a job."""
        subscription = _Subscription()
        followers = self._followers.setdefault(job_id, [])
        followers.append(subscription)
        try:
            yield subscription
        finally:
            followers.remove(subscription)
            if not followers:
                del self._followers[job_id]

    def snapshot(self, job_id: model.JobId) -> ports.Snapshot:
        """What is known right now; empty when nothing is."""
        return self._snapshots.get(job_id, _NOTHING)

    def signal(self, signal: model.Signal) -> None:
        """Tell dispatch; a signal that is waiting already is not repeated."""
        if signal not in self._signals:
            self._signals.append(signal)
        self._signaled.set()

    async def next_signals(self) -> Sequence[model.Signal]:
        """Wait for at least one signal and take all there are."""
        await self._signaled.wait()
        self._signaled.clear()
        signals, self._signals = self._signals, []
        return signals

    def _remember(self, job_id: model.JobId, news: model.News) -> None:
        known = self.snapshot(job_id)
        match news:
            case model.ProgressMade(progress=progress):
                known = ports.Snapshot(progress=progress, preview=known.preview)
            case model.PreviewMade(preview=preview):
                known = ports.Snapshot(progress=known.progress, preview=preview)
            case model.StatusChanged(status=status) if status in _FORGETTING:
                self._snapshots.pop(job_id, None)
                return
            case _:
                return
        self._snapshots[job_id] = known
        self._snapshots.move_to_end(job_id)
        if len(self._snapshots) > SNAPSHOTS:  # a late frame after the end leaves one behind
            self._snapshots.popitem(last=False)


class _Subscription:
    """What one reader has not read yet."""

    def __init__(self) -> None:
        self._news: deque[model.News] = deque()
        self._pushed = asyncio.Event()

    def push(self, news: model.News) -> None:
        """Add news; the oldest of its kind goes when the reader is far behind."""
        kept = KEPT.get(type(news))
        if kept is not None:
            waiting = [old for old in self._news if type(old) is type(news)]
            if len(waiting) >= kept:
                self._news.remove(waiting[0])
        self._news.append(news)
        self._pushed.set()

    async def next(self, *, timeout: float | None = None) -> model.News | None:
        """The next piece of news, or None after `timeout` seconds without any."""
        if not self._news:
            self._pushed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._pushed.wait()
        return self._news.popleft() if self._news else None
