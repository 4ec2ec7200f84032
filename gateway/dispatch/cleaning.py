"""Cleaning up after attempts on our own workers: history entries and output files, once they are settled, never before.

Remote workers are left alone: they may have other users, and their disk is not ours. What is cleaned is gathered for
some seconds, so that a job costs neither a request nor a look at the disk of its own. Folders that are left behind (a
gateway that died, an attempt that was lost) go once they are old and nobody runs in them.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from gateway import ports
from gateway.dispatch import fleet
from gateway.domain import errors, model
from gateway.domain.states import Outcome

#: Elsewhere the prompt may still be there: its folder goes when it is old.
_ENDED_THERE: Final = frozenset({Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELED})
_OURS: Final = frozenset({model.WorkerKind.LOCAL, model.WorkerKind.SIMULATED})
_AT_ONCE: Final = 500
_STALE_SECONDS: Final = 3600.0

_log = structlog.get_logger("gateway.dispatch")
_Ids = dict[model.WorkerId, list[model.AttemptId]]


@dataclass(slots=True, kw_only=True)
class Cleaner:
    """The loop that cleans; times in seconds."""

    files: ports.WorkerFiles
    members: Callable[[], Mapping[model.WorkerId, fleet.Member]]
    clock: ports.Clock
    interval: float = 5.0
    _ended: _Ids = field(default_factory=lambda: defaultdict[model.WorkerId, list[model.AttemptId]](list))
    _swept_at: float = 0.0

    def ended(self, member: fleet.Member, attempt: model.AttemptId, outcome: Outcome) -> None:
        """This attempt is settled: nothing of it is needed on its worker any more."""
        if member.worker.kind in _OURS and outcome in _ENDED_THERE:
            self._ended[member.worker.id].append(attempt)

    async def run(self) -> None:
        """Clean for ever."""
        while True:
            await asyncio.sleep(self.interval)
            await self.clean()
            if self.clock() - self._swept_at >= _STALE_SECONDS:
                self._swept_at = self.clock()
                await self._sweep()

    async def clean(self) -> None:
        """Clean up after all attempts that were settled since the last time."""
        ended, self._ended = self._ended, defaultdict(list)
        for worker, attempts in ended.items():
            for start in range(0, len(attempts), _AT_ONCE):
                some = attempts[start : start + _AT_ONCE]
                await self._forget(worker, some)
                await self.files.clear(worker, some)

    async def _forget(self, worker: model.WorkerId, attempts: list[model.AttemptId]) -> None:
        member = self.members().get(worker)
        if member is None:
            return
        try:
            await member.link.client.forget(attempts)
        except errors.WorkerError as error:  # a restarted worker has forgotten them anyway
            _log.debug("history_not_cleaned", worker=worker, reason=error.message)

    async def _sweep(self) -> None:
        for worker, member in tuple(self.members().items()):
            if member.worker.kind in _OURS:
                running = frozenset(member.runs)
                gone = await self.files.clear_stale(worker, keep=running, before=self.clock() - _STALE_SECONDS)
                if gone:
                    _log.info("old_outputs_cleaned", worker=worker, folders=gone)
