"""What `comfy-gateway bench` does: orders jobs, follows them to their ends, tells what they say of the gateway."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass, field

from gateway.cli import (
    bench_figures,
    bench_orders,
    client,
    failures,
    following,
    interrupts,
    ordering,
    output,
    placing,
    shapes,
    tallying,
    workload,
)

_DOORS = 16  #: orders that are on their way to the gateway at once
_STREAMS = 200  #: jobs that are followed at once; the others are behind them in the queue anyway
_COLD_AND_WARM = 2  #: jobs before the others, for each worker: one loads the models, one shows how long a run takes
_TAKES_WORK = frozenset({"idle", "busy"})
_GONE = "gone"  #: the status of a job that the gateway has forgotten before its end was seen


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
        desk = placing.Desk(gateway=gateway, mark=bench_orders.MARK, tell=screen.note, stop=stop.asked)
        orders = bench_orders.Orders(desk=desk, load=load)
        run = _Run(gateway=gateway, orders=orders, tally=tally, stop=stop)
        _tell_begin(screen, load.name, first, wish.n)
        canceling = asyncio.create_task(run.cancel_all(screen))
        try:
            async with tallying.shown(tally, screen.err, stays=False):
                await run.all(range(first), [0.0] * first, width=None)
                numbers = range(first, first + wish.n)
                seen = await run.all(numbers, gaps(wish.rate, wish.n), width=wish.width)
                if stop.asked.is_set():
                    await canceling
        finally:
            canceling.cancel()
    if run.trouble is not None:
        raise run.trouble
    found = bench_figures.report(load.name, seen, warmed=first)
    show(screen, found)
    if stop.asked.is_set():
        return failures.INTERRUPTED
    return failures.DONE if found.done == wish.n else failures.FAILED


def _tell_begin(screen: output.Screen, name: str, first: int, count: int) -> None:
    """Where there is no terminal to draw on: what is going on."""
    if not screen.err.is_terminal:
        warm_up = f"{first} to warm up and then " if first else ""
        screen.note(f"Ordering jobs of {name}, {warm_up}{count}, and waiting for their ends; this may take a while.")


def gaps(rate: float | None, count: int) -> list[float]:
    """Seconds between one order and the next: none, or as between independent callers, the same in every run."""
    if rate is None:
        return [0.0] * count
    draw = random.Random(1)  # noqa: S311  -- when to order is no secret
    return [draw.expovariate(rate) for _ in range(count)]


@dataclass(slots=True, kw_only=True)
class _Run:
    gateway: client.Gateway
    orders: bench_orders.Orders
    tally: tallying.Tally
    stop: interrupts.Interrupts
    doors: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_DOORS))
    streams: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_STREAMS))
    flying: set[str] = field(default_factory=set[str])
    trouble: Exception | None = None  #: why the run was ended, where it was not Ctrl-C

    async def all(
        self, numbers: Sequence[int], gaps: Sequence[float], *, width: int | None
    ) -> list[bench_figures.Seen]:
        """Jobs of these numbers, to their ends; those that Ctrl-C or trouble came before were not ordered."""
        if self.stop.asked.is_set():
            return []
        room = asyncio.Semaphore(width or max(1, len(numbers)))
        start = asyncio.get_running_loop().time()
        dues: Iterator[float] = itertools.accumulate(gaps)
        tasks = [self._one(number, start + due, room) for number, due in zip(numbers, dues, strict=True)]
        return [seen for seen in await ordering.together(tasks) if seen is not None]

    async def _one(self, number: int, due: float, room: asyncio.Semaphore) -> bench_figures.Seen | None:
        try:
            await self.stop.sleep(due - asyncio.get_running_loop().time())
            async with room:
                return await self._job(number)
        except Exception as error:  # noqa: BLE001  -- `fulfil` raises it, once the other jobs are canceled
            self.trouble = self.trouble or error
            self.stop.asked.set()
            return None

    async def _job(self, number: int) -> bench_figures.Seen | None:
        """One job from its order to its end."""
        async with self.doors:
            job = await self.orders.placed(number)
            if job is None:
                return None
            self._began(job.id)
            first = await _unless_gone(
                self.gateway.job(job.id), job
            )  # with its estimate, which an order's answer lacks
        if self.stop.asked.is_set():
            await placing.cancel(self.gateway, job.id)
        async with self.streams:
            if isinstance(self.trouble, failures.Unreachable):
                return None  # there is nobody to follow it with
            last = await _unless_gone(following.ended(self.gateway, job.id), _gone(first))
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
        """Once Ctrl-C is pressed, or something went wrong, ask for the end of every job."""
        await self.stop.asked.wait()
        ordered = sorted(self.flying)
        why = "" if self.trouble is None else "Something went wrong. "
        what = f"Canceling what was ordered and has not ended ({len(ordered)})"
        screen.note(f"{why}{what}; press Ctrl-C again to leave at once.", style="yellow")
        await placing.cancel_all(self.gateway, ordered, lambda text: screen.note(text, style="yellow"))


async def _unless_gone(asked: Awaitable[shapes.Job], otherwise: shapes.Job) -> shapes.Job:
    """The job as the gateway tells it, or the other where the gateway knows it no more."""
    try:
        return await asked
    except failures.Refused as refused:
        if refused.http_status != 404:
            raise
        return otherwise


def _gone(job: shapes.Job) -> shapes.Job:
    """A job whose end nobody can tell any more."""
    return shapes.Job.of({**job.raw, "status": _GONE, "completed_at": None, "error": None, "outputs": []})


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
