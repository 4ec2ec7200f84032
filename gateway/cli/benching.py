"""What `comfy-gateway bench` does: orders jobs, follows them to their ends, tells what they say of the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gateway.cli import (
    bench_figures,
    client,
    failures,
    following,
    interrupts,
    ordering,
    output,
    shapes,
    tallying,
    workload,
)

_DOORS = 16  #: orders that are on their way to the gateway at once
_STREAMS = 200  #: jobs that are followed at once; the others are behind them in the queue anyway
_COLD_AND_WARM = 2  #: jobs before the others, for each worker: one loads the models, one shows how long a run takes
_TAKES_WORK = frozenset({"idle", "busy"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for."""

    load: workload.Wish
    n: int
    width: int | None = None
    rate: float | None = None
    warm_up: int | None = None


async def fulfil(wish: Wish, url: str, api_key: str | None, screen: output.Screen) -> int:
    """Order, follow, and show the figures. Returns the exit status."""
    if wish.width is not None and wish.rate is not None:
        raise failures.Wrong("--width waits for ends and --rate for the clock: give one of them")
    async with client.connect(url, api_key) as gateway, interrupts.watched() as stop:
        load = await workload.prepared(gateway, wish.load)
        workers = sum(worker["state"] in _TAKES_WORK for worker in await gateway.workers())
        if not workers:
            raise failures.CommandFailed("no worker takes work", way_out="see: comfy-gateway workers")
        if not load.differ:
            screen.note("All jobs are alike, so workers may answer from their caches; --vary NAME.", style="yellow")
        stop.gentle = True
        first = _COLD_AND_WARM * workers if wish.warm_up is None else wish.warm_up
        tally = tallying.Tally(total=first + wish.n)
        run = _Run(gateway=gateway, load=load, tally=tally, stop=stop)
        canceling = asyncio.create_task(run.cancel_all(screen))
        try:
            async with tallying.shown(tally, screen.err):
                await run.all(range(first), [0.0] * first, width=None)
                numbers = range(first, first + wish.n)
                seen = await run.all(numbers, gaps(wish.rate, wish.n), width=wish.width)
        finally:
            canceling.cancel()
    found = bench_figures.report(load.name, seen)
    show(screen, found)
    if stop.asked.is_set():
        return failures.INTERRUPTED
    return failures.DONE if found.done == wish.n else failures.FAILED


def gaps(rate: float | None, count: int) -> list[float]:
    """Seconds between one order and the next: none, or as between independent callers, the same in every run."""
    if rate is None:
        return [0.0] * count
    draw = random.Random(1)  # noqa: S311  -- when to order is no secret
    return [draw.expovariate(rate) for _ in range(count)]


@dataclass(slots=True, kw_only=True)
class _Run:
    gateway: client.Gateway
    load: workload.Workload
    tally: tallying.Tally
    stop: interrupts.Interrupts
    doors: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_DOORS))
    streams: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_STREAMS))
    flying: set[str] = field(default_factory=set[str])

    async def all(
        self, numbers: Sequence[int], gaps: Sequence[float], *, width: int | None
    ) -> list[bench_figures.Seen]:
        """Jobs of these numbers, to their ends; those that Ctrl-C came before were not ordered."""
        room = asyncio.Semaphore(width or max(1, len(numbers)))
        start = asyncio.get_running_loop().time()
        dues: Iterator[float] = itertools.accumulate(gaps)
        tasks = [self._one(number, start + due, room) for number, due in zip(numbers, dues, strict=True)]
        return [seen for seen in await ordering.together(tasks) if seen is not None]

    async def _one(self, number: int, due: float, room: asyncio.Semaphore) -> bench_figures.Seen | None:
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        async with room:
            async with self.doors:
                if self.stop.asked.is_set():
                    return None
                job_id = (await self.load.ordered(number)).id
                self._began(job_id)
                first = await self.gateway.job(job_id)  # with its estimate, which the answer to an order has not
            if self.stop.asked.is_set():
                await self.gateway.cancel(job_id)
            async with self.streams:
                last = await following.ended(self.gateway, job_id)
            self._ended(last)
            return bench_figures.Seen(first=first, last=last)

    def _began(self, job_id: str) -> None:
        self.flying.add(job_id)
        self.tally.flying = len(self.flying)

    def _ended(self, job: shapes.Job) -> None:
        self.flying.discard(job.id)
        self.tally.flying = len(self.flying)
        self.tally.done += job.succeeded
        self.tally.failed += not job.succeeded
        self.tally.images += len(job.outputs)

    async def cancel_all(self, screen: output.Screen) -> None:
        """Once Ctrl-C is pressed, ask for the end of every job."""
        await self.stop.asked.wait()
        screen.note("Canceling; press Ctrl-C again to leave at once.", style="yellow")
        for job_id in sorted(self.flying):
            with contextlib.suppress(failures.Refused):  # it has ended meanwhile
                await self.gateway.cancel(job_id)


def show(screen: output.Screen, found: bench_figures.Report) -> None:
    """The figures, for people or for programs."""
    if screen.as_json:
        screen.json(found.as_dict())
        return
    screen.out.print(output.plain(found.sentence, style="bold"))
    for title, table in found.tables():
        screen.out.print()
        screen.out.print(output.plain(title, style="bold"))
        screen.out.print(table)
    for code, count in found.complaints.items():
        screen.err.print(output.plain(f"{count} failed: {code}", style="red"))
    if found.simulated:
        screen.note(ordering.SIMULATED, style="yellow")
