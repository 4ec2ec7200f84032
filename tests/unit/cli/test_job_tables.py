"""Jobs as tables, and what is said of where they are."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from gateway.cli import job_tables, shapes

JOB: dict[str, Any] = {
    "id": "01a1fde9-37cb-72d1-b2e9-51d7b311338d",
    "status": "succeeded",
    "template": "portrait-with-a-long-name",
    "worker": "127.0.0.1:9188",
    "outputs": [],
    "created_at": "2026-11-21T20:00:00Z",
    "metrics": {"execution_ms": 12_000},
}


@pytest.mark.parametrize(("width", "more"), [(40, []), (80, ["127.0.0.1:9188", "12 s"]), (200, ["127.0.0.1:9188"])])
def test_ids_are_whole_at_any_width(width: int, more: list[str]) -> None:
    out = io.StringIO()
    made = job_tables.table([shapes.Job.of(JOB)], now=1_795_291_300.0, width=width)
    Console(file=out, width=width, color_system=None).print(made)
    assert max(map(len, out.getvalue().splitlines())) <= width
    for word in ("b311338d", "succeeded", *more):
        assert word in out.getvalue()


@pytest.mark.parametrize(
    ("placement", "ended", "said"),
    [
        ({"status": "queued", "worker": None, "reason": "all are busy"}, False, "queued: all are busy"),
        ({"status": "running", "worker": "sim1", "reason": "it is idle"}, False, "running on sim1: it is idle"),
        (
            {"status": "canceled", "worker": "sim1", "reason": "it is idle"},
            True,
            "canceled; it was given to sim1: it is idle",
        ),
        ({"status": "canceled", "worker": None, "reason": "never given"}, True, "canceled: never given"),
    ],
)
def test_where_it_is_and_why(placement: dict[str, Any], ended: bool, said: str) -> None:
    assert job_tables.placed(placement, ended=ended) == said
