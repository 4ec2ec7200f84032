"""Workers while placement thinks: what is put on each, when that would be done, and what each job would cost there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
    loaded: int = 0  #: times that `memory` changed

    @property
    def is_open(self) -> bool:
        """Whether a job that is put there now starts now."""
        return len(self.line) < self.free


@dataclass(slots=True, kw_only=True, eq=False)
class Option:
    """One candidate on one seat, behind what is there. `starts` and `finish` are seconds from now."""

    candidate: model.Candidate
    seat: Seat
    cost: book.Cost
    starts: float
    missing: int
    known: bool = True  #: whether the cost is more than a blank

    @property
    def finish(self) -> float:
        """When it would be done."""
        return self.starts + self.cost.seconds

    @property
    def is_warm(self) -> bool:
        """Whether there is nothing to load that is worth a thought."""
        return not self.missing or self.cost.load <= max(_LIGHT_SECONDS, _LIGHT_SHARE * self.cost.run)

    @property
    def order(self) -> tuple[float, bool, int, int, int, str]:
        """The least is best. Equal finishes are decided as least connections would."""
        seat = self.seat
        return (self.finish, not seat.is_open, self.missing, seat.connections + len(seat.line), seat.jobs_done, seat.id)


class Seats:
    """All seats of one decision."""

    def __init__(self, slots: Sequence[model.Slot], outlook: Outlook) -> None:
        self._outlook = outlook
        self.all = _seats(slots, outlook)
        self.open = len(slots)  #: places that are still free
        self._costs: dict[tuple[str, int, str, float, int], tuple[book.Cost, int, bool]] = {}

    def options(self, candidate: model.Candidate) -> list[Option]:
        """Where it could run; workers that lost it before only if none of the others is open."""
        key = candidate.requirements_key
        able = [seat for seat in self.all if key in seat.accepts and seat.id not in candidate.refuses]
        if candidate.avoid:
            others = [seat for seat in able if seat.id not in candidate.avoid]
            if any(seat.is_open for seat in others):
                able = others
        return [self.option(candidate, seat) for seat in able]

    def option(self, candidate: model.Candidate, seat: Seat) -> Option:
        """The candidate behind what is on that seat."""
        sketch = candidate.sketch
        cached = 0 if sketch.held.isdisjoint(seat.memory.keys) else _bits(sketch.keys, seat.memory.keys)
        memo = (seat.id, seat.loaded, candidate.requirements_key, sketch.work, cached)
        found = self._costs.get(memo)
        if found is None:
            found = self._costs[memo] = self._cost(candidate, seat, cached)
        cost, missing, known = found
        return Option(candidate=candidate, seat=seat, cost=cost, starts=seat.ready, missing=missing, known=known)

    def _cost(self, candidate: model.Candidate, seat: Seat, cached: int) -> tuple[book.Cost, int, bool]:
        needs = self._outlook.needs.get(candidate.requirements_key)
        if needs is None:
            return UNKNOWN, 0, False
        missing = needs.models - seat.memory.files
        kind = book.Kind.of(needs, candidate.sketch)
        cost = self._outlook.costs.cost(kind, missing, worker=seat.id, cached=cached)
        return (UNKNOWN, 0, False) if cost is None else (cost, len(missing), True)

    def put(self, option: Option) -> bool:
        """Put a candidate behind what is on its seat; whether it starts now."""
        seat = option.seat
        starts_now = seat.is_open
        self.open -= starts_now
        seat.line.append(option)
        seat.ready = option.finish
        if option.missing:
            needs = self._outlook.needs[option.candidate.requirements_key]
            seat.memory = seat.memory.after(needs.models, option.candidate.sketch.held)
            seat.loaded += 1
        return starts_now

    def take_back(self, option: Option) -> None:
        """Take a waiting candidate out of its line again; those behind it move up."""
        seat = option.seat
        place = seat.line.index(option)
        for later in seat.line[place + 1 :]:
            later.starts -= option.cost.seconds
        seat.ready -= option.cost.seconds
        del seat.line[place]

    def holders(self, models: memory.Files, *, besides: Collection[Seat] = ()) -> int:
        """How many seats hold these models."""
        return sum(1 for seat in self.all if seat not in besides and models <= seat.memory.files)


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
