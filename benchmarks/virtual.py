"""Workers and a queue in virtual time: placement is tried on thousands of jobs in seconds, the same way every time.

A job has a set of models and a run time; a worker holds as many sets as its memory is deep, loads what is missing, and
may be slower than others. What the gateway would know is all that a policy is given: learned costs, no true ones.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from gateway.domain import model, placement
from gateway.domain.comfy.graph import Requirements
from gateway.domain.costs import book, memory
from gateway.domain.costs.sketch import Sketch

WINDOW = placement.WINDOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A job: when it comes, what it needs, how long it runs on a plain worker with all models held."""

    number: int
    at: float
    models: str
    seconds: float

    @property
    def id(self) -> model.JobId:
        """Its job id; ids sort by number."""
        return model.JobId(f"{self.number:08d}")


@dataclass(slots=True, kw_only=True)
class Machine:
    """A worker as it really is, and as the gateway believes it to be."""

    id: model.WorkerId
    slow: float = 1.0
    deep: int = 1  #: sets of models that it can hold
    held: list[str] = field(default_factory=list[str])  #: newest first
    believed: memory.Memory = field(default_factory=memory.Memory)
    queue: list[Work] = field(default_factory=list[Work])  #: for policies that bind early
    running: Work | None = None
    until: float = 0.0
    expected: float = 0.0  #: when the gateway expects it to be done
    done: int = 0

    def start(self, work: Work, now: float, load: float) -> bool:
        """Run a job; whether its models had to be loaded."""
        is_cold = work.models not in self.held
        self.held = [work.models, *(other for other in self.held if other != work.models)][: self.deep]
        self.running = work
        self.until = now + (work.seconds + (load if is_cold else 0.0)) * self.slow
        return is_cold


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of it."""

    makespan: float
    loads: int
    waits: Sequence[float]  #: from coming to starting, by job

    def efficiency(self, works: Iterable[Work], speeds: Iterable[float]) -> float:
        """Work done over what the workers could have done meanwhile, weighted by speed."""
        return sum(work.seconds for work in works) / (sum(speeds) * self.makespan)


def needs_of(models: str) -> book.Needs:
    """The needs of jobs with these models, which are one file."""
    return book.Needs.of(models, Requirements(classes=frozenset({"Sampler"}), models=frozenset({("L", "n", models)})))


@dataclass(slots=True, kw_only=True)
class Gateway:
    """The queue, late binding, and `placement.decide` over what was learned."""

    costs: book.Costs = field(default_factory=book.Costs)
    passed: dict[model.JobId, float] = field(default_factory=dict[model.JobId, float])
    patience: float = 30.0
    noise: random.Random = field(default_factory=lambda: random.Random(1))

    def run(self, works: Sequence[Work], machines: Sequence[Machine], *, load: float) -> Result:
        """All works, to the end of the last."""
        arrivals = sorted(works, key=lambda work: (work.at, work.number))
        events: list[tuple[float, int, Work | Machine]] = []
        order = itertools.count()
        for work in arrivals:
            heapq.heappush(events, (work.at, next(order), work))
        queue: dict[int, Work] = {}
        waits: dict[int, float] = {}
        loads, now, start = 0, 0.0, arrivals[0].at
        while events:
            now = events[0][0]
            while events and events[0][0] <= now:
                event = heapq.heappop(events)[2]
                if isinstance(event, Work):
                    queue[event.number] = event
                else:
                    self._finish(event, now, load)
            for work, machine, cost in self._choose(queue, machines, now):
                del queue[work.number]
                waits[work.number] = now - work.at
                before = machine.believed
                needs = needs_of(work.models)
                machine.believed = before.after(needs.models, frozenset({hash(work.models) & 0xFFFFFFFF}))
                is_cold = machine.start(work, now, load)
                loads += is_cold
                told = before.told({hash(work.models) & 0xFFFFFFFF: not is_cold})
                machine.believed = memory.Memory(
                    depth=told.depth, models=machine.believed.models, results=machine.believed.results
                )
                machine.expected = now + (cost.seconds if cost else 0.0)
                heapq.heappush(events, (machine.until, next(order), machine))
                machine.queue = [work] if is_cold else []
        return Result(makespan=now - start, loads=loads, waits=[waits[work.number] for work in works])

    def _finish(self, machine: Machine, now: float, load: float) -> None:
        work = machine.running
        assert work is not None
        is_cold = bool(machine.queue)
        seconds = (work.seconds + (load if is_cold else 0.0)) * machine.slow * self.noise.uniform(0.97, 1.03)
        needs = needs_of(work.models)
        kind = book.Kind.of(needs, Sketch(work=work.seconds))
        self.costs.observe(kind, needs.models if is_cold else frozenset(), seconds, worker=machine.id)
        machine.running, machine.queue, machine.done = None, [], machine.done + 1

    def _choose(
        self, queue: dict[int, Work], machines: Sequence[Machine], now: float
    ) -> list[tuple[Work, Machine, book.Cost | None]]:
        idle = [machine for machine in machines if machine.running is None]
        if not idle or not queue:
            return []
        seen = list(itertools.islice(queue.values(), WINDOW))
        if len(seen) == WINDOW:
            at_head = {work.models for work in seen}
            warm = {next(iter(files)) for machine in idle for files in machine.believed.models[:1]} - at_head
            for models in sorted(warm):
                behind = (work for work in queue.values() if work.models == models)
                seen += itertools.islice(behind, 8)
        keys = frozenset(work.models for work in seen)
        candidates = [
            model.Candidate(
                job_id=work.id,
                tenant=model.DEFAULT_TENANT,
                requirements_key=work.models,
                priority=0,
                created_at=work.at,
                sketch=Sketch(work=work.seconds),
            )
            for work in seen
        ]
        slots = [model.Slot(worker=machine.id, epoch=1, accepts=keys, jobs_done=machine.done) for machine in idle]
        workers = {
            machine.id: placement.Worker(
                id=machine.id, accepts=keys, ready_in=_remaining(machine, now), memory=machine.believed
            )
            for machine in machines
        }
        outlook = placement.Outlook(
            costs=self.costs,
            needs={key: needs_of(key) for key in keys},
            workers=workers,
            now=now,
            passed=self.passed,
            patience=self.patience,
        )
        decision = placement.decide(candidates, slots, outlook)
        self.passed |= {job: self.passed.get(job, now) for job in decision.passed}
        by_id = {machine.id: machine for machine in machines}
        return [
            (queue[int(done.job_id)], by_id[done.worker], decision.costs.get(done.job_id))
            for done in decision.assignments
        ]


def _remaining(machine: Machine, now: float) -> float:
    if machine.running is None:
        return 0.0
    return max(machine.expected - now, now - machine.expected, 0.0)


def least_connections(works: Sequence[Work], machines: Sequence[Machine], *, load: float) -> Result:
    """Late binding, the head of the queue to any idle worker."""
    return _late(works, machines, load=load)


def _late(works: Sequence[Work], machines: Sequence[Machine], *, load: float) -> Result:
    free = [(works[0].at, index) for index in range(len(machines))]
    heapq.heapify(free)
    loads, end, waits = 0, 0.0, list[float]()
    for work in works:
        at, index = heapq.heappop(free)
        at = max(at, work.at)
        waits.append(at - work.at)
        loads += machines[index].start(work, at, load)
        end = max(end, machines[index].until)
        heapq.heappush(free, (machines[index].until, index))
    return Result(makespan=end - works[0].at, loads=loads, waits=waits)


def zipf(n: int, kinds: int, *, seconds: float, seed: int, at: Callable[[int], float] = lambda _: 0.0) -> list[Work]:
    """Jobs whose models follow Zipf's law."""
    draw = random.Random(seed)
    weights = [1 / rank for rank in range(1, kinds + 1)]
    names = [f"model{rank}" for rank in range(kinds)]
    return [
        Work(number=number, at=at(number), models=draw.choices(names, weights)[0], seconds=seconds)
        for number in range(n)
    ]


def shifted(works: Sequence[Work]) -> list[Work]:
    """The same with the popularity turned round half-way: what was asked for most is asked for least."""
    names = sorted({work.models for work in works})
    turned = dict(zip(names, reversed(names), strict=True))
    return [
        replace(work, models=turned[work.models]) if 2 * index >= len(works) else work
        for index, work in enumerate(works)
    ]


def clairvoyant(works: Sequence[Work], workers: int, *, load: float) -> float:
    """No schedule is done sooner, even one that knows everything, when all jobs wait from the beginning.

    In a time T a worker that serves a model has T - load for it, so each model is loaded at least its work / (T - load)
    times, and each worker that is used loads something; all work and all loads must fit into workers × T. The least
    such T is found by halving; that the pieces may not fit together is left out, so it is a bound, not a schedule.
    """
    totals: dict[str, float] = {}
    for work in works:
        totals[work.models] = totals.get(work.models, 0.0) + work.seconds
    low, high = load, load * (len(works) + 1) + sum(totals.values())
    for _ in range(60):
        middle = (low + high) / 2
        loads = sum(math.ceil(total / max(middle - load, 1e-9) - 1e-9) for total in totals.values())
        fits = sum(totals.values()) + max(loads, workers) * load <= workers * middle
        low, high = (low, middle) if fits else (middle, high)
    return high


_SEEDS = range(1, 9)


def main() -> None:
    """What `checkpoints` measures, in virtual time, once costs are learned; for eight draws."""
    for said, apart in (("all wait from the beginning", 0.0), ("one comes each millisecond", 0.001)):
        found = [_learned(seed, apart=apart) for seed in _SEEDS]
        ratios = [ratio for ratio, _ in found]
        loads = statistics.mean(loads for _, loads in found)
        print(
            f"{said}: makespan over the bound {statistics.mean(ratios):.3f}"
            f" ({min(ratios):.3f} to {max(ratios):.3f}), {loads:.0f} loads"
        )


def _learned(seed: int, *, apart: float) -> tuple[float, int]:
    """Makespan over the bound, and loads; the same jobs were run once before."""
    works = zipf(400, 6, seconds=0.1, seed=seed, at=lambda number: number * apart)
    gateway = Gateway()
    machines = [[Machine(id=model.WorkerId(f"w{number}")) for number in range(8)] for _ in range(2)]
    gateway.run(works, machines[0], load=1.0)
    result = Gateway(costs=gateway.costs).run(works, machines[1], load=1.0)
    return result.makespan / clairvoyant(works, 8, load=1.0), result.loads


if __name__ == "__main__":
    main()
