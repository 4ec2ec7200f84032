"""What waits on a busy worker goes to one that became idle: once, and only if it had not begun."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway import simulator
from gateway.domain import model
from gateway.domain.comfy import graph
from gateway.domain.costs import sketch
from gateway.domain.states import JobStatus, Outcome
from tests.integration.dispatch.site import Site, add, fault, open_site, prompts_of, work

OLDER = simulator.Options(version="0.3.64")


async def submit(site: Site, seconds: float, **more: Any) -> model.JobId:
    data = work(seconds)
    return await site.submit(data, sketch=sketch.sketch(graph.parse_graph(data)), **more)


async def received(sim: simulator.Simulator, count: int) -> None:
    """Until so many prompts came there; a simulator tells nobody."""
    async with asyncio.timeout(10):
        while len(await prompts_of(sim)) < count:
            await asyncio.sleep(0.01)


async def queue_of(sim: simulator.Simulator) -> dict[str, list[Any]]:
    async with aiohttp.ClientSession() as session, session.get(f"{sim.url}/queue") as answer:
        return await answer.json()


async def struck(sim: simulator.Simulator) -> int:
    """How often scripted failures have struck."""
    async with aiohttp.ClientSession() as session, session.get(f"{sim.url}/simulator/faults") as answer:
        return sum(one["struck"] for one in (await answer.json())["faults"])


async def tried(site: Site, job_id: model.JobId) -> list[tuple[str, str | None]]:
    """The worker and the outcome of each attempt."""
    return [(one.worker, one.outcome) for one in await site.store.jobs.attempts(job_id)]


async def begun(*sims: simulator.Simulator) -> set[str]:
    """The prompts that began to run, each once."""
    ids = [prompt["prompt_id"] for sim in sims for prompt in await prompts_of(sim) if prompt["started"] is not None]
    assert len(set(ids)) == len(ids)
    return set(ids)


async def in_line(site: Site, sim: simulator.Simulator, *, first: float, second: float) -> list[model.JobId]:
    """Two jobs on w0: the first runs, the second waits there."""
    await add(site, sim, "w0", depth=2)
    one = await submit(site, first)
    await site.running(one)
    two = await submit(site, second)
    await received(sim, 2)
    return [one, two]


async def test_what_waits_behind_a_long_run_moves_to_a_worker_that_becomes_idle(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as busy, simulator.running() as other:
        long, moved = await in_line(site, busy, first=30, second=0)
        await add(site, other, "w1")
        job = await site.ended(moved)
        assert (job.status, job.worker, job.tries, len(job.outputs)) == (JobStatus.SUCCEEDED, "w1", 1, 1)
        assert await tried(site, moved) == [("w0", Outcome.RELEASED), ("w1", Outcome.SUCCEEDED)]
        requeued = [event for event in await site.store.jobs.events(moved) if event.type == "requeue"]
        assert [event.data["reason"] for event in requeued] == ["taken back: w1 became idle while it waited for w0"]
        assert site.dispatch.decisions()["stolen"] == 1
        assert await begun(other) == {(await site.store.jobs.attempts(moved))[1].id}
        assert (await site.job(long)).status is JobStatus.RUNNING
        assert len(await begun(busy)) == 1


async def test_by_what_was_learned_it_is_told_how_long_the_other_would_have_been_busy(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as busy, simulator.running() as other:
        await add(site, busy, "w0", depth=2)
        for _ in range(3):
            await site.ended(await submit(site, 0.1))
        long = await submit(site, 30)  # nobody can tell: such runs took 0.1 s
        await site.running(long)
        moved = await submit(site, 0.1)
        await received(busy, 5)
        await add(site, other, "w1")
        assert (await site.ended(moved)).worker == "w1"
        (left, _) = await site.store.jobs.attempts(moved)
        assert (left.reason or "").startswith("taken back: w1 became idle, w0 is busy for ")


@pytest.mark.parametrize("seconds", [1.0, 0.0], ids=["it runs", "it has ended"])
async def test_what_begins_at_that_very_moment_stays(tmp_path: Path, seconds: float) -> None:
    """The request to leave arrives late: the run before has ended, and it has begun."""
    async with open_site(tmp_path) as site, simulator.running() as busy, simulator.running() as other:
        _, second = await in_line(site, busy, first=1.5, second=seconds)
        await fault(busy, "slow_http", path="/queue", seconds=2.0)
        await add(site, other, "w1")
        job = await site.ended(second)
        assert (job.status, job.worker, job.tries) == (JobStatus.SUCCEEDED, "w0", 1)
        assert await tried(site, second) == [("w0", Outcome.SUCCEEDED)]
        assert await struck(busy) == 1
        assert site.dispatch.decisions()["stolen"] == 0
        assert len(await begun(busy)) == 2


async def test_an_answer_that_was_lost_leaves_no_doubt(tmp_path: Path) -> None:
    """It left the queue, but the worker could not say so; asked later, it does not know it."""
    async with open_site(tmp_path) as site, simulator.running() as busy, simulator.running() as other:
        _, moved = await in_line(site, busy, first=30, second=0)
        await fault(busy, "http_error", path="/history", status=500)
        await add(site, other, "w1")
        job = await site.ended(moved)
        assert (job.status, job.worker, job.tries) == (JobStatus.SUCCEEDED, "w1", 1)
        assert await tried(site, moved) == [("w0", Outcome.RELEASED), ("w1", Outcome.SUCCEEDED)]
        assert await struck(busy) == 1


async def test_a_gateway_that_dies_between_taking_it_and_saying_so_loses_nothing(tmp_path: Path) -> None:
    async with simulator.running() as busy, simulator.running() as other:
        async with open_site(tmp_path) as site:
            _, moved = await in_line(site, busy, first=30, second=0)
            await fault(busy, "slow_history", seconds=60)
            await add(site, other, "w1")
            async with asyncio.timeout(10):
                while (await queue_of(busy))["queue_pending"]:
                    await asyncio.sleep(0.01)  # it has left; the gateway waits for the answer that tells
        async with open_site(tmp_path) as site:
            await site.dispatch.restore()
            job = await site.ended(moved)
            assert (job.status, job.worker) == (JobStatus.SUCCEEDED, "w1")
            lost, *again, done = await tried(site, moved)  # in between, it may wait behind w0's run once more
            assert (lost, done) == (("w0", Outcome.LOST), ("w1", Outcome.SUCCEEDED))
            assert {outcome for _, outcome in again} <= {Outcome.RELEASED}
        assert len(await begun(busy, other)) == 2


async def test_a_server_without_the_newer_routes_gives_back_what_waits_behind_others(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running(OLDER) as busy, simulator.running(OLDER) as other:
        await add(site, busy, "w0")
        body = {"prompt": work(30), "client_id": "somebodys-browser"}
        async with aiohttp.ClientSession() as session, session.post(f"{busy.url}/prompt", json=body) as answer:
            assert answer.status == 200
        moved = await submit(site, 0)
        await received(busy, 2)
        await add(site, other, "w1")
        job = await site.ended(moved)
        assert (job.worker, job.tries) == ("w1", 1)
        assert await tried(site, moved) == [("w0", Outcome.RELEASED), ("w1", Outcome.SUCCEEDED)]
        assert len((await queue_of(busy))["queue_running"]) == 1  # theirs runs on


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_job_begins_once_and_ends_once_whenever_it_is_taken(tmp_path: Path, seed: int) -> None:
    """Lines on two workers, one that is often idle, cancels at any moment, and nobody knows how long a run takes."""
    dice = random.Random(seed)
    async with (
        open_site(tmp_path) as site,
        simulator.running() as one,
        simulator.running() as two,
        simulator.running() as three,
    ):
        await add(site, one, "w0", depth=4)
        await add(site, two, "w1", depth=3)
        await add(site, three, "w2")
        jobs: list[model.JobId] = []
        for _ in range(5):
            some = [await site.submit(work(seconds)) for seconds in (0.6, *dice.choices([0.0, 0.02, 0.1, 0.4], k=7))]
            doomed = dice.sample(some, 1)
            await asyncio.sleep(dice.uniform(0, 0.2))  # the moment is what the test varies
            await asyncio.gather(*map(site.cancel, doomed))
            await asyncio.gather(*map(site.ended, some))
            jobs += some
        outcomes = Counter[str]()
        for job_id in jobs:
            job = await site.job(job_id)
            assert job.status in {JobStatus.SUCCEEDED, JobStatus.CANCELED}
            outcomes.update(str(outcome) for _, outcome in await tried(site, job_id))
        ran = await begun(one, two, three)
        released = {
            attempt.id
            for job_id in jobs
            for attempt in await site.store.jobs.attempts(job_id)
            if attempt.outcome is Outcome.RELEASED
        }
        assert not ran & released
        assert outcomes.keys() <= {Outcome.SUCCEEDED, Outcome.CANCELED, Outcome.RELEASED}
        assert outcomes[Outcome.RELEASED] <= site.dispatch.decisions()["stolen"]  # some are promised, and never sent
