"""What our own workers keep of ended attempts goes once it is collected; what is not ours is left alone."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import aiohttp

from gateway import simulator
from gateway.adapters import datadir, worker_files
from gateway.domain import model
from gateway.domain.states import JobStatus
from tests.integration.dispatch.site import Site, add, new_id, open_site, picture, work


async def adopt(site: Site, sim: simulator.Simulator, name: str) -> None:
    """Take a simulator into use as a process of our own supervisor."""
    process = model.WorkerProcess(id=model.WorkerId(name), url=sim.url, kind=model.WorkerKind.SIMULATED, pid=1)
    await site.dispatch.processes_changed([process])
    await site.worker_ready(name)


def options(folder: Path, name: str) -> simulator.Options:
    place = folder / "workers" / name
    place.mkdir(parents=True)
    return simulator.Options(directory=place)


async def history(sim: simulator.Simulator) -> set[str]:
    async with aiohttp.ClientSession() as session, session.get(f"{sim.url}/history") as answer:
        return set(await answer.json())


async def attempt_of(site: Site, job_id: model.JobId) -> str:
    (attempt,) = await site.store.jobs.attempts(job_id)
    return attempt.id


async def until_gone(sim: simulator.Simulator, attempt: str, folder: Path) -> None:
    async with asyncio.timeout(20):
        while attempt in await history(sim) or folder.exists():
            await asyncio.sleep(0.05)  # cleaning tells nobody


async def test_files_and_history_of_our_own_worker_go_after_collection(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running(options(tmp_path, "sim1")) as sim:
        await adopt(site, sim, "sim1")
        outputs = tmp_path / "workers" / "sim1" / "output" / "gw"
        done, canceled, running = [await site.submit(data) for data in (picture(), work(30), work(30))]
        job = await site.ended(done)
        kept = await site.bytes_of(job.outputs[0])
        await site.running(canceled)
        await site.cancel(canceled)
        await site.ended(canceled)
        await site.running(running)
        for job_id in (done, canceled):
            attempt = await attempt_of(site, job_id)
            await until_gone(sim, attempt, outputs / attempt)
        assert (await site.job(running)).status is JobStatus.RUNNING
        assert await site.bytes_of(job.outputs[0]) == kept


async def test_a_worker_elsewhere_is_left_alone(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running(options(tmp_path, "far")) as far:
        async with simulator.running(options(tmp_path, "sim1")) as ours:
            await add(site, far, "far")
            first = await site.submit(picture())
            await site.ended(first)
            await site.dispatch.remove("far", drain=False)
            await adopt(site, ours, "sim1")
            second = await site.submit(picture())
            await site.ended(second)
            mine, theirs = await attempt_of(site, second), await attempt_of(site, first)
            await until_gone(ours, mine, tmp_path / "workers" / "sim1" / "output" / "gw" / mine)
        assert theirs in await history(far)
        assert list((tmp_path / "workers" / "far" / "output" / "gw" / theirs).rglob("*.png"))


async def test_old_folders_go_unless_somebody_runs_in_them(tmp_path: Path) -> None:
    files = worker_files.WorkerFiles(datadir.DataDir(path=tmp_path))
    parent = tmp_path / "workers" / "gpu0" / "output" / "gw"
    old, running, fresh = (model.AttemptId(new_id()) for _ in range(3))
    for attempt in (old, running, fresh):
        (parent / attempt).mkdir(parents=True)
        (parent / attempt / "a.png").write_bytes(b"x")
    (parent / "by hand").mkdir()
    for name in (old, running, "by hand"):
        os.utime(parent / name, (1000, 1000))
    worker = model.WorkerId("gpu0")
    assert await files.clear_stale(worker, keep=[running], before=2000) == 1
    assert {path.name for path in parent.iterdir()} == {running, fresh, "by hand"}
    await files.clear(worker, [fresh, model.AttemptId("../gw"), model.AttemptId("by hand")])
    assert {path.name for path in parent.iterdir()} == {running, "by hand"}
    assert await files.clear_stale(model.WorkerId("none"), keep=[], before=2000) == 0
