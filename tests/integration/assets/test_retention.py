"""The loop that forgets, over a real store and real files."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway import assets, ports, retention
from gateway.adapters import blobs, bus, store
from gateway.domain import errors, model
from gateway.domain.states import Outcome
from tests.contract import store_kit as kit
from tests.integration.assets import made

MEGABYTE = 10**6


class Kept:
    """A store with files, and what forgets them."""

    def __init__(self, opened: ports.Store, folder: Path, *, shared: bool = False) -> None:
        self.store = opened
        self.folder = folder
        self.clock = made.Clock()
        self.assets = assets.Assets(
            opened.assets,
            blobs.open_blobs(folder),
            clock=self.clock,
            new_id=kit.new_id,
            signer=assets.Signer(b"s" * 32),
            retention=3600.0,
            shared=shared,
        )
        self.bus = bus.MemoryBus()
        self.retention = retention.Retention(
            queue=opened.queue, assets=self.assets, bus=self.bus, clock=self.clock, queue_limit=1e6
        )

    def files(self) -> list[Path]:
        return [path for path in self.folder.glob("??/*") if path.is_file()]

    async def ended(self, data: bytes) -> model.Job:
        """A job that made this."""
        now = kit.Clock(self.clock())
        await kit.submit_one(self.store, now)
        (claim,) = await kit.claim(self.store, await kit.lease(self.store, "w0"), now)
        output = await self.keep(claim, data)
        return await self.store.queue.settle(claim.attempt.id, kit.ending(now, Outcome.SUCCEEDED, outputs=(output,)))

    async def keep(self, claim: model.Claim, data: bytes) -> model.NewOutput:
        """What a worker made, stored and not recorded yet."""
        return await self.assets.keep_output(
            tenant=claim.tenant,
            job_id=claim.job_id,
            node_id="9",
            name="a.png",
            index=0,
            expires_at=claim.expires_at,
            simulated=False,
            chunks=chunks(data),
        )


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    opened = await store.open_store(f"sqlite:///{tmp_path}/gateway.db", clock=made.Clock())
    yield Kept(opened, tmp_path / "blobs")
    await opened.close()


async def test_bytes_go_with_the_last_asset_over_them(kept: Kept) -> None:
    job = await kept.ended(b"picture")
    received = await kept.assets.receive(chunks(b"picture"))
    upload = await kept.assets.mint(job.tenant, received, file_path="a.png", content_type="image/png", expires_in=9999)
    kept.clock.ahead = 3601  # the job's time is over, the upload's is not
    await kept.retention.sweep()
    with pytest.raises(errors.NotFound):
        await kept.store.jobs.get(job.tenant, job.id)
    assert len(kept.files()) == 1
    kept.clock.ahead = 10_000
    await kept.retention.sweep()
    with pytest.raises(errors.NotFound):
        await kept.store.assets.get(job.tenant, upload.asset.id)
    assert kept.files() == []


async def test_a_budget_is_kept_by_forgetting_the_oldest(kept: Kept) -> None:
    jobs = [await kept.ended(os.urandom(MEGABYTE)) for _ in range(5)]
    kept.clock.ahead = 600  # outputs of the last minutes are spared: their records may still be on the way
    await kept.retention.keep_budget(3 * MEGABYTE)
    page = await kept.store.jobs.page(model.DEFAULT_TENANT, model.JobFilter(), limit=9, cursor=None)
    assert {job.id for job in page.jobs} == {job.id for job in jobs[2:]}
    assert sum(path.stat().st_size for path in kept.files()) == 3 * MEGABYTE
    tally = kept.retention.tally
    assert (tally.held, tally.evicted_jobs, tally.evicted_bytes) == (3 * MEGABYTE, 2, 2 * MEGABYTE)


async def test_a_budget_that_cannot_be_kept_ends_no_running_job(kept: Kept) -> None:
    now = kit.Clock(kept.clock())
    job = await kit.submit_one(kept.store, now)
    (claim,) = await kit.claim(kept.store, await kit.lease(kept.store, "w0"), now)
    await kept.store.queue.add_outputs(claim.attempt.id, [await kept.keep(claim, os.urandom(MEGABYTE))])
    await kept.retention.keep_budget(1000)
    assert (await kept.store.jobs.get(job.tenant, job.id)).outputs
    assert len(kept.files()) == 1
    assert kept.retention.tally.held == MEGABYTE


async def test_blobs_that_no_record_came_to_are_collected_after_a_day(kept: Kept) -> None:
    """An attempt stored an output and died before it recorded it."""
    job = await kept.ended(b"recorded")
    now = kit.Clock(kept.clock())
    await kit.submit_one(kept.store, now)
    (claim,) = await kit.claim(kept.store, await kit.lease(kept.store, "w0"), now)
    await kept.keep(claim, b"never recorded")
    await kept.retention.tidy()
    assert len(kept.files()) == 2, "it may be recorded yet"
    kept.clock.ahead = 2 * 86_400
    await kept.retention.tidy()
    (left,) = kept.files()
    assert left.read_bytes() == b"recorded"
    assert kept.retention.tally.orphans == 1
    assert (await kept.store.jobs.get(job.tenant, job.id)).outputs


async def test_an_orphan_whose_bytes_come_again_is_spared(kept: Kept) -> None:
    now = kit.Clock(kept.clock())
    await kit.submit_one(kept.store, now)
    (claim,) = await kit.claim(kept.store, await kit.lease(kept.store, "w0"), now)
    await kept.keep(claim, b"the same picture")
    (file,) = kept.files()
    os.utime(file, (1000, 1000))
    again = await kept.keep(claim, b"the same picture")
    await kept.retention.tidy()
    await kept.store.queue.add_outputs(claim.attempt.id, [again])
    assert file.exists()


async def test_gateways_that_share_their_blobs_spare_what_another_just_put(tmp_path: Path) -> None:
    """One stored an output and has not recorded it; the last other record over the same bytes goes at the other."""
    opened = await store.open_store(f"sqlite:///{tmp_path}/gateway.db", clock=made.Clock())
    one, two = (Kept(opened, tmp_path / "blobs", shared=True) for _ in range(2))
    job = await one.ended(b"the same picture")
    now = kit.Clock(one.clock())
    await kit.submit_one(opened, now)
    (claim,) = await kit.claim(opened, await kit.lease(opened, "w0"), now)
    two.clock.ahead = one.clock.ahead = 600  # the first put is too long ago for the guard inside a process
    (file,) = one.files()
    os.utime(file, (1000, 1000))
    again = await one.keep(claim, b"the same picture")
    await two.assets.discard([job.outputs[0].asset.hash])
    assert two.files(), "another record is there"
    await opened.queue.evict(now=one.clock(), excess=1)
    two.clock.ahead = 601
    await two.retention.sweep()
    assert two.files(), "it was put again a moment ago"
    await opened.queue.add_outputs(claim.attempt.id, [again])
    two.clock.ahead = 2000
    await two.retention.sweep()
    assert two.files()
    await opened.close()
