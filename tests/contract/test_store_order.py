"""Order: fair shares, pauses, priorities that change, deadlines; and what claims read of a deep queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from gateway import ports
from gateway.domain import errors, model, pauses
from gateway.domain.pauses import PauseKind
from gateway.domain.states import JobStatus, Outcome
from tests.contract import store_kit as kit


def tenant(number: int) -> model.TenantId:
    return model.TenantId(f"t{number}")


async def queue(store: ports.Store, clock: kit.Clock, n: int, **fields: object) -> tuple[model.Job, ...]:
    """Queue n jobs, in batches as clients would."""
    made: list[model.Job] = []
    for start in range(0, n, 500):
        made += await store.jobs.submit([kit.new_job(clock, **fields) for _ in range(min(500, n - start))])
    return tuple(made)


async def served(store: ports.Store, clock: kit.Clock, slots: Sequence[model.Slot], n: int) -> list[model.Claim]:
    """Run jobs one round of claims after the other until n were claimed."""
    taken: list[model.Claim] = []
    while len(taken) < n:
        claims = await kit.claim(store, slots, clock)
        assert claims, f"nothing was given out after {len(taken)}"
        taken += claims
        for claim in claims:
            await store.queue.settle(claim.attempt.id, kit.ending(clock, Outcome.SUCCEEDED))
    return taken[:n]


def pause(kind: PauseKind, name: str = "", *, drain: bool = False) -> pauses.Pause:
    return pauses.Pause(kind=kind, name=name, since=1_000.0, by="root", drain=drain)


async def test_a_small_order_is_not_buried_by_a_large_one(store: ports.Store, clock: kit.Clock) -> None:
    """A queues 600, then B 50: B is done by claim 100, were every second claim B's."""
    await queue(store, clock, 600)
    slots = await kit.lease(store, *(f"w{number}" for number in range(4)))
    await served(store, clock, slots, 20)
    await queue(store, clock, 50, tenant=kit.OTHER)
    order = [claim.tenant for claim in await served(store, clock, slots, 140)]
    done = max(number for number, one in enumerate(order, start=1) if one == kit.OTHER)
    print(f"B's 50 jobs were done by claim {done} (ideal 100)")
    assert order.count(kit.OTHER) == 50
    assert done <= 110


async def test_shares_follow_weights(store: ports.Store, clock: kit.Clock) -> None:
    await store.tenants.limit({tenant(n): model.TenantLimits(weight=float(n)) for n in (1, 2, 3)})
    for number in (1, 2, 3):
        await queue(store, clock, 60, tenant=tenant(number))
    slots = await kit.lease(store, "w0", "w1")
    counted = Counter(claim.tenant for claim in await served(store, clock, slots, 60))
    assert [counted[tenant(number)] for number in (1, 2, 3)] == pytest.approx([10, 20, 30], abs=2)


async def test_a_paused_queue_and_paused_workers_take_nothing(store: ports.Store, clock: kit.Clock) -> None:
    await queue(store, clock, 2)
    slots = await kit.lease(store, "w0", "w1")
    await store.pauses.put(pause(PauseKind.QUEUE))
    assert await kit.claim(store, slots, clock) == ()
    await store.pauses.lift(PauseKind.QUEUE, "")
    await store.pauses.put(pause(PauseKind.WORKER, "w0"))
    (claim,) = await kit.claim(store, slots, clock)
    assert claim.attempt.worker == "w1"
    with pytest.raises(errors.NotFound, match="queue is not paused"):
        await store.pauses.lift(PauseKind.QUEUE, "")


@pytest.mark.parametrize("kind", [PauseKind.TENANT, PauseKind.TEMPLATE])
async def test_what_is_paused_hides_nothing(kind: PauseKind, store: ports.Store, clock: kit.Clock) -> None:
    """Jobs from before the pause and after it stay; all others go, and none is lost when it is lifted."""
    held = {"tenant": kit.OTHER, "template": "sdxl", "priority": 50}
    before = await queue(store, clock, 150, **held)
    await store.pauses.put(pause(kind, "sdxl" if kind is PauseKind.TEMPLATE else kit.OTHER))
    after = await queue(store, clock, 150, **held)
    free = await queue(store, clock, 10, template="flux")
    slots = await kit.lease(store, *(f"w{number}" for number in range(5)))
    taken = await served(store, clock, slots, 10)
    assert {claim.job_id for claim in taken} == {job.id for job in free}
    assert await kit.claim(store, slots, clock) == ()
    assert (await store.jobs.get(kit.OTHER, before[0].id)).priority == 50
    await store.pauses.lift(kind, "sdxl" if kind is PauseKind.TEMPLATE else kit.OTHER)
    taken = await served(store, clock, slots, 300)
    assert {claim.job_id for claim in taken} == {job.id for job in (*before, *after)}


async def test_two_pauses_hold_until_both_are_lifted(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock, template="sdxl")
    await store.pauses.put(pause(PauseKind.TENANT, kit.TENANT))
    await store.pauses.put(pause(PauseKind.TEMPLATE, "sdxl"))
    slots = await kit.lease(store, "w0")
    await store.pauses.lift(PauseKind.TENANT, kit.TENANT)
    assert await kit.claim(store, slots, clock) == ()
    await store.pauses.lift(PauseKind.TEMPLATE, "sdxl")
    (claim,) = await kit.claim(store, slots, clock)
    assert claim.job_id == job.id


async def test_having_been_paused_earns_no_credit(store: ports.Store, clock: kit.Clock) -> None:
    await queue(store, clock, 40)
    await store.pauses.put(pause(PauseKind.TENANT, kit.TENANT))
    await queue(store, clock, 80, tenant=kit.OTHER)
    slots = await kit.lease(store, "w0", "w1")
    await served(store, clock, slots, 40)
    await store.pauses.lift(PauseKind.TENANT, kit.TENANT)
    counted = Counter(claim.tenant for claim in await served(store, clock, slots, 20))
    assert counted[kit.TENANT] == pytest.approx(10, abs=1)


async def test_pauses_survive_a_restart_and_are_seen_by_others(opened: kit.OpenStore, clock: kit.Clock) -> None:
    one, two = await opened(), await opened()
    assert (await two.pauses.all()).all == ()
    made = await one.pauses.put(pause(PauseKind.WORKER, "w0"))
    again = await one.pauses.put(pauses.Pause(kind=PauseKind.WORKER, name="w0", since=2_000.0, drain=True))
    assert (again.since, again.by, again.drain) == (made.since, "root", True)
    clock.now += 1
    assert (await two.pauses.all()).all == (again,)
    assert (await (await opened()).pauses.all()).workers == {"w0"}


async def test_what_still_runs_is_counted(store: ports.Store, clock: kit.Clock) -> None:
    await queue(store, clock, 1, template="sdxl")
    await queue(store, clock, 1, template="flux", tenant=kit.OTHER)
    claims = await kit.claim(store, await kit.lease(store, "w0", "w1"), clock)
    asked = [(PauseKind.QUEUE, ""), (PauseKind.TEMPLATE, "sdxl"), (PauseKind.TENANT, "other"), (PauseKind.WORKER, "w0")]
    assert [await store.pauses.running(*one) for one in asked] == [2, 1, 1, 1]
    for claim in claims:
        await store.queue.settle(claim.attempt.id, kit.ending(clock, Outcome.SUCCEEDED))
    assert [await store.pauses.running(*one) for one in asked] == [0, 0, 0, 0]


async def test_a_priority_changes_while_the_job_waits(store: ports.Store, clock: kit.Clock) -> None:
    jobs = await queue(store, clock, 3)
    changed = await store.jobs.prioritize(kit.TENANT, jobs[2].id, 5, now=clock.now)
    assert changed.priority == 5
    assert await store.jobs.queue_position(jobs[2].id) == 1
    slots = await kit.lease(store, "w0")
    (claim,) = await kit.claim(store, slots, clock)
    assert claim.job_id == jobs[2].id
    with pytest.raises(errors.NotQueued, match="running"):
        await store.jobs.prioritize(kit.TENANT, jobs[2].id, 0, now=clock.now)
    with pytest.raises(errors.NotFound):
        await store.jobs.prioritize(kit.OTHER, jobs[1].id, 0, now=clock.now)
    assert [event.type for event in await store.jobs.events(jobs[2].id)] == ["submit", "prioritize", "claim"]


async def test_raised_jobs_go_behind_those_that_are_there(store: ports.Store, clock: kit.Clock) -> None:
    """Having waited in a lower class is no credit in a higher one; and a paused job stays paused."""
    low = await kit.submit_one(store, clock)
    await queue(store, clock, 30, tenant=kit.OTHER, priority=9)
    slots = await kit.lease(store, "w0")
    await served(store, clock, slots, 20)
    await store.jobs.prioritize(kit.TENANT, low.id, 9, now=clock.now)
    assert await store.jobs.queue_position(low.id) in {1, 2}
    await store.pauses.put(pause(PauseKind.TENANT, kit.TENANT))
    await store.jobs.prioritize(kit.TENANT, low.id, 99, now=clock.now)
    (claim,) = await kit.claim(store, slots, clock)
    assert claim.tenant == kit.OTHER
    assert (await store.jobs.get(kit.TENANT, low.id)).priority == 99


async def test_the_place_of_a_new_job_is_foretold(store: ports.Store, clock: kit.Clock) -> None:
    assert await store.jobs.place_of_new(kit.TENANT, priority=0, n=3) == 3
    await queue(store, clock, 10)
    for who, priority in ((kit.TENANT, 0), (kit.OTHER, 0), (kit.OTHER, 5), (kit.TENANT, -5)):
        foretold = await store.jobs.place_of_new(who, priority=priority, n=1)
        job = await kit.submit_one(store, clock, tenant=who, priority=priority)
        assert abs((await store.jobs.queue_position(job.id) or 0) - foretold) <= 1


async def test_a_job_expires_at_its_deadline_also_after_a_loss(store: ports.Store, clock: kit.Clock) -> None:
    limits = model.Limits(queue=1000.0)
    jobs = [await kit.submit_one(store, clock, deadline=clock.now + 10, limits=limits) for _ in range(2)]
    slots = await kit.lease(store, "w0", "w1", seconds=600)
    await kit.run_one(store, clock, slots, Outcome.LOST, retry_at=clock.now)
    assert await store.queue.expire(now=clock.now + 9) == ()
    assert set(await store.queue.expire(now=clock.now + 11)) == {job.id for job in jobs}
    assert (await store.jobs.get(kit.TENANT, jobs[0].id)).status is JobStatus.EXPIRED


async def test_full_tenants_hide_nobody(store: ports.Store, clock: kit.Clock) -> None:
    """One capped tenant has hundreds of jobs at the head; the others go on in fair order, those of a rare kind too."""
    await store.tenants.limit({tenant(0): model.TenantLimits(max_running=1)})
    await queue(store, clock, 300, tenant=tenant(0), priority=10)
    for number in range(1, 41):
        await queue(store, clock, 3, tenant=tenant(number), requirements=kit.RARE if number % 2 else kit.PLAIN)
    slots = await kit.lease(store, *(f"w{number}" for number in range(8)))
    claims = list(await kit.claim(store, slots, clock))
    assert Counter(claim.tenant for claim in claims)[tenant(0)] == 1
    more = await kit.lease(store, *(f"v{number}" for number in range(60)))
    claims += await kit.claim(store, more, clock)
    counted = Counter(claim.tenant for claim in claims)
    assert (len(claims), counted.pop(tenant(0))) == (68, 1)
    assert len(counted) == 40
    assert sorted(counted.values())[:-1] == [1] * 14 + [2] * 25  # the first one came to an empty class
