"""Jobs as tables."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from gateway.cli import client, failures, ordering, output, shapes

if TYPE_CHECKING:
    from rich.console import RenderableType

_LOOK_THROUGH = 1000  #: of the newest jobs, for one whose id ends so
_LONGEST_VALUE = 300
_NARROW = 60  #: columns in which a listing has no room for all that it tells


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which jobs."""

    status: str | None
    template: str | None
    metadata: tuple[str, ...]
    limit: int

    def filters(self) -> dict[str, str]:
        """As the listing's query."""
        found = {"status": self.status, "template": self.template}
        notes = ordering.pairs(self.metadata, "--metadata")
        return {
            **{name: value for name, value in found.items() if value is not None},
            **{f"metadata[{key}]": value for key, value in notes.items()},
        }


async def find(gateway: client.Gateway, text: str) -> shapes.Job:
    """The job of this id, or the newest ones' only one whose id ends so; Wrong when there is none."""
    try:
        return await gateway.job(text)
    except failures.Refused as refused:
        if refused.http_status != 404:
            raise
    ending = text.lower()
    found = [job async for job in gateway.jobs({}, limit=_LOOK_THROUGH) if len(ending) >= 4 and job.id.endswith(ending)]
    if len(found) == 1:
        return await gateway.job(found[0].id)
    if found:
        raise failures.Wrong(f"several jobs' ids end with {text}", way_out="give more of it")
    raise failures.Wrong(f"there is no job {text}", way_out="`comfy-gateway jobs list` shows them")


async def listing(wish: Wish, url: str, api_key: str | None, screen: output.Screen) -> None:
    """Show a table of jobs."""
    async with client.connect(url, api_key) as gateway:
        jobs = [job async for job in gateway.jobs(wish.filters(), limit=wish.limit)]
    if screen.as_json:
        screen.json({"jobs": [job.raw for job in jobs]})
    elif jobs:
        screen.out.print(table(jobs, now=time.time(), width=screen.out.width))
    else:
        screen.note("There are no such jobs.")


def table(jobs: Sequence[shapes.Job], *, now: float, width: int) -> RenderableType:
    """The jobs, one a row. On a very narrow screen: what tells one from the other, whole."""
    names = ("id", "status", "what", *(("worker", "files", "took", "age") if width >= _NARROW else ()))
    keep = ["id", "status", "worker", "age", "took"]
    made = output.table(*names, right=["files", "took", "age"], keep=keep)
    for job in jobs:
        cells = (
            output.plain(shapes.short(job.id)),
            output.plain(job.status, style=shapes.STYLES.get(job.status, "")),
            output.plain(_what(job)),
            output.plain(job.worker or ""),
            str(len(job.outputs) or ""),
            output.duration(job.seconds),
            output.duration(now - shapes.epoch(job.raw["created_at"])),
        )
        made.add_row(*cells[: len(names)])
    return made


def _what(job: shapes.Job) -> str:
    return f"{job.template or 'workflow'}{' (simulated)' if job.simulated else ''}"


async def one(job_id: str, url: str, api_key: str | None, screen: output.Screen) -> None:
    """Show one job with all there is."""
    async with client.connect(url, api_key) as gateway:
        job = await find(gateway, job_id)
    if screen.as_json:
        screen.json(job.raw)
        return
    screen.out.print(_facts(job))
    for title, part in _parts(job):
        screen.out.print()
        screen.out.print(output.plain(title, style="bold"))
        screen.out.print(part)
    _show_outputs(job, screen)


async def why(job_id: str, url: str, api_key: str | None, screen: output.Screen) -> None:
    """Tell why a job waits, or why it ran where it did."""
    async with client.connect(url, api_key) as gateway:
        job = await find(gateway, job_id)
        placement = await gateway.placement(job.id)
    if screen.as_json:
        screen.json(placement)
        return
    screen.out.print(output.plain(placed(placement, ended=job.ended)))
    if placement.get("queue_position"):
        screen.out.print(output.plain(f"position {placement['queue_position']} in the queue"))
    expected = placement.get("eta")
    if expected:
        screen.out.print(output.plain(f"expected at {expected['p50']}, by {expected['p90']} at nine in ten"))


def placed(placement: Mapping[str, Any], *, ended: bool) -> str:
    """Where it is, or was, and why: the reason speaks of the moment in which it was given to the worker."""
    status, worker, reason = (placement.get(key) for key in ("status", "worker", "reason"))
    if not worker or status == "queued":
        return f"{status}: {reason}"
    return f"{status}; it was given to {worker}: {reason}" if ended else f"{status} on {worker}: {reason}"


def _facts(job: shapes.Job) -> RenderableType:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    for name, value in _rows(job):
        if value:
            style = shapes.STYLES.get(job.status, "") if name == "status" else ""
            grid.add_row(output.plain(name, style="dim"), output.plain(value, style=style))
    return grid


def _rows(job: shapes.Job) -> list[tuple[str, str]]:
    raw = job.raw
    metrics: Mapping[str, Any] = raw.get("metrics") or {}
    waited, position = metrics.get("queue_ms"), raw.get("queue_position")
    known = job.progress
    return [
        ("job", job.id),
        ("status", job.status + (f", position {position}" if position else "")),
        ("what", _what(job) + (f", version {raw['template_version']}" if raw.get("template_version") else "")),
        ("progress", f"{known.value:.0%} {known.words}".strip() if known and not job.ended else ""),
        ("worker", job.worker or ""),
        ("ordered", raw["created_at"]),
        ("expected", "" if not raw.get("eta") else f"{raw['eta']['p50']}, by {raw['eta']['p90']} at nine in ten"),
        ("waited", "" if waited is None else output.duration(waited / 1000)),
        ("ran", output.duration(job.seconds)),
        ("kept until", raw["expires_at"]),
        ("priority", str(raw.get("priority") or "")),
        ("batch", raw.get("batch_id") or ""),
        ("notes", ", ".join(f"{key}={value}" for key, value in (raw.get("metadata") or {}).items())),
    ]


def _parts(job: shapes.Job) -> list[tuple[str, RenderableType]]:
    error = job.raw.get("error") or {}
    found: list[tuple[str, RenderableType | None]] = [
        ("Why it failed", _error(job) if job.complaint else None),
        ("Steps", _steps(job)),
        ("Tries", _attempts(job)),
        ("Inputs", _inputs(job)),
        ("Traceback of the worker", output.plain(str(error["traceback"])) if error.get("traceback") else None),
    ]
    return [(title, part) for title, part in found if part is not None]


def _error(job: shapes.Job) -> RenderableType:
    return output.plain(f"{job.complaint} [{job.raw['error'].get('code')}]", style="red")


def _steps(job: shapes.Job) -> RenderableType | None:
    steps: Sequence[Mapping[str, Any]] = job.raw.get("steps") or ()
    if not steps:
        return None
    made = output.table("step", "status", "template", "worker", "ran", "job", right=["ran"], keep=["step"])
    for step in steps:
        ran = None if step.get("execution_ms") is None else step["execution_ms"] / 1000
        where = (str(step.get("template") or ""), str(step.get("worker") or ""), output.duration(ran))
        made.add_row(step["name"], step["status"], *where, shapes.short(step["job_id"]) if step["job_id"] else "")
    return made


def _attempts(job: shapes.Job) -> RenderableType | None:
    attempts: Sequence[Mapping[str, Any]] = job.raw.get("attempts") or ()
    if not attempts:
        return None
    start = shapes.epoch(job.raw["created_at"])
    table = output.table(
        "#", "worker", "claimed", "began", "ended", "outcome", "why", right=["claimed", "began", "ended"]
    )
    for each in attempts:
        times = (each.get(name) for name in ("created_at", "started_at", "ended_at"))
        told = ("" if at is None else f"+{shapes.epoch(at) - start:.1f} s" for at in times)
        why = each.get("reason") or ""
        outcome = each.get("outcome") or "open"
        table.add_row(*(output.plain(cell) for cell in (str(each["number"]), each["worker"], *told, outcome, why)))
    return table


def _inputs(job: shapes.Job) -> RenderableType | None:
    if not job.inputs:
        return None
    table = output.table("parameter", "value", keep=["parameter"])
    for name, value in job.inputs.items():
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        cut = text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… ({len(text)} characters)"
        table.add_row(output.plain(name), output.plain(cut))
    return table


def _show_outputs(job: shapes.Job, screen: output.Screen) -> None:
    """A line each and its URL on one of its own, unbroken, so that it can be copied."""
    if job.outputs:
        screen.out.print()
        screen.out.print(output.plain("Outputs", style="bold"))
    for each in job.outputs:
        screen.out.print(output.plain(f"{each.name}   {each.content_type}   {output.size(each.size)}"))
        screen.out.print(output.plain(f"  {each.url}", style="dim"), soft_wrap=True)
