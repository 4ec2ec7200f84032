"""Workers at a distance: what the way to them costs, with one job in hand and with two."""

from __future__ import annotations

import random
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks import cases, distance, fleet, scheduling, virtual
from benchmarks.figures import Figure, Goal, Scale

_SECONDS: Final = 0.2
_WAY: Final = 0.05  #: one way
_WORKERS: Final = 4
_SIGMA: Final = 1.0  #: of jobs that are not all equal


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How jobs are sent."""

    name: str
    depth: int = 1
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    goal: float | None = None
    even: bool = True  #: all jobs take equally long


_NOT_AHEAD: Final = {"COMFY_GATEWAY_PLACEMENT__AHEAD": "0"}
_WAYS: Final = (
    Way(name="depth 1, sent when the run has ended", env=_NOT_AHEAD),
    Way(name="depth 1, sent ahead"),
    Way(name="depth 2, sent when there is room", depth=2, env=_NOT_AHEAD, goal=0.95),
    Way(name="depth 2, sent ahead", depth=2, goal=0.95),
    Way(name="depth 1, sent ahead", even=False),
    Way(name="depth 2, sent ahead", depth=2, even=False),
)


def _works(way: Way, count: int) -> list[virtual.Work]:
    """Jobs that take 200 ms, each or on average."""
    draw = random.Random(5)
    return [
        virtual.Work(
            number=number,
            at=0.0,
            models="model0",
            seconds=_SECONDS if way.even else _SECONDS * draw.lognormvariate(-(_SIGMA**2) / 2, _SIGMA),
        )
        for number in range(count)
    ]


async def delays(scale: Scale) -> list[Figure]:
    """200 ms jobs on 4 workers that are 50 ms away, each way, all queued at once. Beside the efficiency stands the time
    that jobs waited on a busy worker while another had nothing to do: what is taken back waits less."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with (
            fleet.workers(_WORKERS, folder, *scheduling.models()) as urls,
            distance.relayed(urls, seconds=_WAY) as away,
        ):
            for number, way in enumerate(_WAYS):
                works = _works(way, scale.speeds)
                data = scheduling.made(folder / str(number))
                async with fleet.gateway(away, data, env=way.env, depth=way.depth) as gateway:
                    run = scheduling.through(gateway)
                    found = [await scheduling.outcome(run, works, urls) for _ in range(scale.rounds + 1)]
                figures += _figures(way, found[1:], works)
    return figures


def _figures(way: Way, found: Sequence[scheduling.Outcome], works: Sequence[virtual.Work]) -> list[Figure]:
    kind = "200 ms" if way.even else "log-normal 200 ms"
    case = f"{kind} jobs, workers 50 ms away, {way.name}"
    ideal = sum(work.seconds for work in works) / _WORKERS
    return [
        Figure(
            case=case,
            figure="efficiency",
            gateway=statistics.median(ideal / outcome.makespan for outcome in found),
            beside=ideal / cases.in_order([work.seconds for work in works], _WORKERS),
            beside_is="in order, without overhead",
            goal=None if way.goal is None else Goal(least=way.goal),
        ),
        Figure(
            case=case,
            figure="wait on a busy worker beside an idle one, a job",
            gateway=statistics.mean(outcome.wrong_waits for outcome in found) / len(works) * 1000,
            unit="ms",
        ),
    ]
