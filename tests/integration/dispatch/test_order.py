"""Pauses while dispatch runs, and a large fleet on one gateway."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from gateway import simulator
from gateway.domain import model, pauses
from gateway.domain.pauses import PauseKind
from tests.integration.dispatch.site import Site, add, open_site, picture, work

FLEET = 64


def pause(kind: PauseKind, name: str = "") -> pauses.Pause:
    return pauses.Pause(kind=kind, name=name, since=0.0, by="root")


async def lifted(site: Site, kind: PauseKind, name: str = "") -> None:
    await site.store.pauses.lift(kind, name)
    site.bus.signal(model.WorkQueued())


async def test_a_paused_worker_stays_and_takes_nothing_new(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as one, simulator.running() as two:
        await add(site, one, "w0")
        await add(site, two, "w1")
        first = await site.submit(work(0.5))
        ran_on = str((await site.running(first)).worker)
        other = {"w0": "w1", "w1": "w0"}[ran_on]
        await site.store.pauses.put(pause(PauseKind.WORKER, ran_on))
        jobs = [await site.ended(await site.submit(picture(n))) for n in range(4)]
        assert {job.worker for job in jobs} == {other}
        assert (await site.ended(first)).status is model.JobStatus.SUCCEEDED
        await site.worker_is(ran_on, lambda view: view.state is model.WorkerState.PAUSED)
        assert await site.store.pauses.running(PauseKind.WORKER, ran_on) == 0
        await lifted(site, PauseKind.WORKER, ran_on)
        await site.worker_is(ran_on, lambda view: view.state is model.WorkerState.IDLE)


async def test_why_names_the_pause(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as one:
        await add(site, one, "w0")
        await site.store.pauses.put(pause(PauseKind.TEMPLATE, "sdxl"))
        job = await site.submit(picture(), template="sdxl")
        assert (await site.ended(await site.submit(picture(1)))).status is model.JobStatus.SUCCEEDED
        why = await site.dispatch.why(await site.job(job), position=1)
        assert why.sentence == "waits: the template sdxl is paused since 1970-01-01 00:00:00Z by root"
        assert site.dispatch.eta(await site.job(job), position=1) is None
        await lifted(site, PauseKind.TEMPLATE, "sdxl")
        assert (await site.ended(job)).status is model.JobStatus.SUCCEEDED


async def test_sixty_four_workers_all_get_work(tmp_path: Path) -> None:
    """One long job for each is queued at once, and all of them run at the same time."""
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(open_site(tmp_path))
        for number in range(FLEET):
            sim = await stack.enter_async_context(simulator.running())
            await site.dispatch.add(sim.url, worker_id=f"w{number}")
        for number in range(FLEET):
            await site.worker_ready(f"w{number}", seconds=60)
        jobs = [await site.submit(work(300)) for _ in range(FLEET)]
        running = [await site.until(job, lambda job: job.status is model.JobStatus.RUNNING, 60) for job in jobs]
        assert len({job.worker for job in running}) == FLEET
        for job in jobs:
            await site.cancel(job)
        for job in jobs:
            await site.ended(job, seconds=60)
