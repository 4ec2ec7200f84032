"""Many at once: whatever the order, each thing happens exactly once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections import Counter
from collections.abc import Awaitable, Sequence
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


async def test_a_cancel_that_comes_during_the_claim_is_not_lost(opened: kit.OpenStore, clock: kit.Clock) -> None:
    mine, other = await opened(), await opened()
    slots = await kit.lease(mine, "w0", "w1")
    first, _second = await mine.jobs.submit([kit.new_job(clock), kit.new_job(clock)])
    loop = asyncio.get_running_loop()
    ids: list[str] = []
    canceled: list[concurrent.futures.Future[model.Job]] = []

    def new_id() -> str:
        """The second id is asked for when the first job is taken, and not committed."""
        ids.append(kit.new_id())
        if len(ids) == 2:
            cancel = other.jobs.cancel(kit.TENANT, first.id, now=clock.now)
            canceled.append(asyncio.run_coroutine_threadsafe(cancel, loop))
            with contextlib.suppress(concurrent.futures.TimeoutError):
                canceled[0].result(timeout=0.3)
        return ids[-1]

    await mine.queue.claim(slots, kit.one_each, now=clock.now, new_id=new_id)
    assert (await asyncio.wrap_future(canceled[0])).status is JobStatus.CANCELING


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
    """It comes in the middle of a claim, when the attempts are not written yet: it has to wait for them."""
    old, new = await opened(), await opened()
    slots = await kit.lease(old, "w0", "w1")
    await old.jobs.submit([kit.new_job(clock), kit.new_job(clock)])
    loop = asyncio.get_running_loop()
    successor: list[concurrent.futures.Future[Sequence[model.Claim]]] = []

    async def take_over() -> Sequence[model.Claim]:
        await kit.lease(new, "w0", "w1")
        return await new.queue.open_claims([slot.worker for slot in slots])

    def choose(candidates: Sequence[model.Candidate], offered: Sequence[model.Slot]) -> list[model.Assignment]:
        successor.append(asyncio.run_coroutine_threadsafe(take_over(), loop))
        with contextlib.suppress(concurrent.futures.TimeoutError):  # a take-over that does not wait ends by then
            successor[0].result(timeout=0.3)
        return kit.one_each(candidates, offered)

    claims = await kit.claim(old, slots, clock, choose)
    adopted = await asyncio.wrap_future(successor[0])
    assert len(claims) == 2
    assert {claim.attempt.id for claim in adopted} == {claim.attempt.id for claim in claims}


async def test_an_asset_is_never_deleted_under_a_job(opened: kit.OpenStore, clock: kit.Clock) -> None:
    mine, other = await opened(), await opened()
    for _ in range(10):
        asset = await mine.assets.add(kit.new_asset(clock))
        order = kit.new_job(clock, assets=(asset.id,))
        _, failed = await outcomes(mine.jobs.submit([order]), other.assets.delete(kit.TENANT, asset.id))
        assert sum(failed.values()) == 1
        assert set(failed) <= {errors.MissingAsset, errors.AssetInUse}
        assert bool(await mine.assets.get_many(kit.TENANT, [asset.id])) == (errors.AssetInUse in failed)


async def test_a_failing_unit_leaves_nothing_and_its_neighbours_alone(store: ports.Store, clock: kit.Clock) -> None:
    """Units that are committed together: a third of them takes an idempotency key and then fails."""

    def submit(number: int, *assets: model.AssetId) -> Awaitable[tuple[model.Job, ...]]:
        return store.jobs.submit([kit.new_job(clock, assets=assets)], idempotency_key=str(number))

    won, lost = await outcomes(
        *(submit(number, *([] if number % 3 else [model.AssetId("gone")])) for number in range(30))
    )
    assert (len(won), lost) == (20, {errors.MissingAsset: 10})
    for (job,) in won:
        assert await store.jobs.get(kit.TENANT, job.id) == job
    again, taken = await outcomes(*(submit(number) for number in range(30)))
    assert (len(again), taken) == (10, {errors.IdempotencyKeyReuse: 20})


async def test_a_caller_that_gives_up_leaves_the_store_usable(store: ports.Store, clock: kit.Clock) -> None:
    tasks = [asyncio.create_task(kit.submit_one(store, clock)) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    for one in done[1::2]:
        assert isinstance(one, model.Job)
        assert await store.jobs.get(kit.TENANT, one.id) == one
