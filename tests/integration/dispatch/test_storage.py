"""Blob store or database go away for a while: finished work waits, nothing new begins, everything goes on by itself."""

from __future__ import annotations

import asyncio
import contextlib
import io
import signal
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from gateway import simulator
from gateway.domain import errors, model
from gateway.domain.states import JobStatus, Outcome
from tests import fixtures_postgres
from tests.integration.dispatch.site import Site, add, open_site, picture, prompts_of, work


@contextmanager
def away(folder: Path) -> Generator[None]:
    """The blobs' folder is not there, as a share that lost its server."""
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(folder)


async def shut(site: Site) -> None:
    """Until the gateway has noticed."""
    async with asyncio.timeout(10):
        while site.assets.space.shut is None:
            await asyncio.sleep(0.01)  # nobody is told; whoever asks next is


async def test_what_was_made_waits_and_nothing_new_begins(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        first = await site.submit(work(0.3))
        await site.running(first)
        with away(tmp_path / "blobs"):
            await shut(site)
            waiting = await site.submit(picture())
            with pytest.raises(errors.QueueFull) as caught:
                await site.assets.space.require()
            assert caught.value.retry_after > 0
            assert (await site.job(first)).status is JobStatus.RUNNING
        job = await site.ended(first)
        assert (job.status, job.tries, len(job.outputs)) == (JobStatus.SUCCEEDED, 1, 1)
        assert await site.bytes_of(job.outputs[0])
        job = await site.ended(waiting)
        assert (job.status, job.tries) == (JobStatus.SUCCEEDED, 1)
        assert len(await prompts_of(sim)) == 2, "nothing was run again"
        await site.assets.space.require()


async def test_a_job_whose_outputs_wait_can_be_canceled(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        job_id = await site.submit(work(0.2))
        await site.running(job_id)
        with away(tmp_path / "blobs"):
            await shut(site)
            await site.cancel(job_id)
            assert (await site.ended(job_id)).status is JobStatus.CANCELED


async def test_inputs_that_cannot_be_read_cost_no_try(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        data = io.BytesIO()
        Image.new("RGB", (8, 8)).save(data, "PNG")
        kept = await site.assets.keep_input(
            model.DEFAULT_TENANT, data.getvalue(), content_type="image/png", suffix=".png"
        )
        reference = {"__type": "core/ASSET", "info": {"id": kept.id}}
        graph = {
            "1": {"class_type": "LoadImage", "inputs": {"image": reference}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
        }
        with away(tmp_path / "blobs"):
            job_id = await site.submit(graph)
            await add(site, sim, "w0")
            await shut(site)
        job = await site.ended(job_id)
        assert (job.status, job.tries) == (JobStatus.SUCCEEDED, 1)
        outcomes = [attempt.outcome for attempt in await site.store.jobs.attempts(job_id)]
        assert outcomes == [Outcome.RELEASED, Outcome.SUCCEEDED]


async def finished_on(sim: simulator.Simulator) -> None:
    """Until the worker has run its first prompt to the end."""
    async with asyncio.timeout(20):
        while [prompt["outcome"] for prompt in await prompts_of(sim)][:1] != ["success"]:
            await asyncio.sleep(0.02)


async def goes_on(site: Site, first: model.JobId, sim: simulator.Simulator) -> None:
    """What ran while the database was away is recorded, what comes now runs, and nothing ran twice."""
    job = await site.ended(first)
    assert (job.status, job.tries, len(job.outputs)) == (JobStatus.SUCCEEDED, 1, 1)
    later = await site.ended(await site.submit(picture()))
    assert (later.status, later.tries) == (JobStatus.SUCCEEDED, 1)
    assert len(await prompts_of(sim)) == 2


async def test_a_job_that_ends_while_the_database_is_locked(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/gateway.db?timeout=0.05"
    async with open_site(tmp_path, database=url) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        first = await site.submit(work(0.3))
        await site.running(first)
        with contextlib.closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await finished_on(sim)
            with pytest.raises(errors.StoreUnavailable):
                await site.submit(picture())
            with pytest.raises(errors.StoreUnavailable):
                await site.store.check()
            assert (await site.job(first)).status is JobStatus.RUNNING, "reading still works"
            other.execute("ROLLBACK")
        await goes_on(site, first, sim)


@pytest.fixture
def own_server() -> Iterator[fixtures_postgres.PostgresServer]:
    """A cluster that a test may break."""
    server = fixtures_postgres.make_server(durable=True)
    server.start()
    yield server
    server.remove()


@pytest.mark.postgres
async def test_a_job_that_ends_while_the_database_is_down(
    tmp_path: Path, own_server: fixtures_postgres.PostgresServer
) -> None:
    async with open_site(tmp_path, database=own_server.url("postgres")) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        first = await site.submit(work(0.5))
        await site.running(first)
        own_server.stop(signal.SIGQUIT)
        await finished_on(sim)
        with pytest.raises(errors.StoreUnavailable):
            await site.submit(picture())
        own_server.start()
        await goes_on(site, first, sim)
