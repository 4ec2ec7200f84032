"""Rows of jobs: what news does to them, what is said and drawn of them."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from gateway.cli import board

JOB: dict[str, Any] = {"id": "01a1fde9-37cb-72d1-b2e9-51d7b311338d", "status": "queued", "outputs": [], "error": None}
STORY: list[tuple[str, dict[str, Any]]] = [
    ("job", {**JOB, "queue_position": 2}),
    ("status", {"status": "queued", "queue_position": 1}),
    ("status", {"status": "running", "queue_position": None}),
    ("job", {**JOB, "status": "running", "worker": "gpu0"}),
    ("progress", {"value": 0.1, "current_node_class": "KSampler", "step": 2, "steps": 20}),
    ("progress", {"value": 0.3, "current_node_class": "KSampler", "step": 6, "steps": 20}),
    ("preview", {"node_id": "3", "data_base64": ""}),
    ("output", {"name": "a.png"}),
    ("status", {"status": "succeeded"}),
    ("job", {**JOB, "status": "succeeded", "worker": "gpu0", "metrics": {"execution_ms": 4200}}),
]


def told(story: list[tuple[str, dict[str, Any]]]) -> tuple[list[str], board.Row]:
    row, lines = board.Row(label="sdxl seed 7"), list[str]()
    for now, (name, data) in enumerate(story):
        after = row.seeing(name, data, float(now))
        if line := board.change(row, after):
            lines.append(line)
        row = after
    return lines, row


def test_a_story_in_lines() -> None:
    lines, row = told(STORY)
    assert lines == [
        "sdxl seed 7: queued, position 2",
        "sdxl seed 7: running on gpu0",
        "sdxl seed 7: 30%, KSampler 6/20",
        "sdxl seed 7: done after 4.2 s on gpu0",
    ]
    assert row.ended
    assert row.value == 1.0


def test_a_lost_attempt_begins_anew() -> None:
    lines, row = told([*STORY[:6], ("status", {"status": "queued", "queue_position": 1})])
    assert lines[-1] == "sdxl seed 7: queued, position 1"
    assert row.value == 0.0


def test_a_failure_says_why() -> None:
    failed = {**JOB, "status": "failed", "worker": "gpu0", "error": {"message": "Node 3 (KSampler): no memory"}}
    lines, _ = told([*STORY[:4], ("job", failed)])
    assert lines[-1] == "sdxl seed 7: failed on gpu0: Node 3 (KSampler): no memory"


def test_canceling_does_not_go_back() -> None:
    _, row = told([*STORY[:4], ("status", {"status": "canceling"}), ("progress", {"value": 0.5})])
    assert row.words == "canceling"


def drawn(rows: list[board.Row], *, height: int, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    with console.capture() as capture:
        console.print(board.render(rows, width=width, height=height, now=10.0))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_bars() -> None:
    rows = [told(STORY[:length])[1] for length in (1, 6, 10)]
    queued, running, done = drawn(rows, height=30)
    assert "queued, position 2" in queued
    assert "30%  KSampler 6/20" in running
    assert "gpu0" in running
    assert "100%  done" in done
    assert "4.2 s" in done


def test_many_rows_keep_to_the_terminal() -> None:
    rows = [
        *(board.Row(label=f"done {number}", status="succeeded") for number in range(40)),
        *(board.Row(label=f"running {number}", status="running") for number in range(4)),
        *(board.Row(label=f"waiting {number}") for number in range(60)),
    ]
    lines = drawn(rows, height=24)
    assert len(lines) == 21
    assert sum("running" in line.split()[0] for line in lines) == 4
    assert lines[-1] == "40 done, 4 running, 60 queued"
    assert any(line.startswith("done 39") for line in lines)
    assert any(line.startswith("waiting 0") for line in lines)


@pytest.mark.parametrize(("running", "waiting"), [(20, 0), (19, 1)])
def test_running_jobs_that_fill_the_terminal_leave_no_room_for_what_ended(running: int, waiting: int) -> None:
    rows = [
        *(board.Row(label=f"done {number}", status="succeeded") for number in range(99)),
        *(board.Row(label=f"running {number}", status="running") for number in range(running)),
        *(board.Row(label=f"waiting {number}") for number in range(10)),
    ]
    lines = drawn(rows, height=24)
    assert [line.split()[0] for line in lines[:-1]] == [*["running"] * running, *["waiting"] * waiting]
    assert lines[-1] == f"99 done, {running} running, 10 queued"


def test_what_ended_gets_the_room_that_nothing_else_takes() -> None:
    rows = [board.Row(label=f"done {number}", status="succeeded") for number in range(3)]
    rows += [board.Row(label=f"running {number}", status="running") for number in range(19)]
    assert [line.split()[0] for line in drawn(rows, height=24)[:-1]] == ["done", *["running"] * 19]


def test_a_narrow_terminal_gets_no_wrapped_lines() -> None:
    rows = [told(STORY[:6])[1], told(STORY)[1]]
    assert len(drawn(rows, height=24, width=40)) == 2
