"""Workers as a table."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from gateway.cli import worker_tables

WORKER: dict[str, Any] = {
    "id": "gpu0",
    "url": "http://127.0.0.1:9188",
    "state": "idle",
    "device": "cuda:0 NVIDIA L4 : cudaMallocAsync",
    "jobs": [],
    "loaded": ["checkpoints/sd_xl_base_1.0.safetensors"],
    "jobs_done": 12,
    "restarts": 0,
}
AWAY: dict[str, Any] = {
    **WORKER,
    "id": "127.0.0.1:9199",
    "url": "http://127.0.0.1:9199",
    "state": "unreachable",
    "device": None,
    "last_error": "http://127.0.0.1:9199 refused the connection",
}


def drawn(*workers: dict[str, Any], width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(worker_tables.table(workers, now=0.0, width=width))
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_what_is_wrong_stands_below_the_table_in_one_line(width: int) -> None:
    lines = drawn(WORKER, {**AWAY, "log_tail": "one\ntwo"}, width=width)
    below = lines[lines.index("") + 1 :]
    assert below == ["127.0.0.1:9199: refused the connection", "  one", "  two"]
    rows = [line for line in lines if line.startswith(("gpu0", "127.0.0.1:9199 "))]
    assert len(rows) == 2
    assert not [line for line in rows if "http" in line]  # its id says where it is


def test_what_was_wrong_with_a_worker_that_works_again_is_not_told() -> None:
    assert "" not in drawn({**AWAY, "state": "idle"}, width=120)


def test_a_very_narrow_screen_has_what_they_do() -> None:
    lines = drawn(WORKER, AWAY, width=40)
    assert lines[0].split() == ["worker", "state", "job"]
    assert [line.split() for line in lines[2:4]] == [["gpu0", "idle"], ["127.0.0.1:9199", "unreachable"]]
