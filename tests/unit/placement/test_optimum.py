"""Small cases against the best that any schedule could do, found by trying all of them."""

from __future__ import annotations

import itertools
import random
import statistics

from benchmarks import virtual
from gateway.domain import model

LOAD = 1.0


def best(works: list[virtual.Work], machines: int) -> float:
    """The least makespan: every way to spread the jobs, each worker running jobs of one model together."""
    found = float("inf")
    for spread in itertools.product(range(machines), repeat=len(works)):
        ends = [0.0] * machines
        held: set[tuple[int, str]] = set()
        for work, machine in zip(works, spread, strict=True):
            ends[machine] += work.seconds + (LOAD if (machine, work.models) not in held else 0.0)
            held.add((machine, work.models))
        found = min(found, max(ends))
    return found


def fleet(count: int) -> list[virtual.Machine]:
    return [virtual.Machine(id=model.WorkerId(f"w{number}")) for number in range(count)]


def test_near_the_optimum_once_costs_are_known() -> None:
    draw = random.Random(4)
    gateway = virtual.Gateway()
    gateway.run(virtual.zipf(60, 3, seconds=0.3, seed=1), fleet(2), load=LOAD)
    ratios: list[float] = []
    for _ in range(120):
        count = draw.choice((2, 3))
        works = [
            virtual.Work(number=number, at=0.0, models=f"model{draw.randrange(3)}", seconds=0.3)
            for number in range(draw.randint(2, 6))
        ]
        ratios.append(gateway.run(works, fleet(count), load=LOAD).makespan / best(works, count))
    assert min(ratios) > 0.999  # else it is not the optimum that this is compared with
    assert statistics.mean(ratios) < 1.1
    assert max(ratios) < 1.8


def test_loads_are_a_tenth_of_those_of_least_connections() -> None:
    """Six models after Zipf's law, one in memory a worker, loading ten times as long as a run, all queued at once."""
    works = virtual.zipf(400, 6, seconds=0.1, seed=1)
    plain = virtual.least_connections(works, fleet(8), load=LOAD)
    gateway = virtual.Gateway()
    first = gateway.run(works, fleet(8), load=LOAD)
    again = gateway.run(works, fleet(8), load=LOAD)
    assert first.loads <= plain.loads / 10
    assert again.loads <= plain.loads / 20
    assert again.makespan <= 1.15 * (sum(work.seconds for work in works) + 8 * LOAD) / 8
