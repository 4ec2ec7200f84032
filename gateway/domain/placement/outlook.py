"""What placement is given, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.domain import model
from gateway.domain.costs import book, memory

WINDOW: Final = 64  #: candidates that are seen at once; as many or more mean that there may be others behind


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker as placement sees it, whether it has a free place or not."""

    id: model.WorkerId
    accepts: frozenset[str]
    ready_in: float = 0.0  #: seconds until it has done what it has now
    memory: memory.Memory = field(default_factory=memory.Memory)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is known beside candidates and free places. `passed`: since when a job has been leaving places to others."""

    costs: book.Costs = field(default_factory=book.Costs)
    needs: Mapping[str, book.Needs] = field(default_factory=dict[str, book.Needs])  #: by requirements key
    workers: Mapping[model.WorkerId, Worker] = field(default_factory=dict[model.WorkerId, Worker])
    now: float = 0.0
    passed: Mapping[model.JobId, float] = field(default_factory=dict[model.JobId, float])
    patience: float = 30.0  #: after so many seconds a job leaves no place to others any more

    def passed_for(self, candidate: model.Candidate) -> float:
        """How long it has been leaving places to others."""
        return self.now - self.passed.get(candidate.job_id, self.now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Why a job was left waiting. `starts_in` and `takes` are seconds."""

    worker: model.WorkerId
    starts_in: float
    takes: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided for the candidates that were looked at."""

    assignments: tuple[model.Assignment, ...] = ()
    costs: Mapping[model.JobId, book.Cost] = field(default_factory=dict[model.JobId, book.Cost])  #: of the assigned
    waits: Mapping[model.JobId, Wait] = field(default_factory=dict[model.JobId, Wait])
    passed: frozenset[model.JobId] = frozenset()  #: those that left a place which they could have had
    stolen: frozenset[model.JobId] = frozenset()  #: those assigned that an idle worker took out of another one's line
