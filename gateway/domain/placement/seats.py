"""Workers while placement thinks: what is put on each, when that would be done, and what each job would cost there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.domain import model
from gateway.domain.costs import book, memory
from gateway.domain.placement.outlook import Outlook

_LIGHT_SECONDS: Final = 0.02  #: loading for less than this is not worth a thought
_LIGHT_SHARE: Final = 0.1  #: nor is less than this part of the run
UNKNOWN: Final = book.Cost()


@dataclass(slots=True, kw_only=True, eq=False)
class Seat:
    """A worker. `line` are the jobs put there in this round; those within `free` start now."""

    id: model.WorkerId
    accepts: frozenset[str]
    ready: float  #: seconds until all that is there is done
    memory: memory.Memory
    free: int = 0
    connections: int = 0
    jobs_done: int = 0
    line: list[Option] = field(default_factory=list["Option"])

    @property
    def is_open(self) -> bool:
        """Whether a job that is put there now starts now."""
        return len(self.line) < self.free

    @property
    def is_idle(self) -> bool:
        """Whether a job that is put there now is the only one there."""
        return self.is_open and self.connections + len(self.line) == 0 and self.ready <= 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """What a kind of job costs on a seat, whatever else is there."""

    seat: Seat
    cost: book.Cost
    seconds: float
    missing: int  #: model files that would have to be loaded
    known: bool  #: whether the cost is more than a blank
    is_warm: bool  #: whether there is nothing to load that is worth a thought

    def rank(self) -> tuple[bool, int, int, int, str]:
        """Which of equal finishes is better (the least): decided as least connections would."""
        seat = self.seat
        return (not seat.is_open, self.missing, seat.connections + len(seat.line), seat.jobs_done, seat.id)


@dataclass(slots=True, kw_only=True, eq=False)
class Option:
    """One candidate on one seat, behind what is there. `starts` is seconds from now."""

    candidate: model.Candidate
    fit: Fit
    starts: float

    @property
    def seat(self) -> Seat:
        """Where."""
        return self.fit.seat

    @property
    def finish(self) -> float:
        """When it would be done."""
        return self.starts + self.fit.seconds


def best_of(fits: Iterable[Fit]) -> Fit | None:
    """Where a job would be done first."""
    best: Fit | None = None
    least = math.inf
    for fit in fits:
        finish = fit.seat.ready + fit.seconds
        if finish < least or (best is not None and finish == least and fit.rank() < best.rank()):
            best, least = fit, finish
    return best


class Seats:
    """All seats of one decision."""

    def __init__(self, slots: Sequence[model.Slot], outlook: Outlook) -> None:
        self._outlook = outlook
        self.all = _seats(slots, outlook)
        self.open = len(slots)  #: places that are still free
        self._kept: dict[object, tuple[Fit, ...]] = {}  # fits by what decides them; void once a memory changes
        self._results: frozenset[int] | None = None  # all results that any seat holds

    def fits(self, candidate: model.Candidate) -> tuple[Fit, ...]:
        """Where it could run; workers that lost it before only if none of the others is open."""
        sketch = candidate.sketch
        known = () if sketch.held.isdisjoint(self._all_results()) else sketch.keys
        key = (candidate.requirements_key, sketch.work, candidate.refuses, known)
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = self._fits(candidate)
        if candidate.avoid:
            others = tuple(fit for fit in found if fit.seat.id not in candidate.avoid)
            if any(fit.seat.is_open for fit in others):
                return others
        return found

    def _all_results(self) -> frozenset[int]:
        if self._results is None:
            self._results = frozenset[int]().union(*(seat.memory.keys for seat in self.all))
        return self._results

    def _fits(self, candidate: model.Candidate) -> tuple[Fit, ...]:
        needs = self._outlook.needs.get(candidate.requirements_key)
        kind = None if needs is None else book.Kind.of(needs, candidate.sketch)
        costs: dict[object, Fit] = {}  # seats that hold the same and are equally quick are alike
        return tuple(
            self._fit(candidate, kind, seat, costs)
            for seat in self.all
            if candidate.requirements_key in seat.accepts and seat.id not in candidate.refuses
        )

    def _fit(self, candidate: model.Candidate, kind: book.Kind | None, seat: Seat, costs: dict[object, Fit]) -> Fit:
        if kind is None:
            return _blank(seat)
        sketch = candidate.sketch
        cached = 0 if sketch.held.isdisjoint(seat.memory.keys) else _bits(sketch.keys, seat.memory.keys)
        missing = kind.models - seat.memory.files
        factor = self._outlook.costs.factor(seat.id)
        known = costs.get((missing, cached, factor))
        if known is not None:
            return Fit(
                seat=seat,
                cost=known.cost,
                seconds=known.seconds,
                missing=known.missing,
                known=True,
                is_warm=known.is_warm,
            )
        cost = self._outlook.costs.cost(kind, missing, factor=factor, cached=cached)
        if cost is None:
            return _blank(seat)
        fit = costs[(missing, cached, factor)] = Fit(
            seat=seat,
            cost=cost,
            seconds=cost.seconds,
            missing=len(missing),
            known=True,
            is_warm=not missing or cost.load <= max(_LIGHT_SECONDS, _LIGHT_SHARE * cost.run),
        )
        return fit

    def put(self, option: Option) -> None:
        """Put a candidate behind what is on its seat."""
        seat = option.seat
        self.open -= seat.is_open
        seat.line.append(option)
        seat.ready = option.finish
        if option.fit.missing:
            needs = self._outlook.needs[option.candidate.requirements_key]
            seat.memory = seat.memory.after(needs.models, option.candidate.sketch.held)
            self._kept.clear()
            self._results = None

    def take_back(self, option: Option) -> None:
        """Take a candidate out of its line again; those behind it move up."""
        seat = option.seat
        place = seat.line.index(option)
        for later in seat.line[place + 1 :]:
            later.starts -= option.fit.seconds
        seat.ready -= option.fit.seconds
        del seat.line[place]
        self.open += seat.is_open

    def holders(self, models: memory.Files, *, besides: Seat | None = None) -> int:
        """How many seats hold these models."""
        return sum(1 for seat in self.all if seat is not besides and models <= seat.memory.files)


def _blank(seat: Seat) -> Fit:
    return Fit(seat=seat, cost=UNKNOWN, seconds=0.0, missing=0, known=False, is_warm=True)


def _seats(slots: Sequence[model.Slot], outlook: Outlook) -> list[Seat]:
    """All workers by id, so that the order in which they are listed means nothing."""
    seats: dict[model.WorkerId, Seat] = {
        worker.id: Seat(id=worker.id, accepts=worker.accepts, ready=worker.ready_in, memory=worker.memory)
        for worker in outlook.workers.values()
    }
    for slot in sorted(slots, key=lambda slot: (slot.worker, slot.connections)):
        seat = seats.get(slot.worker)
        if seat is None:
            seat = seats[slot.worker] = Seat(id=slot.worker, accepts=slot.accepts, ready=0.0, memory=memory.Memory())
        if seat.free == 0:
            seat.connections, seat.jobs_done = slot.connections, slot.jobs_done
        seat.free += 1
    return [seats[worker] for worker in sorted(seats)]


def _bits(keys: Sequence[int], held: frozenset[int]) -> int:
    """The places of the keys that are held, as bits."""
    return sum(1 << place for place, key in enumerate(keys) if key in held)


def demand(candidates: Sequence[model.Candidate], needs: Mapping[str, book.Needs]) -> dict[memory.Files, int]:
    """How many candidates need each set of models."""
    found: dict[memory.Files, int] = {}
    for candidate in candidates:
        wanted = needs.get(candidate.requirements_key)
        if wanted is not None and wanted.models:
            found[wanted.models] = found.get(wanted.models, 0) + 1
    return found
