"""What clients were told: the one side of the comparison. It believes nothing but answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ENDS = frozenset({"succeeded", "failed", "canceled", "expired"})


@dataclass(slots=True, kw_only=True)
class Told:
    """What clients were told of one job."""

    job_id: str
    order: str  #: the key of its order
    kind: str
    at: float
    ends: list[str] = field(default_factory=list[str])  #: every end that was told, by whatever means
    broke: str | None = None  #: what it said that cannot be
    outputs_checked: bool = False

    @property
    def ended(self) -> bool:
        """Whether a client was told of its end."""
        return bool(self.ends)


@dataclass(slots=True)
class Ledger:
    """Every job that a client holds a 201 for."""

    jobs: dict[str, Told] = field(default_factory=dict[str, Told])
    taken: set[str] = field(default_factory=set[str])  #: keys of the orders that were taken
    unanswered: set[str] = field(default_factory=set[str])  #: taken, but their 201 was lost on its way
    ended: int = 0
    ended_at: float = field(default_factory=time.monotonic)  #: when the last one ended
    refusals: dict[str, int] = field(default_factory=dict[str, int])  #: answers that told a client to come again
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def accepted(self, job_id: str, order: str, kind: str) -> Told:
        """A client was answered 201."""
        told = self.jobs[job_id] = Told(job_id=job_id, order=order, kind=kind, at=time.time())
        return told

    def refused(self, reason: str) -> None:
        """A client was told to come again, or nothing."""
        self.refusals[reason] = self.refusals.get(reason, 0) + 1

    async def says(self, job_id: str, status: str) -> None:
        """A client was told this status of a job. A stream tells a job's story anew, so only ends can contradict."""
        told = self.jobs[job_id]
        if status not in ENDS:
            return
        if told.ends and told.ends[-1] != status:
            told.broke = f"{status} after {told.ends[-1]}"
        first = not told.ends
        told.ends.append(status)
        if first:
            async with self._changed:
                self.ended += 1
                self.ended_at = time.monotonic()
                self._changed.notify_all()

    async def reaches(self, ended: int) -> None:
        """Wait until so many jobs have ended."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.ended >= ended)

    def open(self) -> list[Told]:
        """Jobs of which no client knows an end."""
        return [told for told in self.jobs.values() if not told.ends]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One prompt on one worker, as the worker itself knows it. Times of the wall clock."""

    worker: int
    prompt: str
    received: float
    started: float | None
    ended: float | None
    outcome: str | None

    @classmethod
    def of(cls, worker: int, record: Mapping[str, Any]) -> Run:
        """A line of a simulator's log."""
        return cls(
            worker=worker,
            prompt=record["prompt_id"],
            received=record["received_wall"],
            started=record["started_wall"],
            ended=record["ended_wall"],
            outcome=record["outcome"],
        )
