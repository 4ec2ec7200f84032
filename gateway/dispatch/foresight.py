"""What dispatch foresees: what each worker holds and when it will be done, so that placement can weigh them.

The state here is belief, fed by what attempts tell: one begins (its models will be held), its worker is free again,
its history is read (what was cached, and how long it took), or it ends unseen. Placement itself runs inside the
store's transaction, in a thread of the store's; so each round of choosing is given a picture that does not change.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway import ports
from gateway.dispatch import inputs
from gateway.domain import model, placement
from gateway.domain.comfy import history
from gateway.domain.comfy.graph import Requirements
from gateway.domain.costs import book, eta, memory
from gateway.domain.costs.sketch import Sketch

_LONGEST_DELAY: Final = 0.5  #: no worker is taken to be further away, in seconds
_LONGEST_TURN: Final = 0.03  #: seconds a place is free between two jobs; beyond, there was none to run
_REMEMBERED: Final = 4.0  #: times its patience that a job is remembered to have left places to others


@dataclass(slots=True, kw_only=True, eq=False)
class _Expected:
    """An attempt that takes a place of its worker."""

    claim: model.Claim
    before: memory.Memory  #: what the worker held when it began
    since: float
    cost: book.Cost | None
    is_first: bool = True  #: nothing of ours was there before it
    turn: float = 0.0  #: seconds that its place was free between the job before and this one
    freed_at: float | None = None  #: when it left its place

    @property
    def is_there(self) -> bool:
        """Whether it takes a place."""
        return self.freed_at is None


@dataclass(slots=True, kw_only=True)
class _Belief:
    """One worker."""

    memory: memory.Memory = field(default_factory=memory.Memory)
    attempts: dict[model.AttemptId, _Expected] = field(default_factory=dict[model.AttemptId, "_Expected"])
    free_since: float | None = None

    @property
    def there(self) -> list[_Expected]:
        """Those that take a place: the first runs, the others wait behind it."""
        return [expected for expected in self.attempts.values() if expected.is_there]

    def busy_for(self, now: float, *, before: _Expected | None = None) -> float:
        """How long all that is there will take, or all that is there `before` one."""
        seconds = 0.0
        for place, expected in enumerate(self.there):
            if expected is before:
                break
            seconds += _remaining(expected, now) if place == 0 else _takes(expected)
        return seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a worker that takes work stands right now."""

    worker: model.WorkerId
    accepts: frozenset[str]
    others: int  #: prompts of other clients
    is_idle: bool  #: nothing of ours runs there


@dataclass(slots=True, kw_only=True)
class Tally:
    """How often what was decided."""

    decisions: Counter[str] = field(default_factory=Counter[str])  #: cold, warm, waited, stolen


@dataclass(slots=True, kw_only=True)
class Choosing:
    """One round: a `ports.Choose` over a picture of the fleet. It may be asked several times, for parts of the queue;
    what it gave away before is taken into account."""

    outlook: placement.Outlook
    decisions: list[placement.Decision] = field(default_factory=list[placement.Decision])
    _asked: Sequence[model.Candidate] = ()  #: of the latest decision

    def __call__(
        self, candidates: Sequence[model.Candidate], slots: Sequence[model.Slot]
    ) -> Sequence[model.Assignment]:
        """Assignments of candidates (in fair order) to free places."""
        if not self.outlook.costs:
            return placement.least_connections(candidates, slots)
        if self.decisions:
            self._occupy(self._asked, self.decisions[-1])
        decision = placement.decide(candidates, slots, self.outlook, explain=False)
        self.decisions.append(decision)
        self._asked = candidates
        return decision.assignments

    def _occupy(self, candidates: Sequence[model.Candidate], decision: placement.Decision) -> None:
        if not decision.assignments:
            return
        by_id = {candidate.job_id: candidate for candidate in candidates}
        workers = dict(self.outlook.workers)
        for done in decision.assignments:
            worker, candidate = workers.get(done.worker), by_id[done.job_id]
            needs = self.outlook.needs.get(candidate.requirements_key)
            cost = decision.costs.get(done.job_id)
            if worker is not None and needs is not None:
                workers[worker.id] = dataclasses.replace(
                    worker,
                    ready_in=worker.ready_in + (cost.seconds if cost else 0.0),
                    memory=worker.memory.after(needs.models, candidate.sketch.held),
                )
        self.outlook = dataclasses.replace(self.outlook, workers=workers)


@dataclass(slots=True, kw_only=True)
class Foresight:
    """What is believed of all workers, and what was learned of costs."""

    clock: ports.Clock
    costs: book.Costs = field(default_factory=book.Costs)
    patience: float = 30.0
    tally: Tally = field(default_factory=Tally)
    passed: dict[model.JobId, float] = field(default_factory=dict[model.JobId, float])
    _beliefs: dict[model.WorkerId, _Belief] = field(default_factory=dict[model.WorkerId, _Belief])
    _needs: dict[str, book.Needs] = field(default_factory=dict[str, book.Needs])
    _costs_of: dict[model.JobId, book.Cost] = field(default_factory=dict[model.JobId, book.Cost])

    # -- what attempts tell -------------------------------------------------------------------------------------

    def begun(self, claim: model.Claim) -> None:
        """An attempt was given to its worker, which will hold what it needs."""
        belief = self._belief(claim.attempt.worker)
        needs = self._needs.get(claim.requirements_key)
        since, free_since = claim.attempt.created_at, belief.free_since
        turn = 0.0 if free_since is None else since - free_since
        belief.attempts[claim.attempt.id] = _Expected(
            claim=claim,
            before=belief.memory,
            since=since,
            cost=self._costs_of.pop(claim.job_id, None),
            is_first=not any(expected.is_there for expected in belief.attempts.values()),
            turn=turn if 0 < turn <= _LONGEST_TURN else 0.0,
        )
        belief.free_since = None
        self.passed.pop(claim.job_id, None)
        if needs is not None:
            belief.memory = belief.memory.after(needs.models, claim.sketch.held)

    def started(self, claim: model.Claim) -> None:
        """Its worker runs it now, whatever was sent there before it."""
        belief = self._belief(claim.attempt.worker)
        expected = belief.attempts.get(claim.attempt.id)
        if expected is not None and expected.is_there and belief.there[0] is not expected:
            expected.since = self.clock()
            del belief.attempts[claim.attempt.id]
            belief.attempts = {claim.attempt.id: expected, **belief.attempts}

    def waits(self, claim: model.Claim) -> float:
        """Seconds until it is its turn on its worker, as far as our own jobs there tell."""
        belief = self._belief(claim.attempt.worker)
        expected = belief.attempts.get(claim.attempt.id)
        return 0.0 if expected is None else belief.busy_for(self.clock(), before=expected)

    def takes(self, claim: model.Claim) -> float | None:
        """How long its run is expected to take; None while nothing was learned of such runs."""
        expected = self._belief(claim.attempt.worker).attempts.get(claim.attempt.id)
        return None if expected is None or expected.cost is None else expected.cost.seconds

    def delay(self, worker: model.WorkerId) -> float:
        """How much longer than their runs jobs take a place there: the way to the worker and back, above all."""
        return min(self.costs.overhead(worker), _LONGEST_DELAY)

    def freed(self, claim: model.Claim) -> None:
        """Its worker can take the next one."""
        belief = self._belief(claim.attempt.worker)
        expected = belief.attempts.get(claim.attempt.id)
        if expected is None or not expected.is_there:
            return
        was_first = belief.there[0] is expected
        expected.freed_at = self.clock()
        if was_first and belief.there:
            belief.there[0].since = expected.freed_at  # it is its turn now
        elif not belief.there:
            belief.free_since = expected.freed_at

    def ran(self, claim: model.Claim, entry: history.HistoryEntry, outline: inputs.Outline) -> None:
        """Its history was read."""
        belief = self._belief(claim.attempt.worker)
        expected = belief.attempts.pop(claim.attempt.id, None)
        places = {node: place for place, node in enumerate(outline.classes)}
        cached = frozenset(places[node] for node in entry.cached if node in places)
        run = memory.Ran(
            keys=claim.sketch.keys,
            files={places[node]: files for node, files in outline.loaders.items()},
            cached=cached,
        )
        if expected is not None and run.loaders:
            depth = expected.before.told(run.loaders).depth
            if depth != belief.memory.depth:
                belief.memory = dataclasses.replace(belief.memory, depth=depth)
        needs = self._needs.get(claim.requirements_key)
        if entry.error is not None and _is_out_of_memory(entry.error):
            self.forget(claim.attempt.worker)
        if entry.verdict is not history.Verdict.SUCCESS or entry.seconds is None or needs is None:
            return
        kind = book.Kind.of(needs, claim.sketch)
        bits = sum(1 << place for place in cached)
        self.costs.observe(kind, run.missing, entry.seconds, worker=claim.attempt.worker, cached=bits)
        if expected is not None and expected.freed_at is not None:
            taken = expected.freed_at - expected.since
            self.costs.observe_place(taken + expected.turn)
            if expected.is_first:
                self.costs.observe_way(taken, run=entry.seconds, worker=claim.attempt.worker)

    def ended(self, claim: model.Claim, *, posted: bool) -> None:
        """It is over. If its worker got it and nobody saw its end, nothing is believed of what that one holds."""
        belief = self._belief(claim.attempt.worker)
        expected = belief.attempts.get(claim.attempt.id)
        if expected is None:
            return
        order = list(belief.attempts.values())
        del belief.attempts[claim.attempt.id]
        belief.memory = belief.memory.emptied() if posted else expected.before
        self._fill(belief, order[order.index(expected) + 1 :])

    def _fill(self, belief: _Belief, attempts: Iterable[_Expected]) -> None:
        """What the worker holds, once it has run these as well."""
        for expected in attempts:
            expected.before = belief.memory
            needs = self._needs.get(expected.claim.requirements_key)
            if needs is not None and expected.is_there:
                belief.memory = belief.memory.after(needs.models, expected.claim.sketch.held)

    def forget(self, worker: model.WorkerId) -> None:
        """The worker may have restarted, or its memory was freed; what runs there will fill it."""
        belief = self._belief(worker)
        belief.memory = belief.memory.emptied()
        self._fill(belief, belief.attempts.values())

    def drop(self, worker: model.WorkerId) -> None:
        """The worker is gone."""
        self._beliefs.pop(worker, None)

    def _belief(self, worker: model.WorkerId) -> _Belief:
        return self._beliefs.setdefault(worker, _Belief())

    # -- what people ask ----------------------------------------------------------------------------------------

    def eta(self, job: model.Job, standings: Sequence[Standing], *, position: int | None) -> eta.Eta | None:
        """Seconds until a queued (at this position) or running job is done."""
        if job.attempt_id is not None and job.worker is not None:
            belief = self._belief(job.worker)
            expected = belief.attempts.get(job.attempt_id)
            if expected is None or expected.cost is None:
                return None
            more, now = self.costs.overhead(job.worker), self.clock()
            own = eta.Length(seconds=expected.cost.seconds, sigma=expected.cost.sigma).with_more(more)
            if expected.is_there and belief.there[0] is not expected:
                return eta.of_running(0.0, own.with_more(belief.busy_for(now, before=expected)))
            return eta.of_running(max(0.0, now - expected.since), own)
        own = self._length(self._needs.get(job.requirements_key), job.sketch)
        return None if position is None else self._queued(job.requirements_key, own, standings, position)

    def expect(
        self, wanted: Requirements, sketch: Sketch, standings: Sequence[Standing], *, position: int
    ) -> eta.Eta | None:
        """Seconds until a job that is not ordered yet would be done, were it ordered now at that position."""
        own = self._length(book.Needs.of(wanted.key, wanted), sketch)
        return self._queued(wanted.key, own, standings, position)

    def _queued(self, key: str, own: eta.Length | None, standings: Sequence[Standing], position: int) -> eta.Eta | None:
        usual = self.costs.average
        if own is None or usual is None:
            return None
        able = [standing for standing in standings if key in standing.accepts]
        now = self.clock()
        busy = [self._worker(standing, now).ready_in for standing in able]
        return eta.of_queued(position, busy, usual, own.with_more(self.costs.overhead()))

    def _length(self, needs: book.Needs | None, sketch: Sketch) -> eta.Length | None:
        if needs is None:
            return None
        cost = self.costs.cost(book.Kind.of(needs, sketch), frozenset())
        return None if cost is None else eta.Length(seconds=cost.seconds, sigma=cost.sigma)

    def why(
        self,
        job: model.Job,
        candidates: Sequence[model.Candidate],
        slots: Sequence[model.Slot],
        standings: Sequence[Standing],
    ) -> model.Why | None:
        """Why a job waits, with what a claim would see now; None when it is not among the candidates."""
        if all(candidate.job_id != job.id for candidate in candidates):
            return None
        choosing = self.choosing(lambda: standings, always=True)
        decision = placement.decide(candidates, slots, choosing.outlook)
        wait = decision.waits.get(job.id)
        if wait is not None:
            return model.Why(sentence=wait.reason, worker=wait.worker, starts_in=wait.starts_in)
        for done in decision.assignments:
            if done.job_id == job.id:
                return model.Why(sentence=f"starts now: {done.reason}", worker=done.worker, starts_in=0.0)
        return None

    # -- what placement is given --------------------------------------------------------------------------------

    def learn_needs(self, requirements: Mapping[str, Requirements]) -> None:
        """Take note of what the requirement keys mean."""
        if self._needs.keys() == requirements.keys():
            return
        used = {
            expected.claim.requirements_key
            for belief in self._beliefs.values()
            for expected in belief.attempts.values()
        }
        self._needs = {
            key: self._needs.get(key) or book.Needs.of(key, wanted) for key, wanted in requirements.items()
        } | {key: needs for key, needs in self._needs.items() if key in used}

    def warm(self, slots: Sequence[model.Slot]) -> Sequence[model.Slot]:
        """The slots with the classes whose models their workers hold."""
        if not self.costs:
            return slots
        return [dataclasses.replace(slot, warm=self._warm(slot)) for slot in slots]

    def _warm(self, slot: model.Slot) -> frozenset[str]:
        files = self._belief(slot.worker).memory.files
        return frozenset(
            key for key in slot.accepts if (needs := self._needs.get(key)) and needs.models and needs.models <= files
        )

    def choosing(self, standings: Callable[[], Sequence[Standing]], *, always: bool = False) -> Choosing:
        """A round of choosing over all workers that take work, with or without a free place. They are looked at once
        something was learned, or `always`."""
        now = self.clock()
        workers = [self._worker(standing, now) for standing in standings()] if self.costs or always else []
        outlook = placement.Outlook(
            costs=self.costs,
            needs=self._needs,
            workers={worker.id: worker for worker in workers},
            now=now,
            passed=self.passed,
            patience=self.patience,
        )
        return Choosing(outlook=outlook)

    def _worker(self, standing: Standing, now: float) -> placement.Worker:
        belief = self._belief(standing.worker)
        if standing.others and standing.is_idle and belief.memory.models:
            belief.memory = belief.memory.emptied()  # somebody else's prompt runs there, with models of its own
        ready_in = belief.busy_for(now)
        usual = self.costs.usual
        if standing.others and usual is not None:
            ready_in += standing.others * usual.seconds
        return placement.Worker(id=standing.worker, accepts=standing.accepts, ready_in=ready_in, memory=belief.memory)

    def chosen(self, choosing: Choosing, claimed: model.Claimed) -> None:
        """Take note of what a round decided, before its attempts begin."""
        for decision in choosing.decisions:
            self._costs_of.update(decision.costs)
            for job in decision.passed:
                self.passed.setdefault(job, choosing.outlook.now)
        stolen = frozenset[model.JobId]().union(*(decision.stolen for decision in choosing.decisions))
        for claim in claimed.claims:
            self.tally.decisions["stolen"] += claim.job_id in stolen
            cost = self._costs_of.get(claim.job_id)
            if cost is not None:
                self.tally.decisions["cold" if cost.load else "warm"] += 1
            if claim.job_id in self.passed:
                self.tally.decisions["waited"] += 1
        self._costs_of = {
            claim.job_id: self._costs_of[claim.job_id] for claim in claimed.claims if claim.job_id in self._costs_of
        }
        self._forget_passed(choosing.outlook.now)

    def _forget_passed(self, now: float) -> None:
        if len(self.passed) > placement.WINDOW:
            limit = now - max(60.0, _REMEMBERED * self.patience)
            self.passed = {job: since for job, since in self.passed.items() if since > limit}


def _is_out_of_memory(error: Mapping[str, object]) -> bool:
    """Then ComfyUI unloads all models."""
    kind, message = str(error.get("exception_type")), str(error.get("exception_message"))
    return history.is_out_of_memory(kind, message)


def _takes(expected: _Expected) -> float:
    """How long it takes once it is its turn; nothing, if nothing is known of it."""
    return 0.0 if expected.cost is None else expected.cost.seconds


def _remaining(expected: _Expected, now: float) -> float:
    """How long it will still take. One that is over its time is taken to need as long as it is over."""
    elapsed = max(0.0, now - expected.since)
    if expected.cost is None:
        return elapsed
    return abs(expected.cost.seconds - elapsed)
