"""What figures of `make bench` are made of: goals, and the sums over the workers' logs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from benchmarks import __main__ as program
from benchmarks import cases, catalog, logs
from benchmarks.figures import COMPARISON, QUICK, Figure, Goal, Scale


def figure(value: float, goal: Goal | None = None, *, beside: float | None = None) -> Figure:
    return Figure(case="case", figure="figure", gateway=value, beside=beside, goal=goal, unit="ms")


@pytest.mark.parametrize(
    ("given", "met", "words"),
    [
        (figure(3.0, Goal(most=3)), True, "≤ 3 ms"),
        (figure(3.1, Goal(most=3)), False, "≤ 3 ms"),
        (figure(0.98, Goal(least=0.985, of_ratio=True), beside=1.0), False, "≥ 0.985 × direct"),
        (figure(1.97, Goal(least=0.985, of_ratio=True), beside=2.0), True, "≥ 0.985 × direct"),
        (figure(1.0, Goal(least=0.985, of_ratio=True)), False, "≥ 0.985 × direct"),
        (figure(0.5, Goal(least=0.4, most=0.6)), True, "0.4 to 0.6 ms"),
        (figure(7.0), None, COMPARISON),
    ],
)
def test_a_goal_is_met_or_not(given: Figure, met: bool | None, words: str) -> None:
    told = given.as_dict()
    assert (told["met"], told["goal"]) == (met, words)


def record(worker: str, received: float, started: float, ended: float) -> dict[str, Any]:
    return {"worker": worker, "received": received, "started": started, "ended": ended}


def test_a_wait_beside_an_idle_worker_is_counted_and_any_other_is_not() -> None:
    busy = [record("a", 0, 0, 2), record("b", 0, 0, 1)]
    waiting = record("a", 0.5, 2, 3)  # b is idle from 1 on
    assert logs.wrong_waits([*busy, waiting], ["a", "b"]) == pytest.approx(1.0)
    assert logs.wrong_waits([*busy, waiting, record("b", 0.5, 1, 3)], ["a", "b"]) == 0
    assert logs.wrong_waits(busy, ["a", "b", "c"]) == 0
    assert logs.served([*busy, waiting]) == pytest.approx(4.0)
    assert logs.makespan([*busy, waiting]) == pytest.approx(3.0)


def test_in_order_each_job_goes_to_the_worker_that_is_free_first() -> None:
    assert cases.in_order([3, 1, 1, 1], 2) == 3
    assert cases.in_order([1, 1, 1, 3], 2) == 4


def test_quick_is_less_of_everything() -> None:
    assert all(getattr(QUICK, name) <= getattr(Scale(), name) for name in Scale.__dataclass_fields__)
    assert all(case.seconds > 0 for case in catalog.CASES.values())


async def test_a_case_that_fails_loses_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def broken(_scale: Scale) -> Sequence[Figure]:
        raise ConnectionResetError(104, "reset [by] peer")

    async def whole(_scale: Scale) -> Sequence[Figure]:
        return [figure(7.0)]

    those = {"broken": catalog.Case(measure=broken, seconds=1), "whole": catalog.Case(measure=whole, seconds=1)}
    run = program.Run(quick=True, path=tmp_path / "results" / "bench.json")
    await program.measure(those, run, Console())
    kept = orjson.loads(run.path.read_bytes())
    assert kept["failed"] == {"broken": "ConnectionResetError: [Errno 104] reset [by] peer"}
    assert [each["gateway"] for each in kept["figures"]] == [7.0]
    told = capsys.readouterr()
    assert "failed (ConnectionResetError: [Errno 104] reset [by] peer)" in told.out
    assert "Traceback" in told.err
