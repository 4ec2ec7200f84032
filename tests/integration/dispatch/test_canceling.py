"""Canceling in every state and race: the job ends, and no other job is ever hit."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway import simulator
from gateway.adapters import store
from gateway.domain import model
from gateway.domain.states import JobStatus, Outcome
from tests.integration.dispatch.site import Site, add, fault, open_site, picture, prompts_of, work

NEWER = simulator.Options(jobs_api=True, node_packs=frozenset({"wiretest"}))
OLDER = simulator.Options(jobs_api=False, node_packs=frozenset({"wiretest"}))
BOTH = pytest.mark.parametrize("options", [NEWER, OLDER], ids=["atomic cancel", "older server"])


def blocking(seconds: float) -> dict[str, Any]:
    """A graph with a node that does not look at interrupts, and one behind it."""
    image = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 1}}
    return {
        "1": image,
        "2": {"class_type": "WTBlock", "inputs": {"image": ["1", 0], "seconds": seconds, "tag": "x"}},
        "3": {"class_type": "WTSleep", "inputs": {"image": ["2", 0], "seconds": 30.0, "tag": "y", "steps": 300}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
    }


async def spared(site: Site, jobs: Sequence[model.JobId]) -> None:
    """These jobs succeed at their first try: nothing that was meant for another hit them."""
    for job in [await site.ended(job) for job in jobs]:
        assert (job.status, job.tries) == (JobStatus.SUCCEEDED, 1), job


@BOTH
async def test_sent_but_not_started(tmp_path: Path, options: simulator.Options) -> None:
    """Somebody else's prompt runs; ours waits behind it on the worker."""
    async with open_site(tmp_path) as site, simulator.running(options) as sim:
        await add(site, sim, "w0")
        await fault(sim, "slow_post", seconds=0.3)
        first, second = await site.submit(work(30)), await site.submit(picture())
        await site.running(first)
        await site.cancel(first)
        assert (await site.ended(first)).status is JobStatus.CANCELED
        await spared(site, [second])


@BOTH
async def test_a_post_whose_answer_was_lost(tmp_path: Path, options: simulator.Options) -> None:
    async with open_site(tmp_path) as site, simulator.running(options) as sim:
        await add(site, sim, "w0")
        await fault(sim, "post_lost_after")
        first, second = await site.submit(work(30)), await site.submit(picture())
        await site.running(first)
        await site.cancel(first)
        assert (await site.ended(first)).status is JobStatus.CANCELED
        await spared(site, [second])


@BOTH
async def test_it_stays_canceling_until_the_next_node_boundary(
    tmp_path: Path, options: simulator.Options, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_site(tmp_path) as site, simulator.running(options) as sim:
        await add(site, sim, "w0")
        first = await site.submit(blocking(0.6))
        await site.until(first, lambda job: site.bus.snapshot(first).progress is not None)
        assert (await site.cancel(first)).status is JobStatus.CANCELING
        second = await site.submit(picture())
        assert (await site.cancel(first)).status is JobStatus.CANCELING, "asking twice changes nothing"
        job = await site.ended(first)
        assert (job.status, job.error, job.outputs) == (JobStatus.CANCELED, None, ())
        lines = capsys.readouterr().out.splitlines()
        assert not [line for line in lines if "job_canceled" in line and "warning" in line]  # somebody wanted it
        await spared(site, [second])
        one, two = await prompts_of(sim)
        assert one["outcome"] == "interrupted"
        assert two["received"] >= one["ended"], "the next POST waits until the canceled one has ended"


@BOTH
async def test_what_ended_on_the_worker_meanwhile_counts(tmp_path: Path, options: simulator.Options) -> None:
    """The cancel comes when the run is over and its history is not read yet."""
    async with open_site(tmp_path) as site, simulator.running(options) as sim:
        await add(site, sim, "w0")
        await fault(sim, "slow_history", seconds=0.5, count=2)
        first, second = await site.submit(picture()), await site.submit(work(0.2))
        await site.running(second)  # the first has left its place, and is being read
        await site.cancel(first)
        assert (await site.ended(first)).status is JobStatus.SUCCEEDED
        await spared(site, [second])


@BOTH
async def test_a_worker_that_is_gone_does_not_keep_a_job_from_being_canceled(
    tmp_path: Path, options: simulator.Options
) -> None:
    async with open_site(tmp_path) as site:
        async with simulator.running(options) as sim:
            await add(site, sim, "w0")
            first = await site.submit(work(30))
            await site.until(first, lambda job: site.bus.snapshot(first).progress is not None)
        await site.cancel(first)
        job = await site.ended(first)
        assert job.status is JobStatus.CANCELED
        (attempt,) = await site.store.jobs.attempts(first)
        assert attempt.outcome is Outcome.CANCELED


@pytest.mark.parametrize(
    ("options", "depth"), [(NEWER, 1), (OLDER, 1), (NEWER, 3)], ids=["atomic", "older server", "atomic, depth 3"]
)
@pytest.mark.parametrize("seed", [1, 2])
async def test_no_other_job_is_ever_hit(tmp_path: Path, options: simulator.Options, depth: int, seed: int) -> None:
    """Cancels at any moment of a job's life, many times."""
    dice = random.Random(seed)
    async with open_site(tmp_path) as site, simulator.running(options) as sim:
        await add(site, sim, "w0", depth=depth)
        jobs = [await site.submit(work(dice.choice([0.0, 0.02, 0.05]))) for _ in range(30)]
        doomed = dice.sample(jobs, 15)

        async def doom(job_id: model.JobId) -> None:
            await site.until(job_id, lambda job: job.status is not JobStatus.QUEUED)
            await asyncio.sleep(dice.uniform(0, 0.06))  # the moment is what the test varies
            await site.cancel(job_id)

        await asyncio.gather(*map(doom, doomed))
        ended = [await site.ended(job) for job in doomed]
        assert {job.status for job in ended} <= {JobStatus.CANCELED, JobStatus.SUCCEEDED}
        await spared(site, [job for job in jobs if job not in doomed])
        assert {prompt["outcome"] for prompt in await prompts_of(sim)} <= {"success", "interrupted", None}


async def test_a_cancel_that_was_asked_through_another_gateway_is_heard(tmp_path: Path) -> None:
    """Nobody in this process was told; the store was."""
    async with open_site(tmp_path) as site, simulator.running(NEWER) as sim:
        await add(site, sim, "w0")
        first, second = await site.submit(work(30)), await site.submit(picture())
        await site.running(first)
        other = await store.open_store(f"sqlite:///{tmp_path}/gateway.db", clock=time.time)
        async for _ in other.jobs.cancel_queued(model.DEFAULT_TENANT, now=time.time(), running=True):
            pass
        await other.close()
        assert (await site.ended(first)).status is JobStatus.CANCELED
        assert (await site.ended(second)).status is JobStatus.CANCELED
        await spared(site, [await site.submit(picture())])


async def test_a_worker_that_cannot_cancel_one_alone_gets_one_at_a_time(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running(OLDER) as sim:
        await add(site, sim, "w0", depth=2)
        await spared(site, [await site.submit(work(0.1)) for _ in range(3)])
        prompts = await prompts_of(sim)
        assert all(after["received"] >= before["ended"] for before, after in itertools.pairwise(prompts))


@BOTH
async def test_a_prompt_that_was_given_up_is_canceled_before_the_next_is_sent(
    tmp_path: Path, options: simulator.Options
) -> None:
    """The worker is out of reach for longer than we wait, and still has the old prompt when it is back."""
    async with open_site(tmp_path) as site, simulator.running(options) as sim:
        await add(site, sim, "w0")
        first = await site.submit(work(30), max_tries=1)
        await site.until(first, lambda job: site.bus.snapshot(first).progress is not None)
        await fault(sim, "http_error", count=0, status=500)
        second = await site.submit(picture())
        assert (await site.ended(first)).status is JobStatus.FAILED
        await sim_faults_cleared(sim)
        await spared(site, [second])
        one, two = await prompts_of(sim)
        assert one["outcome"] == "interrupted"
        assert two["received"] >= one["ended"]


async def sim_faults_cleared(sim: simulator.Simulator) -> None:
    async with aiohttp.ClientSession() as session, session.delete(f"{sim.url}/simulator/faults") as answer:
        assert answer.status < 300
