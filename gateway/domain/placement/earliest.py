"""Earliest finish: each job goes where it is expected to be done first, counting the models it would load.

Theory of operation. The candidates are laid out on all workers, busy ones included, as if all were placed now; only
those that come to lie on a free place are assigned, and the next look lays everything out anew. Candidates of one
priority go in four steps, each in fair order:

1. *Who waited too long* takes the best free place: a job that has left places to others for `patience` seconds, and
   one whose models nobody holds, after five times the loading that it has put off.
2. *Warm.* Each candidate lines up at the worker that holds its models and would finish it first. A worker's memory is
   thus used up before it is overwritten, and jobs for it may overtake others that would have to load.
3. *Cold.* Candidates whose models nobody holds go where they would be done first, behind the lines.
4. *Relief.* A worker with a free place and no line takes a job out of a line in which it would be done later than
   here, loading included. So a job waits for a warm worker only as long as the loading that this avoids. When there
   are more jobs than are seen at once, the lines are longer than they look, and it takes one in any case.

A job's gain must be more than the doubt in the numbers, or it starts at once. What nothing is known about is placed
by counting connections; with nothing learned at all, everything is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from gateway.domain import model
from gateway.domain.placement import reasons, seats
from gateway.domain.placement.outlook import WINDOW, Decision, Outlook, Wait

_GAIN_SECONDS: Final = 0.02  #: what leaving a free place must gain at least
_GAIN_SHARE: Final = 0.1  #: and this part of what starting at once would take
_WORTH_A_LOAD: Final = 5.0  #: times its loading that a job whose models nobody holds is put off


def decide(candidates: Sequence[model.Candidate], slots: Sequence[model.Slot], outlook: Outlook) -> Decision:
    """Place candidates (in fair order) on free places (`slots`, one each)."""
    layout = _Layout(slots, outlook, candidates)
    for _, level in groupby(candidates, key=lambda candidate: candidate.priority):
        if layout.seats.open <= 0:
            break
        layout.lay_out(list(level))
    return layout.decision()


class _Layout:
    """The candidates that were laid out so far."""

    def __init__(self, slots: Sequence[model.Slot], outlook: Outlook, candidates: Sequence[model.Candidate]) -> None:
        self._outlook = outlook
        self._candidates = candidates
        self.seats = seats.Seats(slots, outlook)
        self._has_more = len(candidates) >= WINDOW
        self._starts: dict[model.JobId, tuple[seats.Option, str]] = {}
        self._waiting: dict[model.JobId, seats.Option] = {}
        self._passed: dict[model.JobId, seats.Option] = {}  #: with the best place that it left

    def lay_out(self, level: Sequence[model.Candidate]) -> None:
        """Lay out candidates of one priority."""
        rest = self._overdue(level)
        cold = self._warm(rest)
        self._cold(cold)
        self._relieve(rest)

    def decision(self) -> Decision:
        """What came of it."""
        starts = self._starts.values()
        return Decision(
            assignments=tuple(
                model.Assignment(job_id=option.candidate.job_id, worker=option.seat.id, reason=reason)
                for option, reason in starts
            ),
            costs={option.candidate.job_id: option.cost for option, _ in starts if option.known},
            waits={job: self._wait(option) for job, option in self._waiting.items()},
            passed=frozenset(self._passed),
        )

    def _wait(self, option: seats.Option) -> Wait:
        left = self._passed.get(option.candidate.job_id)
        return Wait(
            worker=option.seat.id,
            starts_in=max(0.0, option.starts),
            takes=option.cost.seconds,
            reason=reasons.of_wait(option, left),
        )

    # -- the four steps -----------------------------------------------------------------------------------------

    def _overdue(self, level: Sequence[model.Candidate]) -> list[model.Candidate]:
        """Give the best free place to each that waited too long; returns the others."""
        if not any(candidate.job_id in self._outlook.passed for candidate in level):
            return list(level)
        rest: list[model.Candidate] = []
        forced: set[str] = set()  # one of a kind brings the models for all
        for candidate in level:
            option = self._forced(candidate, forced) if candidate.job_id in self._outlook.passed else None
            if option is None:
                rest.append(candidate)
            else:
                forced.add(candidate.requirements_key)
                self._start(option, reasons.of_patience(option, self._outlook.passed_for(candidate)))
        return rest

    def _forced(self, candidate: model.Candidate, forced: Iterable[str]) -> seats.Option | None:
        """Where it goes because it waited too long; None while it did not, or nothing is free."""
        waited = self._outlook.passed_for(candidate)
        options = self.seats.options(candidate)
        free = [option for option in options if option.seat.is_open]
        if not free:
            return None
        if waited < self._outlook.patience:
            if candidate.requirements_key in forced or any(option.is_warm for option in options):
                return None
            if waited < _WORTH_A_LOAD * min(option.cost.load for option in free):
                return None
        return min(free, key=self._with_damage)

    def _warm(self, level: Sequence[model.Candidate]) -> list[model.Candidate]:
        """Line candidates up at workers that hold their models; returns those that none holds."""
        cold: list[model.Candidate] = []
        for candidate in level:
            if self.seats.open <= 0:
                break
            options = self.seats.options(candidate)
            warm = [option for option in options if option.is_warm]
            if warm:
                self._put(min(warm, key=_order), warm, options)
            elif options:
                self._pass(candidate, options)
                cold.append(candidate)
        return cold

    def _cold(self, level: Sequence[model.Candidate]) -> None:
        """Put candidates whose models nobody holds where they would be done first."""
        for candidate in level:
            if self.seats.open <= 0:
                return
            options = self.seats.options(candidate)
            warm = [option for option in options if option.is_warm]  # since somebody of its kind was put there
            if warm:
                self._put(min(warm, key=_order), warm, options)
            else:
                self._put(min(options, key=self._with_loss), options, options)

    def _relieve(self, level: Sequence[model.Candidate]) -> None:
        """Let free workers without a line take jobs out of lines."""
        for seat in sorted(self.seats.all, key=lambda seat: (seat.ready, seat.jobs_done, seat.id)):
            while seat.is_open:
                option = self._relief(seat, level)
                if option is None:
                    break
                before = self._waiting.pop(option.candidate.job_id)
                self._passed.pop(option.candidate.job_id, None)
                self.seats.take_back(before)
                self._start(option, reasons.of_relief(option, before))

    def _relief(self, seat: seats.Seat, level: Sequence[model.Candidate]) -> seats.Option | None:
        """The first job, of the longest line of which any gains by going to this seat. When there are more jobs behind
        than are seen, the one that would be done last goes even if it does not seem to gain."""
        found: tuple[float, seats.Option] | None = None
        last: tuple[float, seats.Option] | None = None
        for candidate in level:
            waiting = self._waiting.get(candidate.job_id)
            if waiting is None or candidate.requirements_key not in seat.accepts or seat.id in candidate.refuses:
                continue
            option = self.seats.option(candidate, seat)
            if not _is_worth_it(waiting, option):
                if found is None or waiting.seat.ready > found[0]:
                    found = waiting.seat.ready, option
            elif self._has_more and (last is None or waiting.finish > last[0]):
                last = waiting.finish, option
        best = found or last
        return None if best is None else best[1]

    # -- putting ------------------------------------------------------------------------------------------------

    def _put(self, best: seats.Option, others: Sequence[seats.Option], options: Sequence[seats.Option]) -> None:
        """Put a candidate where it is best, at once or in a line; at once on one of `others`, too, where the gain of
        waiting is too small."""
        if not best.seat.is_open:
            free = min((option for option in others if option.seat.is_open), key=_order, default=None)
            if free is not None and not _is_worth_it(best, free):
                best = free
            else:
                self._pass(best.candidate, options)
        if best.seat.is_open:
            self._start(best, reasons.of_start(best, options))
        else:
            self._waiting[best.candidate.job_id] = best
            self.seats.put(best)

    def _start(self, option: seats.Option, reason: str) -> None:
        self._passed.pop(option.candidate.job_id, None)
        self._starts[option.candidate.job_id] = option, reason
        self.seats.put(option)

    def _pass(self, candidate: model.Candidate, options: Sequence[seats.Option]) -> None:
        free = min((option for option in options if option.seat.is_open), key=_order, default=None)
        if free is not None:
            self._passed[candidate.job_id] = free

    def _with_loss(self, option: seats.Option) -> tuple[float, int, tuple[float, bool, int, int, int, str]]:
        """Of equal finishes, the one that overwrites what most others hold as well, or nothing."""
        return (round(option.finish, 3), self._holders_lost(option), option.order)

    def _with_damage(self, option: seats.Option) -> tuple[float, int, tuple[float, bool, int, int, int, str]]:
        """The same, where what is overwritten may be in demand: it would have to be loaded again."""
        models = option.seat.memory.models[:1]
        wanted = seats.demand(self._candidates, self._outlook.needs) if models else {}
        is_last = bool(models) and models[0] in wanted and not self.seats.holders(models[0], besides=(option.seat,))
        damage = option.cost.load if is_last and option.missing else 0.0
        return (round(option.finish + damage, 3), self._holders_lost(option), option.order)

    def _holders_lost(self, option: seats.Option) -> int:
        models = option.seat.memory.models[:1]
        if not models or not option.missing:
            return -1_000_000
        return -self.seats.holders(models[0])


def _order(option: seats.Option) -> tuple[float, bool, int, int, int, str]:
    return option.order


def _is_worth_it(best: seats.Option, free: seats.Option) -> bool:
    """Whether leaving a free place for a better one gains more than doubt allows."""
    if not best.known or not free.known:
        return False
    gain = free.finish - best.finish
    return gain > max(_GAIN_SECONDS, _GAIN_SHARE * free.cost.seconds)
