"""Contract of `ports.Assets`, and of forgetting: nothing goes that is still needed, everything else does."""

from __future__ import annotations

import pytest

from gateway import ports
from gateway.domain import errors, model
from gateway.domain.states import Outcome
from tests.contract import store_kit as kit

HASH = "blake3:" + "ab" * 32
OTHER_HASH = "blake3:" + "cd" * 32


async def test_an_asset_is_read_back_whole(store: ports.Store, clock: kit.Clock) -> None:
    asset = kit.new_asset(
        clock,
        file_path="in/\U0001f98a\0\ud800.png",
        tags=("input", "\0"),
        expires_at=clock.now + 0.125,
        size_bytes=2**40,
        content_type="image/png; x=\0",
        simulated=True,
    )
    assert await store.assets.add(asset) == asset
    assert await store.assets.get(kit.TENANT, asset.id) == asset
    assert await store.assets.find(asset.id) == asset
    assert await store.assets.get_many(kit.TENANT, [asset.id, "gone", "\0"]) == {asset.id: asset}
    assert await store.assets.get_many(kit.TENANT, []) == {}


async def test_another_tenants_asset_is_not_found(store: ports.Store, clock: kit.Clock) -> None:
    asset = await store.assets.add(kit.new_asset(clock, hash=HASH, file_path="a.png"))
    for missing in (asset.id, "gone", "\0"):
        with pytest.raises(errors.NotFound):
            await store.assets.get(kit.OTHER, missing)
        with pytest.raises(errors.NotFound):
            await store.assets.delete(kit.OTHER, missing)
    for missing in ("gone", "\0"):
        with pytest.raises(errors.NotFound):
            await store.assets.find(missing)
        with pytest.raises(errors.NotFound):
            await store.assets.extend(missing, expires_at=None)
    assert await store.assets.get_many(kit.OTHER, [asset.id]) == {}
    assert await store.assets.by_hash(kit.OTHER, HASH) is None
    assert await store.assets.by_path(kit.OTHER, ["a.png"]) == {}


async def test_the_newest_unexpired_asset_is_found_by_hash(store: ports.Store, clock: kit.Clock) -> None:
    assert await store.assets.by_hash(kit.TENANT, HASH) is None
    await store.assets.add(kit.new_asset(clock, hash=HASH))
    newer = await store.assets.add(kit.new_asset(clock, hash=HASH, created_at=clock.now + 1))
    await store.assets.add(kit.new_asset(clock, hash=HASH, created_at=clock.now + 2, expires_at=clock.now))
    assert await store.assets.by_hash(kit.TENANT, HASH) == newer


async def test_uploads_are_found_by_path_outputs_are_not(store: ports.Store, clock: kit.Clock) -> None:
    long = "a/" * 5000 + "\0.png"
    await store.assets.add(kit.new_asset(clock, file_path="a.png"))
    newer = await store.assets.add(kit.new_asset(clock, file_path="a.png", created_at=clock.now + 1))
    odd = await store.assets.add(kit.new_asset(clock, file_path=long))
    await store.assets.add(
        kit.new_asset(clock, file_path="a.png", created_at=clock.now + 2, job_id=model.JobId(kit.new_id()))
    )
    found = await store.assets.by_path(kit.TENANT, ["a.png", long, "gone.png"])
    assert found == {"a.png": newer, long: odd}
    assert await store.assets.by_path(kit.TENANT, []) == {}


async def test_expiry_only_ever_moves_later(store: ports.Store, clock: kit.Clock) -> None:
    asset = await store.assets.add(kit.new_asset(clock, expires_at=100.0))
    assert await store.assets.extend(asset.id, expires_at=50.0) == asset
    assert (await store.assets.extend(asset.id, expires_at=150.0)).expires_at == 150.0
    assert (await store.assets.extend(asset.id, expires_at=None)).expires_at is None
    assert (await store.assets.extend(asset.id, expires_at=200.0)).expires_at is None
    assert (await store.assets.get(kit.TENANT, asset.id)).expires_at is None


async def test_idempotency_keys_of_assets_are_apart_from_those_of_jobs(store: ports.Store, clock: kit.Clock) -> None:
    await store.jobs.submit([kit.new_job(clock)], idempotency_key="k")
    asset = await store.assets.add(kit.new_asset(clock, expires_at=100.0), idempotency_key="k")
    refused = kit.new_asset(clock)
    with pytest.raises(errors.IdempotencyKeyReuse):
        await store.assets.add(refused, idempotency_key="k")
    with pytest.raises(errors.NotFound):
        await store.assets.find(refused.id)
    with pytest.raises(errors.IdempotencyKeyReuse):
        await store.assets.extend(asset.id, expires_at=200.0, idempotency_key="k")
    assert (await store.assets.find(asset.id)).expires_at == 100.0
    await store.assets.extend(asset.id, expires_at=200.0, idempotency_key="k2")


async def test_the_last_record_of_a_blob_gives_its_hash_back(store: ports.Store, clock: kit.Clock) -> None:
    mine = await store.assets.add(kit.new_asset(clock, hash=HASH))
    theirs = await store.assets.add(kit.new_asset(clock, hash=HASH, tenant=kit.OTHER))
    assert await store.assets.unused([HASH, OTHER_HASH]) == {OTHER_HASH}
    assert await store.assets.delete(kit.TENANT, mine.id) is None
    assert await store.assets.delete(kit.OTHER, theirs.id) == HASH
    assert await store.assets.unused([HASH]) == {HASH}
    assert await store.assets.unused([]) == frozenset()
    with pytest.raises(errors.NotFound):
        await store.assets.delete(kit.TENANT, mine.id)


async def test_an_input_is_kept_while_a_job_needs_it(store: ports.Store, clock: kit.Clock) -> None:
    asset = await store.assets.add(kit.new_asset(clock, expires_at=clock.now - 1))
    job = await kit.submit_one(store, clock, assets=(asset.id, asset.id))
    with pytest.raises(errors.AssetInUse):
        await store.assets.delete(kit.TENANT, asset.id)
    assert await store.queue.prune(now=clock.now) == ()
    await store.jobs.cancel(kit.TENANT, job.id, now=clock.now)
    assert await store.queue.prune(now=clock.now) == (asset.hash,)


async def test_an_output_is_kept_while_its_job_is(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock, expires_at=clock.now + 10)
    output = kit.new_output(clock, job.id, asset=kit.new_asset(clock, job_id=job.id, expires_at=clock.now + 5))
    await kit.run_one(store, clock, await kit.lease(store, "w0"), Outcome.SUCCEEDED, outputs=(output,))
    clock.now += 6
    with pytest.raises(errors.AssetInUse):
        await store.assets.delete(kit.TENANT, output.asset.id)
    assert await store.queue.prune(now=clock.now) == ()
    assert len((await store.jobs.get(kit.TENANT, job.id)).outputs) == 1
    clock.now += 4
    assert await store.queue.prune(now=clock.now) == (output.asset.hash,)
    with pytest.raises(errors.NotFound):
        await store.jobs.get(kit.TENANT, job.id)
    with pytest.raises(errors.NotFound):
        await store.assets.find(output.asset.id)


async def test_an_asset_without_expiry_outlives_its_job(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock, expires_at=clock.now)
    output = kit.new_output(clock, job.id)
    await kit.run_one(store, clock, await kit.lease(store, "w0"), Outcome.SUCCEEDED, outputs=(output,))
    assert await store.queue.prune(now=clock.now) == ()
    assert await store.assets.find(output.asset.id) == output.asset
    assert await store.assets.delete(kit.TENANT, output.asset.id) == output.asset.hash


async def test_jobs_past_retention_leave_nothing_behind(store: ports.Store, clock: kit.Clock) -> None:
    batch = kit.new_batch(clock)
    asset = await store.assets.add(kit.new_asset(clock))
    gone, kept = await store.jobs.submit(
        [
            kit.new_job(clock, expires_at=clock.now, metadata={"a": "1"}, assets=(asset.id,)),
            kit.new_job(clock, expires_at=clock.now + 50),
        ],
        batch=batch,
    )
    assert await store.queue.prune(now=clock.now) == ()
    assert (await store.jobs.batch(kit.TENANT, batch.id)).total == 2  # neither has ended
    slots = await kit.lease(store, "w0")
    await kit.run_one(store, clock, slots, Outcome.SUCCEEDED)
    await kit.run_one(store, clock, slots, Outcome.FAILED)
    await store.queue.prune(now=clock.now)
    assert (await store.jobs.batch(kit.TENANT, batch.id)).total == 1
    assert await store.jobs.attempts(gone.id) == ()
    assert await store.jobs.events(gone.id) == ()
    page = await store.jobs.page(kit.TENANT, model.JobFilter(metadata={"a": "1"}), limit=5, cursor=None)
    assert page.jobs == ()
    await store.queue.prune(now=clock.now + 50)
    with pytest.raises(errors.NotFound):
        await store.jobs.get(kit.TENANT, kept.id)
    with pytest.raises(errors.NotFound):
        await store.jobs.batch(kit.TENANT, batch.id)


async def test_prune_is_bounded(store: ports.Store, clock: kit.Clock) -> None:
    hashes = {(await store.assets.add(kit.new_asset(clock, expires_at=clock.now))).hash for _ in range(5)}
    first = await store.queue.prune(now=clock.now, limit=3)
    second = await store.queue.prune(now=clock.now, limit=3)
    assert (len(first), len(second), {*first, *second}) == (3, 2, hashes)
    assert await store.queue.prune(now=clock.now, limit=3) == ()


async def test_a_hash_is_told_again_to_whoever_may_have_missed_it(opened: kit.OpenStore, clock: kit.Clock) -> None:
    before = await opened()
    for hash_ in (HASH, OTHER_HASH):
        await before.assets.add(kit.new_asset(clock, hash=hash_, expires_at=clock.now))
    assert await before.queue.prune(now=clock.now) == (HASH, OTHER_HASH)
    after = await opened()  # as if that gateway had died before it deleted the bytes
    await after.assets.add(kit.new_asset(clock, hash=OTHER_HASH))  # these came back meanwhile
    assert await after.queue.prune(now=clock.now) == (HASH,)
    assert await after.queue.prune(now=clock.now) == ()


async def test_a_deleted_assets_hash_is_told_once_more(store: ports.Store, clock: kit.Clock) -> None:
    asset = await store.assets.add(kit.new_asset(clock, hash=HASH))
    assert await store.assets.delete(kit.TENANT, asset.id) == HASH
    assert await store.queue.prune(now=clock.now) == (HASH,)
    assert await store.queue.prune(now=clock.now) == ()
