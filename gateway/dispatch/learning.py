"""What dispatch learns from runs, kept now and then so that a restart does not forget it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from gateway import ports
from gateway.domain import durations, errors, memory
from gateway.domain.costs import book

_log = structlog.get_logger("gateway.dispatch")
_KEEP_SECONDS: Final = 5.0  #: between two writes
_FORGET_SECONDS: Final = 90 * 86_400.0  #: what nobody ran for so long
_RUNS: Final = "runs"
_MEMORY: Final = "memory"


@dataclass(slots=True, kw_only=True)
class Learning:
    """The learners, and when they were last written."""

    store: ports.Learned
    clock: ports.Clock
    durations: durations.Durations = field(default_factory=durations.Durations)
    memory: memory.Memory = field(default_factory=memory.Memory)
    costs: book.Costs = field(default_factory=book.Costs)
    _kept_at: float = 0.0

    async def load(self) -> None:
        """At start: take up what was kept, and drop what nobody used for long."""
        before = self.clock() - _FORGET_SECONDS
        for kind, load in ((_RUNS, self.durations.load), (_MEMORY, self.memory.load)):
            await self._try(self._load(kind, load, before))
        await self._try(self._load_costs(before))

    async def _load(self, kind: str, load: Callable[[Any], None], before: float) -> None:
        await self.store.forget(kind, unused_since=before)
        load(await self.store.load(kind))

    async def _load_costs(self, before: float) -> None:
        kept: dict[str, Mapping[str, Mapping[str, Any]]] = {}
        for kind, _ in self.costs.tables():
            await self.store.forget(kind, unused_since=before)
            kept[kind] = await self.store.load(kind)
        self.costs.restore(kept)

    async def keep(self, *, now: bool = False) -> None:
        """Write what is new, if the last time was long enough ago, or `now`."""
        if not now and self.clock() - self._kept_at < _KEEP_SECONDS:
            return
        self._kept_at = self.clock()
        for kind, changed in ((_RUNS, self.durations.changed()), (_MEMORY, self.memory.changed())):
            if changed:
                await self._try(self.store.keep(kind, changed))
        for kind, table in self.costs.tables():
            if changed := table.take_changed():
                await self._try(self.store.keep(kind, changed))

    @staticmethod
    async def _try(write: Awaitable[None]) -> None:
        """What is lost here costs time, never a job."""
        try:
            await write
        except errors.StoreUnavailable as error:
            _log.info("learning_not_kept", reason=error.message)
