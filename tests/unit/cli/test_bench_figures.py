"""The figures of a bench, from jobs as the gateway tells them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.cli import bench_figures, shapes, workload
from gateway.domain.templates import model as templates


def at(seconds: float) -> str:
    return datetime.fromtimestamp(1_000_000 + seconds, tz=UTC).isoformat(timespec="milliseconds")


def seen(
    number: int,
    end: float,
    *,
    eta: tuple[float, float] | None = None,
    first: str = "queued",
    status: str = "succeeded",
    worker: str = "gpu0",
) -> bench_figures.Seen:
    raw: dict[str, Any] = {
        "id": str(number),
        "created_at": at(0),
        "eta": eta and {"p50": at(eta[0]), "p90": at(eta[1])},
    }
    ended = {**raw, "completed_at": at(end), "worker": worker, "metrics": {"queue_ms": 100, "execution_ms": 1000}}
    error = {"error": {"code": "out_of_memory", "message": "…"}} if status == "failed" else {}
    return bench_figures.Seen(
        first=shapes.Job.of({**raw, "status": first}), last=shapes.Job.of({**ended, **error, "status": status})
    )


def test_figures_of_ten_jobs_on_two_workers() -> None:
    jobs = [seen(number, number + 1, eta=(number + 1.5, number + 3), worker=f"gpu{number % 2}") for number in range(5)]
    jobs += [seen(number, number + 1, eta=(number, number + 0.5)) for number in range(5, 9)]
    jobs += [seen(9, 10, first="running", eta=(10, 11))]
    told = bench_figures.report("sdxl", jobs).as_dict()
    assert told["jobs"] == 10
    assert told["outcomes"] == {"succeeded": 10}
    assert (told["seconds"], told["jobs_per_second"]) == (10.0, 1.0)
    assert told["latency_ms"]["queue"] == {"p50": 100.0, "p90": 100.0, "p99": 100.0}
    assert told["latency_ms"]["total"] == {"p50": 5500.0, "p90": 9100.0, "p99": 9910.0}
    assert told["eta"]["queued"]["jobs"] == 9
    assert told["eta"]["queued"]["done_by_p50"] == pytest.approx(5 / 9, abs=1e-4)
    assert told["eta"]["queued"]["done_by_p90"] == pytest.approx(5 / 9, abs=1e-4)
    assert told["eta"]["queued"]["median_error_ms"] == 500
    assert told["eta"]["running"] == {"jobs": 1, "done_by_p50": 1.0, "done_by_p90": 1.0, "median_error_ms": 0}
    assert told["workers"] == [
        {"id": "gpu0", "jobs": 8, "share": 0.8, "busy": 0.8},
        {"id": "gpu1", "jobs": 2, "share": 0.2, "busy": 0.2},
    ]


def test_what_failed_counts_for_nothing_but_the_outcomes() -> None:
    found = bench_figures.report("sdxl", [seen(1, 2, eta=(1, 3)), seen(2, 3, eta=(9, 9), status="failed")])
    told = found.as_dict()
    assert told["outcomes"] == {"succeeded": 1, "failed": 1}
    assert told["errors"] == {"out_of_memory": 1}
    assert told["eta"]["queued"]["jobs"] == 1
    assert "1 failed" in found.sentence


def test_without_an_estimate_or_a_job_there_is_nothing_to_say() -> None:
    assert bench_figures.report("sdxl", [seen(1, 2)]).as_dict()["eta"] == {}
    nothing = bench_figures.report("sdxl", [])
    assert nothing.as_dict()["jobs_per_second"] == 0.0
    assert nothing.tables() == []


def test_numbers_count_up_and_begin_anew_at_the_largest() -> None:
    target = (templates.Target("1", "color"),)
    color = templates.Parameter(
        name="color", type=templates.ParameterType.INTEGER, targets=target, minimum=10, maximum=12
    )
    count = workload.Count.of(color, 11)
    assert [count.at(number) for number in range(5)] == [11, 12, 10, 11, 12]
    assert 10 <= workload.Count.of(color).at(0) <= 12
    seed = templates.Parameter(name="seed", type=templates.ParameterType.SEED, targets=target)
    assert workload.Count.of(seed, 7).at(3) == 10
    assert workload.Count.of(seed, -1).at(0) >= 0


def test_numbers_begin_at_their_value_or_default_and_only_seeds_anywhere() -> None:
    target = (templates.Target("5", "width"),)
    width = templates.Parameter(
        name="width", type=templates.ParameterType.INTEGER, targets=target, default=512, minimum=64, maximum=2**40
    )
    assert [workload.Count.of(width).at(number) for number in range(3)] == [512, 513, 514]
    assert workload.Count.of(width, 768).at(0) == 768
    assert workload.Count.of(dataclasses.replace(width, default=None)).at(0) == 64
    assert workload.Count.of(dataclasses.replace(width, minimum=-5), -1).at(0) == -1
    drawn = {workload.Count.of(width, drawn=True).at(0) for _ in range(8)}
    assert len(drawn) > 1
    assert min(drawn) >= 64


def test_one_pace_is_told_in_both_units() -> None:
    told = bench_figures.report("sdxl", [seen(number, 0.5) for number in range(2)]).sentence
    assert told == "2 jobs of sdxl in 0.5 s: 4.0 a second, 14,400 an hour"


def test_estimates_say_how_much_they_were_learned_from() -> None:
    jobs = [seen(number, number + 1, eta=(1, 2)) for number in range(3)]
    titles = [title for title, _ in bench_figures.report("sdxl", jobs, warmed=4).tables()]
    assert "Estimates: the first `eta` of each job, after 4 to learn from" in titles
