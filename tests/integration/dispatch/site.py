"""A gateway without its HTTP side: real store, real blobs, real dispatch, simulators over real sockets."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uuid_utils

from gateway import assets, dispatch, ports, simulator
from gateway.adapters import blobs, bus, comfyui, datadir, store, worker_files
from gateway.domain import model
from gateway.domain.comfy import graph

QUICK = dispatch.Patience(
    silence=0.5,
    no_socket=0.1,
    refused=0.3,
    unreachable=3.0,
    cancel_again=0.5,
    retry=0.05,
    free_again=0.05,
    free_settles=0.25,
)


_seeds = itertools.count(1)


def new_id() -> str:
    return str(uuid_utils.uuid7())


def picture(color: int = 0xFF8800, *, size: int = 16) -> dict[str, Any]:
    """A graph that paints one small picture."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": size, "height": size, "batch_size": 1, "color": color}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "art/pic"}},
    }


def work(seconds: float) -> dict[str, Any]:
    """A graph that keeps a worker busy for a while, never the same twice."""
    return {
        "1": {"class_type": "SimulatedWork", "inputs": {"seconds": seconds, "steps": 10, "seed": next(_seeds)}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "work"}},
    }


@dataclass(kw_only=True)
class Site:
    """What a test holds in its hands."""

    store: ports.Store
    blobs: ports.Blobs
    bus: ports.Bus
    assets: assets.Assets
    dispatch: dispatch.Dispatch
    task: asyncio.Task[None]
    restarted: list[str] = field(default_factory=list[str])

    async def submit(self, data: dict[str, Any], *, max_tries: int = 3, **more: Any) -> model.JobId:
        whole = graph.parse_graph(data)
        now = time.time()
        job = model.NewJob(
            id=model.JobId(new_id()),
            tenant=model.DEFAULT_TENANT,
            created_at=now,
            expires_at=now + 3600,
            graph=orjson.dumps(whole),
            requirements=graph.requirements(whole),
            assets=tuple(model.AssetId(found.asset_id) for found in graph.asset_references(whole)),
            max_tries=max_tries,
            **more,
        )
        await self.store.jobs.submit([job])
        self.bus.signal(model.WorkQueued())
        return job.id

    async def job(self, job_id: model.JobId) -> model.Job:
        return await self.store.jobs.get(model.DEFAULT_TENANT, job_id)

    async def until(self, job_id: model.JobId, holds: Callable[[model.Job], bool], seconds: float = 20) -> model.Job:
        """The job once `holds` is true of it, by the bus."""
        async with asyncio.timeout(seconds):
            with self.bus.subscribe(job_id) as news:
                while True:
                    job = await self.job(job_id)
                    if holds(job):
                        return job
                    await news.next(timeout=1)

    async def ended(self, job_id: model.JobId, seconds: float = 20) -> model.Job:
        return await self.until(job_id, lambda job: job.ended, seconds)

    async def running(self, job_id: model.JobId) -> model.Job:
        return await self.until(job_id, lambda job: job.status is model.JobStatus.RUNNING)

    async def cancel(self, job_id: model.JobId) -> model.Job:
        job = await self.store.jobs.cancel(model.DEFAULT_TENANT, job_id, now=time.time())
        self.bus.publish(job_id, model.StatusChanged(status=job.status))
        self.bus.signal(model.CancelAsked(job_id=job_id, attempt_id=job.attempt_id))
        return job

    async def worker_ready(self, worker: str, seconds: float = 10) -> model.WorkerView:
        return await self.worker_is(worker, lambda view: view.state in {"idle", "busy"}, seconds)

    async def worker_is(
        self, worker: str, holds: Callable[[model.WorkerView], bool], seconds: float = 10
    ) -> model.WorkerView:
        async with asyncio.timeout(seconds):
            while True:
                for view in self.dispatch.views():
                    if view.id == worker and holds(view):
                        return view
                await asyncio.sleep(0.01)  # the fleet tells nobody; a person would look again, too

    async def bytes_of(self, output: model.Output) -> bytes:
        return b"".join([chunk async for chunk in self.blobs.read(output.asset.hash)])


@asynccontextmanager
async def open_site(
    folder: Path,
    *,
    owner: str = "test",
    patience: dispatch.Patience = QUICK,
    database: str | None = None,
    **options: Any,
) -> AsyncGenerator[Site]:
    """A site over `folder`; leaving it is a sudden death: nothing is handed back."""
    async with AsyncExitStack() as stack:
        opened = await store.open_store(database or f"sqlite:///{folder / 'gateway.db'}", clock=time.time)
        stack.push_async_callback(opened.close)
        kept = blobs.open_blobs(str(folder / "blobs"))
        news = bus.MemoryBus()
        library = assets.Assets(
            opened.assets, kept, clock=time.time, new_id=new_id, signer=assets.Signer(b"secret" * 6)
        )
        restarted: list[str] = []

        async def restart(worker: model.WorkerId, reason: str) -> None:
            restarted.append(worker)

        ties = dispatch.Ties(
            queue=opened.queue,
            workers=opened.workers,
            bus=news,
            assets=library,
            connect=comfyui.ComfyClient,
            choose=None,
            clock=time.time,
            new_id=new_id,
            secret_of=lambda job_id: None,
            forget_secret=lambda job_id: None,
            restart_worker=restart,
            learned=opened.learned,
            chance=lambda: 0.5,
            files=worker_files.WorkerFiles(datadir.DataDir(path=folder)),
        )
        made = dispatch.Dispatch(ties, dispatch.Options(owner=owner, patience=patience, **options))
        task = asyncio.create_task(made.run())
        try:
            yield Site(
                store=opened,
                blobs=kept,
                bus=news,
                assets=library,
                dispatch=made,
                task=task,
                restarted=restarted,
            )
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await made.close()


async def add(site: Site, sim: simulator.Simulator, name: str, *, depth: int = 1) -> None:
    """Put a simulator into the fleet and wait until it may take work."""
    await site.dispatch.add(sim.url, worker_id=name, depth=depth)
    await site.worker_ready(name)


async def fault(sim: simulator.Simulator, kind: str, **more: Any) -> None:
    """Script a failure."""
    body = {"kind": kind, **more}
    async with aiohttp.ClientSession() as session, session.post(f"{sim.url}/simulator/faults", json=body) as answer:
        assert answer.status < 300, await answer.text()


async def prompts_of(sim: simulator.Simulator) -> list[dict[str, Any]]:
    """What the worker itself logged about its prompts."""
    async with aiohttp.ClientSession() as session, session.get(f"{sim.url}/simulator/log") as response:
        answer = await response.json()
        return answer["prompts"] if isinstance(answer, dict) else answer
