"""Workers that are silent, stuck, broken or old. One scripted failure a test."""

from __future__ import annotations

import dataclasses
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp

from gateway import dispatch, simulator
from gateway.domain import model
from gateway.domain.states import JobStatus, Outcome
from tests.integration.dispatch.site import Site, add, fault, open_site, picture, prompts_of, work

QUICK = dispatch.Care(dead=0.6, ask=0.2, stuck=0.4, restart_again=5)
BLIND = simulator.Options(node_packs=frozenset({"wiretest"}))


def blind_work(seconds: float) -> dict[str, Any]:
    """A node that is silent and does not look for interrupts."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 7}},
        "2": {"class_type": "WTBlock", "inputs": {"image": ["1", 0], "seconds": seconds, "tag": "t"}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
    }


async def post(sim: simulator.Simulator, graph: dict[str, Any]) -> None:
    """Somebody else sends a prompt."""
    async with aiohttp.ClientSession() as session, session.post(f"{sim.url}/prompt", json={"prompt": graph}) as answer:
        assert answer.status == 200


async def codes(site: Site, job_id: str) -> list[tuple[str, Outcome | None, str | None]]:
    """Each attempt's worker, outcome and error."""
    return [
        (attempt.worker, attempt.outcome, attempt.error.code if attempt.error else None)
        for attempt in await site.store.jobs.attempts(job_id)
    ]


async def joined(site: Site, sim: simulator.Simulator, **more: Any) -> model.WorkerProcess:
    """Put a simulator into the fleet as a process of our supervisor."""
    process = model.WorkerProcess(
        id=model.WorkerId("sim0"), url=sim.url, kind=model.WorkerKind.SIMULATED, pid=100, **more
    )
    await site.dispatch.processes_changed([process])
    await site.worker_ready("sim0")
    return process


async def test_a_dead_thread_elsewhere_is_known_by_its_log(tmp_path: Path) -> None:
    async with open_site(tmp_path, care=QUICK) as site, simulator.running() as bad, simulator.running() as good:
        await add(site, bad, "w0")
        await add(site, good, "w1")
        await fault(bad, "dead_thread", nth=1)
        job = await site.ended(await site.submit(picture()))
        assert (job.status, job.worker) == (JobStatus.SUCCEEDED, "w1")
        assert await codes(site, job.id) == [
            ("w0", Outcome.BROKEN, "execution_thread_dead"),
            ("w1", Outcome.SUCCEEDED, None),
        ]
        view = await site.worker_is("w0", lambda view: view.state == "quarantined")
        assert view.last_error == "its execution thread is dead: its own log says so"
        assert site.restarted == []


async def test_a_dead_thread_without_a_word_ends_by_the_idle_limit(tmp_path: Path) -> None:
    async with open_site(tmp_path, care=QUICK) as site, simulator.running() as bad, simulator.running() as good:
        await add(site, bad, "w0")
        await add(site, good, "w1")
        await fault(bad, "silent_death", node_class="SaveImage")
        job = await site.ended(await site.submit(picture(), limits=model.Limits(idle=0.5)))
        assert (job.status, job.worker) == (JobStatus.SUCCEEDED, "w1")
        assert await codes(site, job.id) == [("w0", Outcome.BROKEN, "timeout"), ("w1", Outcome.SUCCEEDED, None)]
        view = await site.worker_is("w0", lambda view: view.state == "quarantined")
        assert (view.last_error or "").startswith("it does not stop what takes too long: there was no sign of life")


async def test_a_silent_node_of_a_process_that_computes_is_no_death(tmp_path: Path) -> None:
    async with open_site(tmp_path, care=QUICK) as site, simulator.running(BLIND) as sim:
        await joined(site, sim, idle_seconds=0.0)
        job = await site.ended(await site.submit(blind_work(2.5), limits=model.Limits(idle=1)))
        assert (job.status, job.tries) == (JobStatus.SUCCEEDED, 1)
        assert site.restarted == []


async def test_a_silent_node_on_a_card_that_computes_is_no_death(tmp_path: Path) -> None:
    async with open_site(tmp_path, care=QUICK) as site, simulator.running(BLIND) as sim:
        await joined(site, sim, idle_seconds=1000.0, gpu_idle_seconds=0.0)
        job = await site.ended(await site.submit(blind_work(2.5)))
        assert (job.status, job.tries) == (JobStatus.SUCCEEDED, 1)


async def test_a_stuck_worker_that_goes_on_is_released(tmp_path: Path) -> None:
    async with open_site(tmp_path, care=QUICK) as site, simulator.running(BLIND) as sim:
        await add(site, sim, "w0")
        job_id = await site.submit(blind_work(4), max_tries=1, limits=model.Limits(idle=0.5))
        await site.worker_is("w0", lambda view: view.state == "quarantined")
        job = await site.ended(job_id)
        assert job.error is not None
        assert job.error.code == "timeout"
        await site.worker_ready("w0")
        assert (await site.ended(await site.submit(picture()))).status is JobStatus.SUCCEEDED


async def test_who_waits_behind_a_strangers_prompt_that_hangs_goes_elsewhere(tmp_path: Path) -> None:
    async with open_site(tmp_path, care=QUICK) as site, simulator.running(BLIND) as sim, simulator.running() as good:
        await post(sim, blind_work(4))
        await add(site, sim, "w0")
        job_id = await site.submit(picture(), limits=model.Limits(idle=0.5))
        view = await site.worker_is("w0", lambda view: view.state == "quarantined")
        assert (view.last_error or "").startswith("what others run there holds up its queue for ")
        await add(site, good, "w1")
        job = await site.ended(job_id)
        assert (job.status, job.worker, job.tries) == (JobStatus.SUCCEEDED, "w1", 1)
        await site.worker_ready("w0")  # the stranger's prompt has ended


async def test_a_worker_that_hangs_delays_no_look_at_others(tmp_path: Path) -> None:
    async with open_site(tmp_path, care=QUICK) as site, simulator.running(BLIND) as slow, simulator.running() as dead:
        await add(site, slow, "w0")
        await fault(slow, "slow_http", path="/internal", seconds=12)
        silent = await site.submit(blind_work(20))
        await site.running(silent)
        await add(site, dead, "w1")
        await fault(dead, "dead_thread", nth=1)
        await site.submit(picture())
        await site.worker_is("w1", lambda view: view.state == "quarantined", 8)


async def test_a_run_over_its_limit_is_stopped_and_its_worker_goes_on(tmp_path: Path) -> None:
    async with open_site(tmp_path, care=dispatch.Care(ask=0.2)) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        job = await site.ended(await site.submit(work(6), max_tries=2, limits=model.Limits(run=0.5)))
        assert job.status is JobStatus.FAILED
        assert await codes(site, job.id) == [("w0", Outcome.BROKEN, "timeout")] * 2
        assert [prompt["outcome"] for prompt in await prompts_of(sim)] == ["interrupted"] * 2
        assert (await site.ended(await site.submit(picture()))).worker == "w0"


async def test_a_job_that_waits_past_its_own_limit_expires(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        job = await site.ended(await site.submit(picture(), limits=model.Limits(queue=0.2)))
        assert (job.status, job.tries) == (JobStatus.EXPIRED, 0)


async def test_after_a_cuda_fault_a_cut_socket_is_no_restart(tmp_path: Path) -> None:
    """Only a new process is; it knows nothing of the prompt that broke the old one."""
    async with open_site(tmp_path, care=QUICK) as site:
        async with simulator.running() as bad:
            await add(site, bad, "w0")
            await fault(bad, "cuda_fault", node_class="EmptyImage")
            job_id = await site.submit(picture())
            view = await site.worker_is("w0", lambda view: view.state == "quarantined")
            await fault(bad, "drop_socket")
            await site.worker_is("w0", lambda now: now.state == "quarantined" and now.since > view.since)
            port = bad.port
        async with simulator.running(simulator.Options(port=port)) as new:
            job = await site.ended(job_id)
            assert job.status is JobStatus.SUCCEEDED
            assert len(await prompts_of(new)) == 1
            assert len(await site.store.jobs.attempts(job_id)) == 2


async def test_a_restarted_gateway_knows_which_worker_was_broken(tmp_path: Path) -> None:
    async with simulator.running() as bad, simulator.running() as good:
        async with open_site(tmp_path, care=QUICK) as site:
            await add(site, bad, "w0")
            await fault(bad, "cuda_fault", node_class="EmptyImage")
            job_id = await site.submit(picture())
            await site.worker_is("w0", lambda view: view.state == "quarantined")
            await site.until(job_id, lambda job: job.tries == 1)
        async with open_site(tmp_path, care=QUICK) as site:
            await site.dispatch.restore()
            await site.worker_is("w0", lambda view: view.state == "quarantined")
            await add(site, good, "w1")
            assert (await site.ended(job_id)).worker == "w1"
            assert len(await prompts_of(bad)) == 1


async def test_who_waited_behind_a_cuda_fault_is_not_to_blame(tmp_path: Path) -> None:
    async with open_site(tmp_path, care=QUICK) as site, simulator.running() as bad, simulator.running() as good:
        await add(site, bad, "w0", depth=2)
        await fault(bad, "cuda_fault", node_class="SaveImage")
        first = await site.submit(work(0.5))
        await site.running(first)
        second = await site.submit(picture())
        await site.running(second)
        await site.worker_is("w0", lambda view: view.state == "quarantined")
        await add(site, good, "w1")
        job = await site.ended(second)
        assert (job.status, job.tries) == (JobStatus.SUCCEEDED, 1)
        assert [outcome for _, outcome, _ in await codes(site, second)] == [Outcome.RELEASED, Outcome.SUCCEEDED]
        assert (await site.ended(first)).status is JobStatus.SUCCEEDED


async def test_a_graph_that_takes_down_two_workers_is_not_given_to_a_third(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(open_site(tmp_path))
        sims = [await stack.enter_async_context(simulator.running()) for _ in range(3)]
        for number, sim in enumerate(sims):
            await add(site, sim, f"w{number}")
            await fault(sim, "crash", node_class="SaveImage")
        job = await site.ended(await site.submit(work(0.2), max_tries=9))
        assert job.status is JobStatus.FAILED
        assert job.error is not None
        assert job.error.code == "worker_killer"
        assert "took down 2 different workers" in job.error.message
        downed = await codes(site, job.id)
        assert len({worker for worker, _, _ in downed}) == 2
        assert [code for _, _, code in downed] == ["worker_died"] * 2
        assert [sim.crashed.is_set() for sim in sims].count(True) == 2


async def test_a_process_that_a_person_had_restarted_was_not_taken_down(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim, simulator.running() as other:
        process = await joined(site, sim)
        job_id = await site.submit(work(5))
        await site.worker_is("sim0", lambda view: any(job.progress for job in view.jobs))
        await site.dispatch.processes_changed([dataclasses.replace(process, restart_asked_at=time.time())])
        sim.crash()
        await add(site, other, "w1")
        await site.until(job_id, lambda job: job.tries == 1)
        ((_, outcome, code), *_) = await codes(site, job_id)
        assert (outcome, code) == (Outcome.LOST, "worker_lost")


async def test_after_so_many_jobs_a_process_of_ours_is_started_anew(tmp_path: Path) -> None:
    care = dispatch.Care(recycle_jobs=2)
    async with open_site(tmp_path, care=care) as site, simulator.running() as sim:
        process = await joined(site, sim)
        first, second = await site.submit(picture(1)), await site.submit(picture(2))
        await site.ended(first)
        await site.ended(second)
        view = await site.worker_is("sim0", lambda view: view.state == "draining" and bool(site.restarted))
        assert view.last_error == "it is started anew once it has finished: it has done 2 jobs since it was started"
        waiting = await site.submit(picture(3))
        await site.dispatch.processes_changed([dataclasses.replace(process, pid=101)])
        assert (await site.ended(waiting)).status is JobStatus.SUCCEEDED
        assert site.restarted == ["sim0"]


async def test_a_process_that_takes_too_much_memory_finishes_first(tmp_path: Path) -> None:
    care = dispatch.Care(recycle_memory=2**30)
    async with open_site(tmp_path, care=care) as site, simulator.running() as sim:
        process = await joined(site, sim, memory_bytes=2**29)
        job_id = await site.submit(work(1.5))
        await site.running(job_id)
        await site.dispatch.processes_changed([dataclasses.replace(process, memory_bytes=2**31)])
        view = await site.worker_is("sim0", lambda view: view.state == "draining")
        assert "2.0 GiB of the machine's memory" in (view.last_error or "")
        assert site.restarted == []
        job = await site.ended(job_id)
        assert (job.status, job.tries) == (JobStatus.SUCCEEDED, 1)
        await site.worker_is("sim0", lambda _: bool(site.restarted))


async def test_a_process_that_was_given_up_shows_why_with_the_end_of_its_log(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        process = model.WorkerProcess(
            id=model.WorkerId("gpu0"),
            url="http://127.0.0.1:9",
            kind=model.WorkerKind.LOCAL,
            failure="it ended 5 times in a row; last, it ended with status 1",
            log_tail="ModuleNotFoundError: No module named 'torch'",
        )
        await site.dispatch.processes_changed([process])
        (view,) = site.dispatch.views()
        assert view.last_error == process.failure
        assert view.log_tail == process.log_tail
