"""docs/reference/metrics.md is drawn from what /metrics tells; run this file to write it anew."""

from __future__ import annotations

from pathlib import Path

import prometheus_client as prometheus

from gateway import retention
from gateway.api.metrics import Metrics
from gateway.delivery import metrics as delivery
from gateway.domain import model
from gateway.domain.states import JobStatus

PAGE = Path(__file__).parents[2] / "docs/reference/metrics.md"

#: What to be woken for, and what it means.
ALERTS = (
    (
        "`/readyz` is not 200 for a minute",
        "nothing is taken; its body says why",
    ),
    (
        "`comfy_gateway_storage_refusing == 1`",
        "the disk is full or away, orders are refused",
    ),
    (
        '`sum(comfy_gateway_workers{state=~"unreachable\\|quarantined"}) > 0` for 10 minutes',
        "somebody has to look at a worker; `comfy-gateway workers` says at which",
    ),
    (
        '`comfy_gateway_jobs{status="queued"} > 0 and on() comfy_gateway_jobs{status="running"} == 0` for 10 minutes',
        "what waits can run nowhere, or is paused; `comfy-gateway jobs why ID` says which",
    ),
    (
        "`comfy_gateway_webhook_oldest_seconds > 900`",
        "a receiver takes nothing",
    ),
    (
        '`rate(comfy_gateway_http_requests_total{status=~"5.."}[5m]) > 0`',
        "the database is away (503), or a defect of ours (500): the log says which",
    ),
)
WOKEN = "## What to be woken for\n| | |\n| --- | --- |\n" + "\n".join(f"| {when} | {why} |" for when, why in ALERTS)


def told() -> list[prometheus.Metric]:
    """Everything that a gateway with a disk budget tells, by name."""
    metrics = Metrics()
    delivery.Metrics(metrics.registry)
    metrics.kept(retention.Tally(held=0), refusing=False)
    return sorted(metrics.registry.collect(), key=lambda family: family.name)


def row(family: prometheus.Metric) -> str:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return f"| `{name}` | {family.type} | {family.documentation} |"


def page() -> str:
    rows = "\n".join(map(row, told()))
    statuses = ", ".join(f"`{status}`" for status in JobStatus)
    states = ", ".join(f"`{state}`" for state in model.WorkerState)
    return f"""# Metrics

`GET /metrics` is text for Prometheus. It needs an API key where keys are configured.

| name | type | |
| --- | --- | --- |
{rows}

`status` of a job is one of {statuses}.
These are jobs that are still kept: `succeeded` shrinks as jobs outlive their retention, so it is no count of what was
done; `comfy_gateway_worker_jobs_done` is, by worker, since the gateway first knew it.
`state` of a worker is one of {states}.
What is "since the start" begins anew with each server.

{WOKEN}

How long jobs wait and run, and how often they were tried, is not among the numbers: each job tells it (`metrics` and
`attempts` of `GET /api/v2/jobs/{{id}}`), each end is a line of the log, and `comfy-gateway bench` measures it.

Drawn from the code; a test keeps it the same.
"""


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page()


def test_what_nobody_counts_is_not_told() -> None:
    metrics = Metrics()
    metrics.kept(retention.Tally(), refusing=False)
    assert b"comfy_gateway_stored_bytes" not in metrics.render({}, ())


if __name__ == "__main__":
    PAGE.write_text(page())
