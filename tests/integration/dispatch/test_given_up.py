"""Prompts that were given up, sockets that are gone, leases that run out: what must not happen then."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from gateway import simulator
from gateway.domain.states import JobStatus, Outcome
from tests.integration.dispatch.site import add, fault, open_site, picture, prompts_of, work


async def post_late(sim: simulator.Simulator, prompt_id: str) -> None:
    """What was on its way for long arrives after all."""
    body = {"prompt": work(20), "prompt_id": prompt_id}
    async with aiohttp.ClientSession() as session, session.post(f"{sim.url}/prompt", json=body) as answer:
        assert answer.status == 200


async def interrupted(sim: simulator.Simulator, prompt_id: str) -> None:
    async with asyncio.timeout(15):
        while True:
            for prompt in await prompts_of(sim):
                if prompt["prompt_id"] == prompt_id and prompt["outcome"] == "interrupted":
                    return
            await asyncio.sleep(0.05)  # the simulator tells nobody


async def test_a_prompt_that_shows_up_after_it_was_given_up_is_cancelled(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        await fault(sim, "post_lost_before", nth=1)
        job = await site.ended(await site.submit(picture()))
        lost, _ = await site.store.jobs.attempts(job.id)
        assert lost.outcome is Outcome.LOST
        await post_late(sim, lost.id)
        await interrupted(sim, lost.id)


async def test_so_it_is_after_a_restart_of_the_gateway(tmp_path: Path) -> None:
    async with simulator.running() as sim:
        async with open_site(tmp_path) as site:
            await add(site, sim, "w0")
            await fault(sim, "post_lost_before", nth=1)
            job = await site.ended(await site.submit(picture()))
            lost, _ = await site.store.jobs.attempts(job.id)
        await post_late(sim, lost.id)
        async with open_site(tmp_path) as site:
            await site.dispatch.restore()
            await interrupted(sim, lost.id)


async def test_an_adopted_job_has_progress_again(tmp_path: Path) -> None:
    async with simulator.running() as sim:
        async with open_site(tmp_path) as site:
            await add(site, sim, "w0")
            job_id = await site.submit(work(6))
            await site.worker_is("w0", lambda view: any(job.progress for job in view.jobs))
        async with open_site(tmp_path) as site:
            await site.dispatch.restore()
            view = await site.worker_is("w0", lambda view: any(job.progress for job in view.jobs))
            assert view.jobs[0].progress is not None
            assert view.jobs[0].progress.value > 0
            job = await site.ended(job_id)
            assert (job.status, job.tries) == (JobStatus.SUCCEEDED, 1)


async def test_a_socket_that_was_cut_costs_no_progress(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        job_id = await site.submit(work(4))
        await site.worker_is("w0", lambda view: any(job.progress for job in view.jobs))
        await fault(sim, "drop_socket")
        await site.worker_is("w0", lambda view: view.state == "unreachable")
        seen = 0.0

        def grew(value: float) -> bool:
            nonlocal seen
            seen = seen or value
            return value > seen

        await site.worker_is("w0", lambda view: any(job.progress and grew(job.progress.value) for job in view.jobs))
        assert (await site.ended(job_id)).status is JobStatus.SUCCEEDED


async def test_a_lost_answer_to_post_leaves_our_socket_alone(tmp_path: Path) -> None:
    """Frames go on coming, for this job and for the next."""
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        await fault(sim, "post_lost_after", nth=1)
        for _ in range(2):
            job_id = await site.submit(work(1.5))
            await site.until(job_id, lambda job: job.status is JobStatus.RUNNING)
            await site.worker_is(
                "w0", lambda view, job_id=job_id: any(job.job_id == job_id and job.progress for job in view.jobs)
            )
            assert (await site.ended(job_id)).status is JobStatus.SUCCEEDED


async def test_nothing_is_sent_under_a_lease_that_may_not_outlast_it(tmp_path: Path) -> None:
    async with open_site(tmp_path, lease=10.0, post=30.0) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        job_id = await site.submit(picture())
        async with asyncio.timeout(10):
            while not (attempts := await site.store.jobs.attempts(job_id)) or attempts[0].outcome is None:
                await asyncio.sleep(0.02)
        assert attempts[0].outcome is Outcome.RELEASED
        assert attempts[0].reason == "nothing was sent: the worker's lease may run out before it answers"
        assert await prompts_of(sim) == []
