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
   are more jobs than are seen at once, the lines are longer than they look, and it takes one in any case. A free place
   behind a run (a worker with a depth above 1) is a place in a line, too: an idle worker relieves it.

A job's gain must be more than the doubt in the numbers, or it starts at once. What nothing is known about is placed
by counting connections; with nothing learned at all, everything is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Final

from gateway.domain import model
from gateway.domain.placement import reasons, seats
from gateway.domain.placement.outlook import WINDOW, Decision, Outlook, Wait

_GAIN_SECONDS: Final = 0.02  #: what leaving a free place must gain at least
_GAIN_SHARE: Final = 0.1  #: and this part of what starting at once would take
_WORTH_A_LOAD: Final = 5.0  #: times its loading that a job whose models nobody holds is put off


def decide(
    candidates: Sequence[model.Candidate], slots: Sequence[model.Slot], outlook: Outlook, *, explain: bool = True
) -> Decision:
    """Place candidates (in fair order) on free places (`slots`, one each). Without `explain` no waits are told."""
    layout = _Layout(slots, outlook, candidates)
    for _, level in groupby(candidates, key=lambda candidate: candidate.priority):
        if layout.seats.open <= 0 and not explain:
            break
        layout.lay_out(list(level), to_the_end=explain)
    return layout.decision(explain=explain)


class _Layout:
    """The candidates that were laid out so far."""

    def __init__(self, slots: Sequence[model.Slot], outlook: Outlook, candidates: Sequence[model.Candidate]) -> None:
        self._outlook = outlook
        self._candidates = candidates
        self.seats = seats.Seats(slots, outlook)
        self._has_more = len(candidates) >= WINDOW
        self._starts: dict[model.JobId, tuple[seats.Option, str]] = {}
        self._waiting: dict[model.JobId, seats.Option] = {}
        self._stolen: set[model.JobId] = set()
        self._passed: dict[model.JobId, seats.Fit] = {}  #: with the best place that it left

    def lay_out(self, level: Sequence[model.Candidate], *, to_the_end: bool) -> None:
        """Lay out candidates of one priority, until no place is free or `to_the_end`."""
        rest = self._overdue(level)
        cold = self._warm(rest, to_the_end=to_the_end)
        self._cold(cold, to_the_end=to_the_end)
        self._relieve(rest)

    def decision(self, *, explain: bool) -> Decision:
        """What came of it."""
        starts = self._starts.values()
        return Decision(
            assignments=tuple(
                model.Assignment(job_id=option.candidate.job_id, worker=option.seat.id, reason=reason)
                for option, reason in starts
            ),
            costs={option.candidate.job_id: option.fit.cost for option, _ in starts if option.fit.known},
            waits={job: self._wait(option) for job, option in self._waiting.items()} if explain else {},
            passed=frozenset(self._passed),
            stolen=frozenset(self._stolen),
        )

    def _wait(self, option: seats.Option) -> Wait:
        left = self._passed.get(option.candidate.job_id)
        return Wait(
            worker=option.seat.id,
            starts_in=max(0.0, option.starts),
            takes=option.fit.seconds,
            reason=reasons.of_wait(option, left),
        )

    # -- the four steps -----------------------------------------------------------------------------------------

    def _overdue(self, level: Sequence[model.Candidate]) -> Sequence[model.Candidate]:
        """Give the best free place to each that waited too long; returns the others."""
        passed = self._outlook.passed
        if not passed or not any(candidate.job_id in passed for candidate in level):
            return level
        rest: list[model.Candidate] = []
        forced: set[str] = set()  # one of a kind brings the models for all
        for candidate in level:
            fit = self._forced(candidate, forced) if candidate.job_id in passed else None
            if fit is None:
                rest.append(candidate)
            else:
                forced.add(candidate.requirements_key)
                self._start(candidate, fit, reasons.of_patience(fit, self._outlook.passed_for(candidate)))
        return rest

    def _forced(self, candidate: model.Candidate, forced: Collection[str]) -> seats.Fit | None:
        """Where it goes because it waited too long; None while it did not, or nothing is free."""
        waited = self._outlook.passed_for(candidate)
        fits = self.seats.fits(candidate)
        free = [fit for fit in fits if fit.seat.is_open]
        if not free:
            return None
        if waited < self._outlook.patience:
            if candidate.requirements_key in forced or any(fit.is_warm for fit in fits):
                return None
            if waited < _WORTH_A_LOAD * min(fit.cost.load for fit in free):
                return None
        return min(free, key=self._with_damage)

    def _warm(self, level: Sequence[model.Candidate], *, to_the_end: bool) -> list[model.Candidate]:
        """Line candidates up at workers that hold their models; returns those that none holds."""
        cold: list[model.Candidate] = []
        for candidate in level:
            if self.seats.open <= 0 and not to_the_end:
                break
            fits = self.seats.fits(candidate)
            warm = [fit for fit in fits if fit.is_warm]
            best = seats.best_of(warm)
            if best is not None:
                self._put(candidate, best, warm, fits)
            elif fits:
                self._pass(candidate, fits)
                cold.append(candidate)
        return cold

    def _cold(self, level: Sequence[model.Candidate], *, to_the_end: bool) -> None:
        """Put candidates whose models nobody holds where they would be done first."""
        for candidate in level:
            if self.seats.open <= 0 and not to_the_end:
                return
            fits = self.seats.fits(candidate)
            warm = [fit for fit in fits if fit.is_warm]  # since somebody of its kind was put there
            best = seats.best_of(warm)
            if best is not None:
                self._put(candidate, best, warm, fits)
            else:
                self._put(candidate, min(fits, key=self._with_loss), fits, fits)

    def _relieve(self, level: Sequence[model.Candidate]) -> None:
        """Let free workers without a line take jobs out of lines."""
        if self.seats.open <= 0:
            return
        for seat in sorted(self.seats.all, key=lambda seat: (seat.ready, seat.jobs_done, seat.id)):
            while seat.is_open:
                found = self._relief(seat, level)
                if found is None:
                    break
                candidate, fit = found
                before = self._waiting.pop(candidate.job_id, None) or self._starts.pop(candidate.job_id)[0]
                self.seats.take_back(before)
                self._stolen.add(candidate.job_id)
                self._start(candidate, fit, reasons.of_relief(fit, before.fit, before.starts))

    def _relief(self, seat: seats.Seat, level: Sequence[model.Candidate]) -> tuple[model.Candidate, seats.Fit] | None:
        """The first job, of the longest line of which any gains by going to this seat. When there are more jobs behind
        than are seen, the one that would be done last goes even if it does not seem to gain."""
        found: tuple[float, model.Candidate, seats.Fit] | None = None
        last: tuple[float, model.Candidate, seats.Fit] | None = None
        for candidate in level:
            waiting = self._lined_up(candidate, seat)
            if waiting is None:
                continue
            fit = next((fit for fit in self.seats.fits(candidate) if fit.seat is seat), None)
            if fit is None:
                continue
            if not _is_worth_it(waiting.fit, waiting.finish, fit):
                if found is None or waiting.seat.ready > found[0]:
                    found = waiting.seat.ready, candidate, fit
            elif self._has_more and candidate.job_id in self._waiting and (last is None or waiting.finish > last[0]):
                last = waiting.finish, candidate, fit
        best = found or last
        return None if best is None else best[1:]

    def _lined_up(self, candidate: model.Candidate, seat: seats.Seat) -> seats.Option | None:
        """Where it waits: in a line, or behind a run, which counts if this seat is idle."""
        waiting = self._waiting.get(candidate.job_id)
        if waiting is not None or not seat.is_idle or candidate.job_id not in self._starts:
            return waiting
        placed, _ = self._starts[candidate.job_id]
        return placed if placed.starts > 0.0 else None

    # -- putting ------------------------------------------------------------------------------------------------

    def _put(
        self, candidate: model.Candidate, best: seats.Fit, others: Sequence[seats.Fit], fits: Sequence[seats.Fit]
    ) -> None:
        """Put a candidate where it is best, at once or in a line; at once on one of `others`, too, where the gain of
        waiting is too small."""
        if not best.seat.is_idle:
            behind = best.seat.is_open  # a place of its own, behind what runs there
            free = seats.best_of(fit for fit in others if fit.seat.is_idle or (fit.seat.is_open and not behind))
            if free is not None and not _is_worth_it(best, best.seat.ready + best.seconds, free):
                best = free
            elif not behind:
                self._pass(candidate, fits)
        if best.seat.is_open:
            self._start(candidate, best, reasons.of_start(candidate, best, fits))
        else:
            option = seats.Option(candidate=candidate, fit=best, starts=best.seat.ready)
            self._waiting[candidate.job_id] = option
            self.seats.put(option)

    def _start(self, candidate: model.Candidate, fit: seats.Fit, reason: str) -> None:
        self._passed.pop(candidate.job_id, None)
        option = seats.Option(candidate=candidate, fit=fit, starts=fit.seat.ready)
        self._starts[candidate.job_id] = option, reason
        self.seats.put(option)

    def _pass(self, candidate: model.Candidate, fits: Sequence[seats.Fit]) -> None:
        if self.seats.open <= 0:
            return
        free = seats.best_of(fit for fit in fits if fit.seat.is_open)
        if free is not None:
            self._passed[candidate.job_id] = free

    def _with_loss(self, fit: seats.Fit) -> tuple[float, int, tuple[bool, int, int, int, str]]:
        """Of equal finishes, the one that overwrites what most others hold as well, or nothing."""
        return (round(fit.seat.ready + fit.seconds, 3), self._holders_lost(fit), fit.rank())

    def _with_damage(self, fit: seats.Fit) -> tuple[float, int, tuple[bool, int, int, int, str]]:
        """The same, where what is overwritten may be in demand: it would have to be loaded again."""
        models = fit.seat.memory.models[:1]
        wanted = seats.demand(self._candidates, self._outlook.needs) if models else {}
        is_last = bool(models) and models[0] in wanted and not self.seats.holders(models[0], besides=fit.seat)
        damage = fit.cost.load if is_last and fit.missing else 0.0
        return (round(fit.seat.ready + fit.seconds + damage, 3), self._holders_lost(fit), fit.rank())

    def _holders_lost(self, fit: seats.Fit) -> int:
        models = fit.seat.memory.models[:1]
        if not models or not fit.missing:
            return -1_000_000
        return -self.seats.holders(models[0])


def _is_worth_it(best: seats.Fit, finish: float, free: seats.Fit) -> bool:
    """Whether leaving a free place for a better one, where it is done at `finish`, gains more than doubt allows."""
    if not best.known or not free.known:
        return False
    gain = free.seat.ready + free.seconds - finish
    return gain > max(_GAIN_SECONDS, _GAIN_SHARE * free.seconds)
