"""Which workers are out of the question for a job now, decided before placement chooses: pure.

Three things are worked out here, so that placement need not know them. A job that its worker lost goes to *another*
worker where there is one, and waits a while for it. A job that needs more memory than a card has goes to a larger one
where there is one. A job that needs a card for itself gets a quiet one, or keeps one free until it is quiet.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.domain import memory, model

_ELSEWHERE_SECONDS: Final = 30.0  #: for so long a retry waits for another worker to become free

Choose = Callable[[Sequence[model.Candidate], Sequence[model.Slot]], Sequence[model.Assignment]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A worker that takes work, whether it has a free place now or not."""

    card: str  #: the same for workers that share a card
    vram: int | None
    accepts: frozenset[str]
    quiet: bool  #: nothing runs on its card


Places = Mapping[model.WorkerId, Place]


@dataclass(slots=True, kw_only=True)
class Fitting:
    """One round of choosing. Afterwards `alone` names the jobs that got a card for themselves."""

    choose: Choose
    places: Callable[[], Places]  #: only asked when some job needs it
    demand: Callable[[str, int], memory.Demand] | None  #: None: nothing was learned
    now: float
    alone: set[model.JobId] = field(default_factory=set[model.JobId])
    _taken: set[model.WorkerId] = field(default_factory=set[model.WorkerId])

    def __call__(
        self, candidates: Sequence[model.Candidate], slots: Sequence[model.Slot]
    ) -> Sequence[model.Assignment]:
        """Assignments, at most one a slot; jobs without a past go straight to `choose`."""
        if not any(self._is_special(candidate) for candidate in candidates):
            return self.choose(candidates, slots)
        return self._walk(candidates, list(slots))

    def _is_special(self, candidate: model.Candidate) -> bool:
        return bool(candidate.room or candidate.avoid or (self.demand is not None and self._demand(candidate)))

    def _demand(self, candidate: model.Candidate) -> memory.Demand:
        return memory.NOTHING if self.demand is None else self.demand(candidate.family, candidate.size)

    def _walk(self, candidates: Sequence[model.Candidate], slots: list[model.Slot]) -> list[model.Assignment]:
        """In fair order: those before a job that needs a card for itself choose before it, those behind it after."""
        places = self.places()
        made: list[model.Assignment] = []
        common: list[model.Candidate] = []
        for candidate in candidates:
            need = self._need(candidate, places, slots)
            if need.alone is None:
                common.append(need.candidate)
                continue
            made += self._common(common, slots)
            common = []
            made += self._alone(candidate, need.alone, places, slots)
        return made + self._common(common, slots)

    def _common(self, candidates: Sequence[model.Candidate], slots: list[model.Slot]) -> list[model.Assignment]:
        if not candidates or not slots:
            return []
        made = list(self.choose(candidates, slots))
        for assignment in made:
            self._taken.add(assignment.worker)
            slots.remove(next(slot for slot in slots if slot.worker == assignment.worker))
        return made

    def _alone(
        self,
        candidate: model.Candidate,
        workers: Sequence[model.WorkerId],
        places: Places,
        slots: list[model.Slot],
    ) -> list[model.Assignment]:
        """Take a quiet card, or keep the first one free of others until it is quiet."""
        free = {slot.worker for slot in slots if slot.connections == 0}
        quiet = [worker for worker in workers if worker in free and self._is_quiet(places[worker].card, places)]
        chosen = quiet[0] if quiet else workers[0]
        card = places[chosen].card
        slots[:] = [slot for slot in slots if slot.worker not in places or places[slot.worker].card != card]
        if not quiet:
            return []
        self.alone.add(candidate.job_id)
        return [
            model.Assignment(
                job_id=candidate.job_id, worker=chosen, reason=f"{chosen} has its card free for a job that needs it all"
            )
        ]

    def _is_quiet(self, card: str, places: Places) -> bool:
        """Nothing runs on the card, and nothing was put on it in this round."""
        here = [worker for worker, place in places.items() if place.card == card]
        return all(places[worker].quiet and worker not in self._taken for worker in here)

    def _need(self, candidate: model.Candidate, places: Places, slots: Sequence[model.Slot]) -> _Need:
        able = [worker for worker, place in places.items() if candidate.requirements_key in place.accepts]
        demand = self._demand(candidate)
        room = candidate.room or model.Room()
        own = [worker for worker in able if worker == room.alone_on]
        if own and self.now < room.until:
            return _Need(candidate=candidate, alone=own)
        fit = _larger(able, places, max(demand.more_than, room.more_than)) or able
        if candidate.avoid and self.now < candidate.since + _ELSEWHERE_SECONDS:
            fit = [worker for worker in fit if worker not in candidate.avoid] or fit
        tight = [worker for worker in fit if _has_at_most(places[worker].vram, demand.tight)]
        roomy = [worker for worker in fit if worker not in tight]
        if tight and not any(slot.worker in roomy for slot in slots):
            here = [worker for worker in tight if any(slot.worker == worker for slot in slots)]
            if here:
                return _Need(candidate=candidate, alone=tuple(here))
        refuses = frozenset(places) - frozenset(roomy or fit)
        return _Need(candidate=dataclasses.replace(candidate, refuses=refuses) if refuses else candidate)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Need:
    candidate: model.Candidate
    alone: Sequence[model.WorkerId] | None = None  #: on one of these, with the card for itself


def _larger(able: Sequence[model.WorkerId], places: Places, than: int) -> list[model.WorkerId]:
    return [worker for worker in able if not than or not _has_at_most(places[worker].vram, than)]


def _has_at_most(vram: int | None, least: int) -> bool:
    """Whether a card is known to have no more than that."""
    return vram is not None and vram <= least
