"""Following and canceling jobs that somebody ordered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.cli import board, client, failures, following, job_tables, ordering, output, shapes

_UNENDED = "queued,running,canceling"
_MOST = 200  #: that are followed without being named


async def watch(wanted: Sequence[str], url: str, api_key: str | None, screen: output.Screen) -> int:
    """Follow these jobs, or all that have not ended. Returns the exit status."""
    async with client.connect(url, api_key) as gateway:
        jobs = await _wanted(gateway, wanted)
        if not jobs:
            screen.note("Nothing is queued or running.")
            return failures.DONE
        if screen.as_json:
            ended = await ordering.together([_told(gateway, job.id, screen) for job in jobs])
        else:
            async with board.shown(screen.err) as lines:
                ended = await ordering.together([_drawn(gateway, job, lines) for job in jobs])
    return failures.DONE if all(job.succeeded for job in ended) else failures.FAILED


async def _wanted(gateway: client.Gateway, wanted: Sequence[str]) -> list[shapes.Job]:
    if wanted:
        found = [await job_tables.find(gateway, text) for text in wanted]
        return list({job.id: job for job in found}.values())
    newest_first = [job async for job in gateway.jobs({"status": _UNENDED}, limit=_MOST)]
    return newest_first[::-1]


async def _told(gateway: client.Gateway, job_id: str, screen: output.Screen) -> shapes.Job:
    def tell(name: str, data: Mapping[str, Any]) -> None:
        if name != "preview":
            screen.json({"job": job_id, "event": name, "data": data}, lines=True)

    return await following.follow(gateway, job_id, tell)


async def _drawn(gateway: client.Gateway, job: shapes.Job, lines: board.Board) -> shapes.Job:
    lines.add(job.id, f"{job.template or 'workflow'} {shapes.short(job.id)}")
    return await following.follow(gateway, job.id, lambda name, data: lines.tell(job.id, name, data))


async def cancel(
    wanted: Sequence[str], url: str, api_key: str | None, screen: output.Screen, *, all_queued: bool
) -> None:
    """Cancel these jobs, or all that wait."""
    if bool(wanted) == all_queued:
        raise failures.Wrong("say which jobs: their ids, or --all-queued")
    async with client.connect(url, api_key) as gateway:
        canceled: list[shapes.Job] = []
        if all_queued:
            async for job in gateway.jobs({"status": "queued"}, limit=1_000_000):
                canceled.append(await gateway.cancel(job.id))  # noqa: PERF401  -- one after the other, oldest last
        else:
            jobs = [await job_tables.find(gateway, text) for text in wanted]  # a wrong one cancels none
            canceled += [await gateway.cancel(job.id) for job in jobs]
    if screen.as_json:
        screen.json({"jobs": [job.raw for job in canceled]})
        return
    for job in canceled:
        screen.out.print(output.plain(f"{shapes.short(job.id)}  {job.status}"))
    if not canceled:
        screen.note("Nothing is queued.")
