"""Following and canceling jobs that somebody ordered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """What to cancel: jobs by name, a batch, or a queue."""

    jobs: tuple[str, ...] = ()
    batch: str | None = None
    all_queued: bool = False
    tenant: str | None = None
    everybody: bool = False
    running: bool = False

    def refuse_nonsense(self) -> None:
        """Wrong when it does not say one thing."""
        if sum(map(bool, (self.jobs, self.batch, self.all_queued))) != 1:
            raise failures.Wrong("say what to cancel: ids of jobs, --batch ID, or --all-queued")
        if (self.tenant or self.everybody or self.running) and not self.all_queued:
            raise failures.Wrong("--tenant, --everybody and --running go with --all-queued")
        if self.tenant and self.everybody:
            raise failures.Wrong("--tenant and --everybody exclude each other")


async def cancel(wish: Cancel, url: str, api_key: str | None, screen: output.Screen) -> None:
    """Cancel what is wished."""
    wish.refuse_nonsense()
    async with client.connect(url, api_key) as gateway:
        if wish.all_queued:
            await _cancel_queue(gateway, wish, screen)
        elif wish.batch:
            await _cancel_batch(gateway, wish.batch, screen)
        else:
            await _cancel_jobs(gateway, wish.jobs, screen)


async def _cancel_jobs(gateway: client.Gateway, wanted: Sequence[str], screen: output.Screen) -> None:
    jobs = [await job_tables.find(gateway, text) for text in wanted]  # a wrong one cancels none
    canceled = [await gateway.cancel(job.id) for job in jobs]
    if screen.as_json:
        screen.json({"jobs": [job.raw for job in canceled]})
        return
    for job in canceled:
        screen.out.print(output.plain(f"{shapes.short(job.id)}  {job.status}"))


async def _cancel_batch(gateway: client.Gateway, batch_id: str, screen: output.Screen) -> None:
    batch = await gateway.cancel_batch(batch_id)
    if screen.as_json:
        screen.json(batch)
        return
    counts = ", ".join(f"{count} {status}" for status, count in batch["counts"].items() if count)
    screen.out.print(output.plain(counts))


async def _cancel_queue(gateway: client.Gateway, wish: Cancel, screen: output.Screen) -> None:
    body = {"tenant": wish.tenant, "all_tenants": wish.everybody, "running": wish.running}
    met = await gateway.cancel_queue({name: value for name, value in body.items() if value})
    if screen.as_json:
        screen.json(met)
        return
    if not met["canceled"] and not met["canceling"]:
        whose = "of everybody" if wish.everybody else f"of {wish.tenant}" if wish.tenant else "of yours"
        screen.note(f"Nothing {whose} is queued{' or running' if wish.running else ''}.")
        return
    asked = f", {met['canceling']} that run were asked to stop" if met["canceling"] else ""
    screen.out.print(output.plain(f"{met['canceled']} canceled{asked}"))
