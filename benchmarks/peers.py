"""What others make of the work of `lognormal` and `speeds`: a client that posts to the workers in turn, nginx with
`least_conn`, and our own `least_connections`. (Those of `checkpoints` stand there.)"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import cases, fleet, scheduling, virtual
from benchmarks.figures import Figure, Scale


async def peers(scale: Scale) -> list[Figure]:
    """Efficiency of each, on uneven jobs and on uneven cards."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with fleet.workers(8, folder, *scheduling.models()) as urls:
            works = _works(cases.uneven(scale.lognormal))
            jobs = await _measured(works, urls, scheduling.made(folder / "uneven"))
        async with (
            fleet.workers(1, scheduling.made(folder / "fast"), *scheduling.models()) as fast,
            fleet.workers(1, scheduling.made(folder / "slow"), "--slowness", "3", *scheduling.models()) as slow,
        ):
            even = _works([0.1] * scale.speeds)
            cards = await _measured(even, [*fast, *slow], scheduling.made(folder / "cards"))
    return [
        *_figures(f"{len(works):,} log-normal jobs, 8 workers", works, jobs, could=8.0),
        *_figures("a fast and a slow card (1 : 3)", even, cards, could=1 + 1 / 3),
    ]


def _works(services: Sequence[float]) -> list[virtual.Work]:
    return [
        virtual.Work(number=number, at=0.0, models="model0", seconds=seconds) for number, seconds in enumerate(services)
    ]


async def _measured(
    works: Sequence[virtual.Work], urls: Sequence[str], folder: Path
) -> Mapping[str, scheduling.Outcome]:
    found = await scheduling.peers(works, urls, folder)
    plain, _ = await scheduling.through_gateway(works, urls, folder / "plain", env=scheduling.PLAIN, rounds=0)
    return {**found, "least_connections": plain}


def _figures(
    case: str, works: Sequence[virtual.Work], found: Mapping[str, scheduling.Outcome], *, could: float
) -> list[Figure]:
    """`could`: seconds of work that all workers together do a second."""
    ideal = sum(work.seconds for work in works) / could
    return [
        Figure(case=case, figure=f"efficiency, {name}", gateway=ideal / outcome.makespan)
        for name, outcome in found.items()
    ]
