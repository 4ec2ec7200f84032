"""Placement over real sockets: what workers hold and how long runs take is learned from what they say."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import aiohttp

from gateway import simulator
from gateway.domain import model
from gateway.domain.comfy import graph
from gateway.domain.costs import sketch
from tests.integration.dispatch.site import Site, add, open_site, prompts_of

_seeds = itertools.count(1)
SLOW_LOADS = simulator.Options(load_ms=400, models={"checkpoints": ("a.safetensors", "b.safetensors")})


def of_model(name: str, seconds: float = 0.02) -> dict[str, Any]:
    """Work that needs a checkpoint, never the same twice."""
    return {
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": f"{name}.safetensors"}},
        "1": {
            "class_type": "SimulatedWork",
            "inputs": {"seconds": seconds, "seed": next(_seeds), "model": ["4", 0]},
        },
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "work"}},
    }


async def submit(site: Site, data: dict[str, Any], **more: Any) -> model.JobId:
    return await site.submit(data, sketch=sketch.sketch(graph.parse_graph(data)), **more)


async def run(site: Site, *graphs: dict[str, Any]) -> list[model.Job]:
    """All of them, one after the other."""
    return [await site.ended(await submit(site, data)) for data in graphs]


async def loads(*sims: simulator.Simulator) -> int:
    return sum([prompt["loads"] for sim in sims for prompt in await prompts_of(sim)])


async def test_jobs_go_where_their_models_are(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running(SLOW_LOADS) as one, simulator.running(SLOW_LOADS) as two:
        await add(site, one, "w0")
        await add(site, two, "w1")
        await run(site, of_model("a"), of_model("b"), of_model("a"), of_model("b"))  # learned; each has its worker
        before = await loads(one, two)
        jobs = await run(site, *(of_model(name) for name in "aabbabab"))
        assert await loads(one, two) == before
        assert len({job.worker for job in jobs}) == 2
        (claim,) = [event for event in await site.store.jobs.events(jobs[0].id) if event.type == "claim"]
        assert claim.data["reason"] == f"{jobs[0].worker} is free and holds its models"
        assert site.dispatch.decisions()["warm"] >= 8


async def test_a_job_waits_for_a_warm_worker_and_says_so(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running(SLOW_LOADS) as one, simulator.running(SLOW_LOADS) as two:
        await add(site, one, "w0")
        await run(site, of_model("a", 0.2), of_model("a", 0.2), of_model("a", 0.2))
        await add(site, two, "w1")
        await site.worker_ready("w1")
        first = await submit(site, of_model("a", 0.2))
        await site.running(first)
        second = await submit(site, of_model("a", 0.2))
        job = await site.job(second)
        why = await site.dispatch.why(job, position=1)
        assert (why.worker, job.status) == ("w0", model.JobStatus.QUEUED)
        assert why.sentence.startswith("waits for w0: warm in 0.")
        assert "loading elsewhere 0." in why.sentence
        expected = site.dispatch.eta(job, position=1)
        assert expected is not None
        assert 0.1 < expected.p50 < 2.0
        assert (await site.ended(second)).worker == "w0"
        assert await loads(two) == 0


async def test_what_was_learned_survives_a_restart(tmp_path: Path) -> None:
    async with simulator.running(SLOW_LOADS) as one:
        async with open_site(tmp_path) as site:
            await add(site, one, "w0")
            await run(site, of_model("a"), of_model("a"))
            await site.dispatch.stop(grace=5)
        async with open_site(tmp_path) as site:
            await add(site, one, "w0")
            await site.worker_ready("w0")
            await run(site, of_model("a"))
            assert sum(site.dispatch.decisions().values()) == 1  # it had an idea of the very first one


async def test_a_restarted_worker_holds_nothing(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        async with simulator.running(SLOW_LOADS) as sim:
            await add(site, sim, "w0")
            (job,) = await run(site, of_model("a"))
            port = int(sim.url.rpartition(":")[2])
        again = simulator.Options(load_ms=400, models=SLOW_LOADS.models, port=port)
        await site.worker_is("w0", lambda view: view.state == "unreachable")
        async with simulator.running(again):
            await site.worker_ready("w0")
            await run(site, of_model("a"), of_model("a"))
            (job,) = await run(site, of_model("a"))
            assert job.worker == "w0"
            assert site.dispatch.decisions()["cold"] >= 1


async def test_a_job_that_nobody_can_run_says_what_is_missing(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running(SLOW_LOADS) as sim:
        job_id = await submit(site, of_model("c"))
        why = await site.dispatch.why(await site.job(job_id), position=1)
        assert why.sentence == "waits for the first worker: none has told what it can run"
        await add(site, sim, "w0")
        await site.worker_ready("w0")
        why = await site.dispatch.why(await site.job(job_id), position=1)
        assert why.sentence.startswith("no worker can run it: ")
        assert "c.safetensors" in why.sentence


async def test_memory_that_somebody_freed_is_noticed_by_the_next_run(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running(SLOW_LOADS) as sim:
        await add(site, sim, "w0")
        await run(site, of_model("a"), of_model("a"), of_model("a"))
        async with aiohttp.ClientSession() as session:
            await session.post(f"{sim.url}/free", json={"unload_models": True, "free_memory": True})
        await run(site, of_model("a"), of_model("a"))
        assert await loads(sim) == 2
