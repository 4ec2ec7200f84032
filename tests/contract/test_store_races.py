"""Many at once: whatever the order, each thing happens exactly once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import Any

from gateway import ports
from gateway.domain import errors, model
from gateway.domain.states import TERMINAL, JobStatus, Outcome
from tests.contract import store_kit as kit


async def outcomes(*calls: Awaitable[Any]) -> tuple[list[Any], Counter[type[BaseException]]]:
    """Run all at once; the results, and how often each error came."""
    done = await asyncio.gather(*calls, return_exceptions=True)
    return (
        [one for one in done if not isinstance(one, BaseException)],
        Counter(type(one) for one in done if isinstance(one, BaseException)),
    )


async def test_of_duplicates_of_an_idempotency_key_one_wins(opened: kit.OpenStore, clock: kit.Clock) -> None:
    stores = [await opened(), await opened()]
    won, lost = await outcomes(
        *(stores[n % 2].jobs.submit([kit.new_job(clock)], idempotency_key="same") for n in range(20))
    )
    assert len(won) == 1
    assert lost == {errors.IdempotencyKeyReuse: 19}
    assert await stores[0].jobs.count_by_status() == {JobStatus.QUEUED: 1}


async def test_the_queues_bound_holds_under_concurrent_submits(store: ports.Store, clock: kit.Clock) -> None:
    won, lost = await outcomes(*(store.jobs.submit([kit.new_job(clock)], queue_limit=7) for _ in range(20)))
    assert (len(won), lost) == (7, {errors.QueueFull: 13})


async def test_concurrent_claimers_never_share_a_job(opened: kit.OpenStore, clock: kit.Clock) -> None:
    stores = [await opened() for _ in range(3)]
    jobs = await stores[0].jobs.submit([kit.new_job(clock) for _ in range(60)])
    for number, store in enumerate(stores):
        for worker in range(4):
            await store.workers.put(kit.new_worker(f"w{number}-{worker}"))

    async def drain(number: int) -> list[model.Claim]:
        store = stores[number]
        slots = await kit.lease(store, *(f"w{number}-{worker}" for worker in range(4)), owner=f"host{number}")
        taken: list[model.Claim] = []
        while len(seen) < len(jobs):
            claims = await kit.claim(store, slots, clock)
            seen.update(claim.job_id for claim in claims)
            taken += claims
            for claim in claims:
                await store.queue.settle(claim.attempt.id, kit.ending(clock, Outcome.SUCCEEDED))
        return taken

    seen: set[str] = set()
    drained = await asyncio.gather(*(drain(number) for number in range(3)))
    everything = Counter(claim.job_id for taken in drained for claim in taken)
    assert everything == Counter(job.id for job in jobs)
    assert sum(worker.jobs_done for worker in await stores[0].workers.all()) == len(jobs)
    clock.now += 2
    assert await stores[0].jobs.count_by_status() == {JobStatus.SUCCEEDED: 60}


async def test_of_many_settles_one_counts(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock)
    (taken,) = await kit.claim(store, await kit.lease(store, "w0"), clock)
    won, lost = await outcomes(
        *(
            store.queue.settle(taken.attempt.id, kit.ending(clock, outcome, outputs=(kit.new_output(clock, job.id),)))
            for outcome in (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.LOST, Outcome.RELEASED) * 3
        )
    )
    assert len(won) == 1
    assert lost == {errors.LeaseLost: 11}
    assert await store.jobs.get(kit.TENANT, job.id) == won[0]


async def test_cancel_against_claim_and_settle(opened: kit.OpenStore, clock: kit.Clock) -> None:
    mine, other = await opened(), await opened()
    slots = await kit.lease(mine, *(f"w{number}" for number in range(20)))
    jobs = await mine.jobs.submit([kit.new_job(clock) for _ in range(20)])

    async def work() -> None:
        for claim in await kit.claim(mine, slots, clock):
            await mine.queue.settle(claim.attempt.id, kit.ending(clock, Outcome.SUCCEEDED))

    await asyncio.gather(work(), *(other.jobs.cancel(kit.TENANT, job.id, now=clock.now) for job in jobs))
    for job in jobs:
        found = await mine.jobs.get(kit.TENANT, job.id)
        assert found.status in {JobStatus.CANCELED, JobStatus.SUCCEEDED}
        kinds = [event.type for event in await mine.jobs.events(job.id)]
        assert len([kind for kind in kinds if kind in {"cancel", "confirm_cancel", "succeed"}]) == 1
        assert (found.status is JobStatus.CANCELED) == (kinds == ["submit", "cancel"])


async def test_expiry_against_claim(opened: kit.OpenStore, clock: kit.Clock) -> None:
    mine, other = await opened(), await opened()
    slots = await kit.lease(mine, *(f"w{number}" for number in range(10)))
    jobs = await mine.jobs.submit([kit.new_job(clock) for _ in range(30)])
    expired, claims = await asyncio.gather(
        other.queue.expire(now=clock.now, queued_before=clock.now + 1), kit.claim(mine, slots, clock)
    )
    assert {*expired, *(claim.job_id for claim in claims)} <= {job.id for job in jobs}
    assert not set(expired) & {claim.job_id for claim in claims}
    for job in jobs:
        found = await mine.jobs.get(kit.TENANT, job.id)
        assert (found.status in TERMINAL) == (job.id in expired)


async def test_a_take_over_finds_every_attempt_of_its_predecessor(opened: kit.OpenStore, clock: kit.Clock) -> None:
    for round_ in range(5):
        old, new = await opened(), await opened()
        names = [f"w{round_}-{number}" for number in range(4)]
        slots = await kit.lease(old, *names)
        await old.jobs.submit([kit.new_job(clock) for _ in range(4)])
        claims, _ = await asyncio.gather(kit.claim(old, slots, clock), kit.lease(new, *names))
        adopted = await new.queue.open_claims([model.WorkerId(name) for name in names])
        assert {claim.attempt.id for claim in adopted} == {claim.attempt.id for claim in claims}
        for claim in adopted:
            await new.queue.settle(claim.attempt.id, kit.ending(clock, Outcome.FAILED))
        for job_id in [
            job.id for job in (await new.jobs.page(kit.TENANT, model.JobFilter(), limit=9, cursor=None)).jobs
        ]:
            await new.jobs.cancel(kit.TENANT, job_id, now=clock.now)


async def test_an_asset_is_never_deleted_under_a_job(opened: kit.OpenStore, clock: kit.Clock) -> None:
    mine, other = await opened(), await opened()
    for _ in range(10):
        asset = await mine.assets.add(kit.new_asset(clock))
        order = kit.new_job(clock, assets=(asset.id,))
        _, failed = await outcomes(mine.jobs.submit([order]), other.assets.delete(kit.TENANT, asset.id))
        assert sum(failed.values()) == 1
        assert set(failed) <= {errors.MissingAsset, errors.AssetInUse}
        assert bool(await mine.assets.get_many(kit.TENANT, [asset.id])) == (errors.AssetInUse in failed)


async def test_a_failing_unit_leaves_its_neighbours_alone(store: ports.Store, clock: kit.Clock) -> None:
    bad = kit.new_job(clock, assets=(model.AssetId("gone"),))
    orders = [kit.new_job(clock) for _ in range(30)]
    won, lost = await outcomes(
        *(store.jobs.submit([order]) if n % 3 else store.jobs.submit([bad]) for n, order in enumerate(orders))
    )
    assert (len(won), lost) == (20, {errors.MissingAsset: 10})
    for (job,) in won:
        assert await store.jobs.get(kit.TENANT, job.id) == job


async def test_a_caller_that_gives_up_leaves_the_store_usable(store: ports.Store, clock: kit.Clock) -> None:
    tasks = [asyncio.create_task(kit.submit_one(store, clock)) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    for one in done[1::2]:
        assert isinstance(one, model.Job)
        assert await store.jobs.get(kit.TENANT, one.id) == one
