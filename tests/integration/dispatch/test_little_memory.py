"""A job that finds too little memory: freed and alone, then larger, then a clear error; and the next one knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway import simulator
from gateway.domain import model
from gateway.domain.comfy import graph, sizes
from gateway.domain.states import JobStatus, Outcome
from tests.integration.dispatch.site import Site, add, fault, open_site, picture

SMALL = simulator.Options(card="rtx3060")
LARGE = simulator.Options(card="h100")


async def outcomes(site: Site, job_id: str) -> list[tuple[str | None, Outcome | None]]:
    return [(attempt.worker, attempt.outcome) for attempt in await site.store.jobs.attempts(job_id)]


async def order(site: Site, size: int = 64, **more: Any) -> model.JobId:
    whole = picture(size=size)
    return await site.submit(whole, size=sizes.pixels(graph.parse_graph(whole)), template="portrait", **more)


async def test_the_memory_is_freed_and_it_runs_there_again(tmp_path: Path) -> None:
    """Not on the larger one beside it: what was loaded there was in the way."""
    async with open_site(tmp_path) as site, simulator.running(SMALL) as small, simulator.running(LARGE) as large:
        await add(site, small, "w0")
        await add(site, large, "w1")
        await fault(small, "memory_full", node_class="EmptyImage", count=0)
        job = await site.ended(await order(site))
        assert job.status is JobStatus.SUCCEEDED
        assert await outcomes(site, job.id) == [("w0", Outcome.BROKEN), ("w0", Outcome.SUCCEEDED)]
        first, _ = await site.store.jobs.attempts(job.id)
        assert first.error is not None
        assert first.error.code == "out_of_memory"


async def test_a_request_to_free_that_is_lost_is_repeated(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running(SMALL) as small:
        await add(site, small, "w0")
        await fault(small, "memory_full", node_class="EmptyImage", count=0)
        await fault(small, "free_lost", count=1)
        job = await site.ended(await order(site))
        assert (job.status, job.tries) == (JobStatus.SUCCEEDED, 2)


async def test_what_is_too_large_goes_to_a_larger_card_and_the_next_one_at_once(tmp_path: Path) -> None:
    async with simulator.running(SMALL) as small, simulator.running(LARGE) as large:
        async with open_site(tmp_path) as site:
            await add(site, small, "w0")
            await add(site, large, "w1")
            await fault(small, "out_of_memory", node_class="EmptyImage", count=0)
            job = await site.ended(await order(site))
            assert job.status is JobStatus.SUCCEEDED
            assert await outcomes(site, job.id) == [
                ("w0", Outcome.BROKEN),
                ("w0", Outcome.BROKEN),
                ("w1", Outcome.SUCCEEDED),
            ]
            again = await site.ended(await order(site, size=128))
            assert await outcomes(site, again.id) == [("w1", Outcome.SUCCEEDED)]
            await site.dispatch.stop(grace=1)
        async with open_site(tmp_path) as site:
            await site.dispatch.restore()
            await site.worker_ready("w0")
            await site.worker_ready("w1")
            later = await site.ended(await order(site))
            assert await outcomes(site, later.id) == [("w1", Outcome.SUCCEEDED)]


async def test_without_a_larger_card_it_fails_with_node_sizes_and_advice(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running(SMALL) as one, simulator.running(SMALL) as two:
        await add(site, one, "w0")
        await add(site, two, "w1")
        await fault(one, "out_of_memory", node_class="EmptyImage", count=0)
        job = await site.ended(await order(site))
        assert job.status is JobStatus.FAILED
        assert job.error is not None
        assert (job.error.code, job.error.node_id, job.error.class_type) == ("out_of_memory", "1", "EmptyImage")
        assert "on w0 (12.0 GiB of card memory), although it had the card for itself" in job.error.message
        details = job.error.details or {}
        assert (details["size"]["width"], details["size"]["height"], details["alone"]) == (64, 64, True)
        assert details["vram_total"] == 12 * 2**30
        assert "order a smaller size" in details["advice"]
        assert await outcomes(site, job.id) == [("w0", Outcome.BROKEN), ("w0", Outcome.FAILED)]


async def test_smaller_jobs_of_the_template_still_go_where_the_large_one_did_not_fit(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running(SMALL) as small, simulator.running(LARGE) as large:
        await add(site, small, "w0")
        await add(site, large, "w1")
        await fault(small, "out_of_memory", node_class="EmptyImage", count=2)
        assert (await site.ended(await order(site, size=512))).worker == "w1"
        assert (await site.ended(await order(site, size=64))).worker == "w0"
