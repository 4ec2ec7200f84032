"""One scripted failure a test: what a worker does to us, and that the job ends right all the same."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest

from gateway import dispatch, simulator
from gateway.domain import model
from gateway.domain.states import JobStatus, Outcome
from tests.integration.dispatch.site import Site, add, fault, open_site, picture, prompts_of, work


async def outcomes(site: Site, job_id: str) -> list[tuple[str | None, Outcome | None]]:
    return [(attempt.worker, attempt.outcome) for attempt in await site.store.jobs.attempts(job_id)]


async def test_an_error_of_the_graph_fails_at_once_with_its_node(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        await fault(sim, "node_error", node_class="EmptyImage", message="no such colour")
        job = await site.ended(await site.submit(picture()))
        assert job.status is JobStatus.FAILED
        assert job.error is not None
        assert (job.error.code, job.error.node_id, job.error.class_type) == ("node_execution_error", "1", "EmptyImage")
        assert "no such colour" in job.error.message
        assert len(await site.store.jobs.attempts(job.id)) == 1


async def test_what_is_the_workers_fault_is_tried_on_another(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as bad, simulator.running() as good:
        await add(site, bad, "w0")
        await add(site, good, "w1")
        await fault(bad, "cuda_fault", node_class="EmptyImage")
        job = await site.ended(await site.submit(picture()))
        assert (job.status, job.worker) == (JobStatus.SUCCEEDED, "w1")
        assert await outcomes(site, job.id) == [("w0", Outcome.BROKEN), ("w1", Outcome.SUCCEEDED)]
        states = {str(view.id): view.state for view in site.dispatch.views()}
        assert states["w0"] == "quarantined"


async def test_tries_are_bounded_and_every_attempt_stays_readable(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        await fault(sim, "view_missing", count=0)
        job = await site.ended(await site.submit(picture(), max_tries=2))
        assert job.status is JobStatus.FAILED
        assert job.error is not None
        assert job.error.code == "output_unavailable"
        assert await outcomes(site, job.id) == [("w0", Outcome.BROKEN), ("w0", Outcome.BROKEN)]


@pytest.mark.parametrize("kind", ["drop_socket", "mute_socket", "half_open_socket"])
async def test_a_socket_that_fails_costs_no_job(tmp_path: Path, kind: str) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        job_id = await site.submit(work(0.6))
        await site.running(job_id)
        await fault(sim, kind)
        job = await site.ended(job_id)
        assert job.status is JobStatus.SUCCEEDED
        assert await outcomes(site, job_id) == [("w0", Outcome.SUCCEEDED)]
        assert len(await prompts_of(sim)) == 1


async def test_a_lost_answer_to_post_is_resolved_by_asking(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        await fault(sim, "post_lost_after", nth=1)
        job = await site.ended(await site.submit(picture()))
        assert job.status is JobStatus.SUCCEEDED
        assert len(await prompts_of(sim)) == 1


async def test_a_post_that_never_arrived_is_tried_again_under_a_new_id(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        await fault(sim, "post_lost_before", nth=1)
        job = await site.ended(await site.submit(picture()))
        assert job.status is JobStatus.SUCCEEDED
        first, second = await site.store.jobs.attempts(job.id)
        assert (first.outcome, second.outcome) == (Outcome.LOST, Outcome.SUCCEEDED)
        assert [prompt["prompt_id"] for prompt in await prompts_of(sim)] == [second.id]


async def test_forgotten_history_is_a_lost_attempt(tmp_path: Path) -> None:
    """While it ran its socket broke: what became of it, only history would tell."""
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        await fault(sim, "forget_history", nth=1)
        job_id = await site.submit(work(0.6))
        await site.running(job_id)
        await fault(sim, "drop_socket")
        job = await site.ended(job_id)
        assert job.status is JobStatus.SUCCEEDED
        assert [outcome for _, outcome in await outcomes(site, job.id)] == [Outcome.LOST, Outcome.SUCCEEDED]


async def test_history_is_not_needed_for_a_run_that_was_heard_whole(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        await fault(sim, "forget_history", nth=1)
        job = await site.ended(await site.submit(picture()))
        assert (job.status, len(job.outputs)) == (JobStatus.SUCCEEDED, 1)
        assert await outcomes(site, job.id) == [("w0", Outcome.SUCCEEDED)]


async def test_slow_history_is_waited_for(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running(simulator.Options(end_delay_s=0.3)) as sim:
        await add(site, sim, "w0")
        job = await site.ended(await site.submit(picture()))
        assert (job.status, job.tries) == (JobStatus.SUCCEEDED, 1)


async def test_a_picture_that_cannot_be_fetched_is_made_again(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        await fault(sim, "view_missing", count=1)
        job = await site.ended(await site.submit(picture()))
        assert job.status is JobStatus.SUCCEEDED
        assert [outcome for _, outcome in await outcomes(site, job.id)] == [Outcome.BROKEN, Outcome.SUCCEEDED]


async def test_an_interruption_that_nobody_asked_us_for_is_retried(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        job_id = await site.submit(work(0.5))
        await site.running(job_id)
        await site.worker_is("w0", lambda view: any(job.progress for job in view.jobs))
        async with aiohttp.ClientSession() as session, session.post(f"{sim.url}/interrupt"):
            pass
        job = await site.ended(job_id)
        assert job.status is JobStatus.SUCCEEDED
        assert [outcome for _, outcome in await outcomes(site, job_id)] == [Outcome.BROKEN, Outcome.SUCCEEDED]


async def test_a_worker_that_dies_loses_its_job_to_another(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as good:
        async with simulator.running() as bad:
            await add(site, bad, "w0")
            job_id = await site.submit(work(0.2))
            await site.running(job_id)
        await add(site, good, "w1")
        job = await site.ended(job_id)
        assert (job.status, job.worker) == (JobStatus.SUCCEEDED, "w1")
        assert await outcomes(site, job_id) == [("w0", Outcome.LOST), ("w1", Outcome.SUCCEEDED)]


@pytest.mark.parametrize("whose", ["ours", "somebody else's"])
async def test_a_dead_execution_thread_is_noticed_and_restarted(tmp_path: Path, whose: str) -> None:
    """It answers HTTP and shows the fatal prompt as running for ever; silence and an idle process tell."""
    async with open_site(tmp_path, care=dispatch.Care(dead=0.5)) as site, simulator.running() as bad:
        process = model.WorkerProcess(
            id=model.WorkerId("sim0"), url=bad.url, kind=model.WorkerKind.SIMULATED, idle_seconds=1000.0
        )
        await site.dispatch.processes_changed([process])
        await site.worker_ready("sim0")
        await fault(bad, "dead_thread", nth=1)
        if whose != "ours":
            body = {"prompt": work(0)}
            async with aiohttp.ClientSession() as session, session.post(f"{bad.url}/prompt", json=body) as answer:
                assert answer.status == 200
        await site.submit(picture())
        view = await site.worker_is("sim0", lambda view: view.state == "quarantined" and bool(site.restarted))
        assert view.last_error is not None
        assert view.last_error.startswith("its execution thread is dead")
        assert site.restarted == ["sim0"]


async def test_a_restarted_gateway_adopts_what_runs(tmp_path: Path) -> None:
    async with simulator.running() as sim:
        async with open_site(tmp_path) as site:
            await add(site, sim, "w0")
            running, finished = await site.submit(work(1.0)), await site.submit(picture())
            await site.running(running)
        async with open_site(tmp_path) as site:
            await site.dispatch.restore()
            one, two = await asyncio.gather(site.ended(running), site.ended(finished))
            assert (one.status, two.status) == (JobStatus.SUCCEEDED, JobStatus.SUCCEEDED)
            assert await outcomes(site, running) == [("w0", Outcome.SUCCEEDED)]
        assert len(await prompts_of(sim)) == 2


async def test_a_restarted_gateway_goes_on_canceling(tmp_path: Path) -> None:
    """The cancel was written; the gateway died before it could tell the worker."""
    async with simulator.running() as sim:
        async with open_site(tmp_path) as site:
            await add(site, sim, "w0")
            job_id = await site.submit(work(30))
            await site.running(job_id)
            await site.store.jobs.cancel(model.DEFAULT_TENANT, job_id, now=time.time())
        async with open_site(tmp_path) as site:
            await site.dispatch.restore()
            assert (await site.ended(job_id)).status is JobStatus.CANCELED


async def test_stopping_hands_the_rest_back_without_spending_a_try(tmp_path: Path) -> None:
    async with simulator.running() as sim, open_site(tmp_path) as site:
        await add(site, sim, "w0")
        job_id = await site.submit(work(30))
        await site.running(job_id)
        await site.dispatch.stop(grace=0.1)
        job = await site.job(job_id)
        assert (job.status, job.tries) == (JobStatus.QUEUED, 0)
        assert await outcomes(site, job_id) == [("w0", Outcome.RELEASED)]
        (prompt,) = await prompts_of(sim)
        assert prompt["outcome"] != "success"


async def test_a_late_result_of_a_lost_attempt_changes_nothing(tmp_path: Path) -> None:
    """The worker is out of reach for longer than we wait, and finishes the old prompt meanwhile."""
    quick = dispatch.Patience(silence=0.2, no_socket=0.05, refused=0.2, unreachable=0.3, retry=0.05)
    async with open_site(tmp_path, patience=quick) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        job_id = await site.submit(work(1.0))
        await site.running(job_id)
        await fault(sim, "http_error", count=12, status=500)
        job = await site.ended(job_id)
        assert job.status is JobStatus.SUCCEEDED
        attempts = await site.store.jobs.attempts(job_id)
        assert [attempt.outcome for attempt in attempts].count(Outcome.SUCCEEDED) == 1
        assert len(job.outputs) == 1
