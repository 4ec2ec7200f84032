"""All cases by name, and about how long each takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks import batches, cases, estimates, fairness, far, peers, scale, scheduling
from benchmarks.figures import Figure, Scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Something to measure."""

    measure: Callable[[Scale], Awaitable[Sequence[Figure]]]
    seconds: float  #: that it takes whole on two cores, about


CASES: Final[Mapping[str, Case]] = {
    "throughput": Case(measure=cases.throughput, seconds=60),
    "burst": Case(measure=cases.burst, seconds=60),
    "uniform": Case(measure=cases.uniform, seconds=75),
    "lognormal": Case(measure=cases.lognormal, seconds=100),
    "latency": Case(measure=cases.latency, seconds=40),
    "memory": Case(measure=cases.memory, seconds=20),
    "tenants": Case(measure=fairness.tenants, seconds=30),
    "interactive": Case(measure=fairness.interactive, seconds=75),
    "batches": Case(measure=batches.batches, seconds=35),
    "checkpoints": Case(measure=scheduling.checkpoints, seconds=330),
    "speeds": Case(measure=scheduling.speeds, seconds=75),
    "peers": Case(measure=peers.peers, seconds=180),
    "delays": Case(measure=far.delays, seconds=350),
    "estimates": Case(measure=estimates.estimates, seconds=40),
    "scale": Case(measure=scale.scale, seconds=90),
}
