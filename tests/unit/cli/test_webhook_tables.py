"""Webhook deliveries as a table."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from gateway.cli import webhook_tables

JOB = "01a1fde9-37cb-72d1-b2e9-51d7b311338d"
DELIVERY: dict[str, Any] = {
    "id": f"msg_{JOB}_12",
    "job_id": JOB,
    "type": "job.succeeded",
    "status": "pending",
    "tries": 3,
    "response_status": 503,
    "created_at": "2026-11-21T20:00:00Z",
    "error": "it answered 503 Service Unavailable, and not that it has what it was told",
}


@pytest.mark.parametrize("width", [80, 120, 200])
def test_ids_are_whole_words_to_copy(width: int) -> None:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(webhook_tables.table([DELIVERY], now=1_795_291_300.0))
    (row,) = [line.split() for line in out.getvalue().splitlines() if "pending" in line]
    assert row[:6] == ["b311338d_12", "b311338d", "job.succeeded", "pending", "3", "503"]
