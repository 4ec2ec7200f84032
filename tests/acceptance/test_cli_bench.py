"""`comfy-gateway bench` against a real gateway with simulated workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.program import COMMAND, Running, call, environment, until, up


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("gateway")
    with up(folder, "--simulate", "2", "--simulate-args", "--card instant --step-ms 20") as running:
        running.workers("idle", 2)
        yield running
        running.stop()


def bench(folder: Path, there: Mapping[str, str], *words: str) -> Any:
    done = call(folder, "bench", *words, "--json", more=there)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def newest(gateway: Running) -> list[str]:
    """The id of the job that was ordered last."""
    return [job["id"] for job in gateway.get("/api/v2/jobs?limit=1")["jobs"]]


def test_without_a_word_it_needs_no_model_and_tells_all_there_is(
    gateway: Running, there: Mapping[str, str], tmp_path: Path
) -> None:
    told = bench(tmp_path, there, "-n", "12")
    assert (told["workload"], told["jobs"], told["outcomes"]) == ("contact-sheet", 12, {"succeeded": 12})
    assert told["jobs_per_second"] > 0
    assert {*told["latency_ms"]} == {"queue", "run", "total"}
    total = told["latency_ms"]["total"]
    assert 0 < total["p50"] <= total["p90"] <= total["p99"]
    queued = told["eta"]["queued"]  # what went before has taught how long such a job takes
    assert 0 < queued["jobs"] <= 12
    assert 0 <= queued["done_by_p50"] <= queued["done_by_p90"] <= 1
    assert sum(worker["jobs"] for worker in told["workers"]) == 12
    assert {worker["id"] for worker in told["workers"]} == {"sim1", "sim2"}
    assert told["simulated"] is True
    jobs = gateway.get("/api/v2/jobs?limit=16")["jobs"]
    assert len({job["inputs"]["color"] for job in jobs}) == 16  # four to warm up: no two are alike


def test_people_get_tables_and_see_how_far_it_is(there: Mapping[str, str], tmp_path: Path) -> None:
    done = call(tmp_path, "bench", "sd15", "prompt=a fox", "steps=2", "-n", "8", "--width", "2", more=there)
    assert done.returncode == 0, done.stderr
    assert "8 jobs of sd15 in" in done.stdout
    for title in ("Latency", "Estimates", "Workers"):
        assert title in done.stdout
    assert "Simulated" in done.stderr


def test_lines_of_a_file_are_ordered_in_turn_at_a_rate(
    gateway: Running, there: Mapping[str, str], tmp_path: Path
) -> None:
    (tmp_path / "orders.csv").write_text("prompt,steps,width,height\na,1,64,64\nb,1,64,64\n")
    told = bench(tmp_path, there, "sd15", "--inputs", "orders.csv", "--rate", "40", "-n", "6", "--warm-up", "0")
    assert told["outcomes"] == {"succeeded": 6}
    jobs = gateway.get("/api/v2/jobs?limit=6")["jobs"]
    assert sorted(job["inputs"]["prompt"] for job in jobs) == ["a", "a", "a", "b", "b", "b"]
    seeds = {(job["inputs"]["prompt"], job["inputs"]["seed"]) for job in jobs}
    assert len(seeds) == 6


def test_a_workflow_of_ones_own(there: Mapping[str, str], tmp_path: Path) -> None:
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 16, "batch_size": 1, "color": 255}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "blue"}},
    }
    (tmp_path / "blue.json").write_text(json.dumps(graph))
    done = call(tmp_path, "bench", "blue.json", "-n", "3", "--json", more=there)
    assert json.loads(done.stdout)["outcomes"] == {"succeeded": 3}
    assert "alike" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sd15", "steps=many"), "steps"),
        (("sd15", "prompt=x", "--vary", "sed"), "Did you mean seed"),
        (("sd15", "prompt=x", "--vary", "prompt"), "no whole number"),
        (("sd15", "prompt=x", "--width", "2", "--rate", "3"), "one of them"),
        (("nothing-of-the-kind",), "nothing-of-the-kind"),
    ],
    ids=["a wrong value", "no such parameter", "text does not count", "two paces", "no such template"],
)
def test_what_is_wrong_is_told_before_anything_is_ordered(
    gateway: Running, there: Mapping[str, str], tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    before = newest(gateway)
    done = call(tmp_path, "bench", *words, more=there)
    assert done.returncode == 2
    assert said in done.stderr
    assert newest(gateway) == before


def test_ctrl_c_cancels_what_was_ordered(gateway: Running, there: Mapping[str, str], tmp_path: Path) -> None:
    words = ("bench", "sd15", "prompt=slow", "steps=150", "-n", "30", "--json")
    process = subprocess.Popen(
        [COMMAND, *words],
        cwd=tmp_path,
        env=environment(**there),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    until(lambda: gateway.get("/api/v2/jobs?status=running&limit=2")["jobs"], "a job to run")
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert gateway.get("/api/v2/jobs?status=queued")["jobs"] == []
    until(lambda: not gateway.get("/api/v2/jobs?status=running")["jobs"], "the rest to end")
