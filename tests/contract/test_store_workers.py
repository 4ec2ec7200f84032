"""Contract of `ports.Workers`: known workers, leases and their epochs."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway import ports
from gateway.domain import errors, model
from gateway.domain.states import Outcome
from tests.contract import store_kit as kit

W0 = model.WorkerId("w0")
W1 = model.WorkerId("10.0.0.7:8188")


async def test_workers_are_added_updated_and_removed(store: ports.Store) -> None:
    added = await store.workers.put(kit.new_worker("w0", gpu="GPU-1", depth=2))
    other = await store.workers.put(kit.new_worker(W1, kind=model.WorkerKind.LOCAL, persistent=True))
    assert await store.workers.all() == (other, added)
    changed = replace(added, url="http://new", kind=model.WorkerKind.SIMULATED, gpu=None, depth=1, persistent=True)
    assert await store.workers.put(replace(changed, created_at=99.0, jobs_done=7, lease_epoch=9)) == changed
    await store.workers.remove(W1)
    assert await store.workers.all() == (changed,)
    for name in (W1, model.WorkerId("\0")):
        with pytest.raises(errors.NotFound):
            await store.workers.remove(name)


async def test_an_update_keeps_counter_and_lease(store: ports.Store, clock: kit.Clock) -> None:
    slots = await kit.lease(store, "w0")
    await kit.submit_one(store, clock)
    await kit.run_one(store, clock, slots, Outcome.SUCCEEDED)
    (before,) = await store.workers.all()
    assert (before.jobs_done, before.lease_epoch, before.lease_owner) == (1, slots[0].epoch, kit.OWNER)
    assert await store.workers.put(kit.new_worker("w0")) == before


async def test_a_worker_that_runs_something_is_not_removed(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock)
    (taken,) = await kit.claim(store, await kit.lease(store, "w0"), clock)
    with pytest.raises(errors.Conflict):
        await store.workers.remove(W0)
    await store.queue.settle(taken.attempt.id, kit.ending(clock, Outcome.SUCCEEDED))
    await store.workers.remove(W0)
    assert (await store.jobs.get(kit.TENANT, job.id)).worker == "w0"


async def test_a_lease_keeps_its_epoch_while_it_is_held(store: ports.Store) -> None:
    await store.workers.put(kit.new_worker("w0"))
    first = await store.workers.lease([W0, model.WorkerId("unknown")], owner="a", seconds=60)
    assert first == {W0: 1}
    assert await store.workers.lease([W0], owner="a", seconds=60) == first
    assert await store.workers.lease([], owner="a", seconds=60) == {}


async def test_a_lease_excludes_others_until_it_runs_out(opened: kit.OpenStore) -> None:
    a, b = await opened(), await opened()
    await a.workers.put(kit.new_worker("w0"))
    assert await a.workers.lease([W0], owner="a", seconds=60) == {W0: 1}
    assert await b.workers.lease([W0], owner="b", seconds=60) == {}
    assert await a.workers.lease([W0], owner="a", seconds=-1) == {W0: 1}  # it runs out at once
    assert await b.workers.lease([W0], owner="b", seconds=60) == {W0: 2}
    assert await a.workers.lease([W0], owner="a", seconds=60) == {}


async def test_a_lease_that_ran_out_unnoticed_is_still_its_boots(store: ports.Store) -> None:
    await store.workers.put(kit.new_worker("w0"))
    await store.workers.lease([W0], owner="a", seconds=-1)
    assert await store.workers.lease([W0], owner="a", seconds=60) == {W0: 1}


async def test_another_boot_of_the_owner_takes_over_at_once(opened: kit.OpenStore) -> None:
    old, new = await opened(), await opened()
    await old.workers.put(kit.new_worker("w0"))
    assert await old.workers.lease([W0], owner="a", seconds=60) == {W0: 1}
    assert await new.workers.lease([W0], owner="a", seconds=60) == {W0: 2}
    assert await new.workers.lease([W0], owner="a", seconds=60) == {W0: 2}


async def test_released_leases_are_free(opened: kit.OpenStore) -> None:
    a, b = await opened(), await opened()
    for name in (W0, W1):
        await a.workers.put(kit.new_worker(name))
    await a.workers.lease([W0], owner="a", seconds=60)
    await b.workers.lease([W1], owner="b", seconds=60)
    await a.workers.release(owner="a")
    assert [worker.lease_owner for worker in await a.workers.all()] == ["b", None]
    assert await b.workers.lease([W0, W1], owner="b", seconds=60) == {W0: 2, W1: 1}


async def test_of_many_who_want_a_lease_one_gets_it(opened: kit.OpenStore) -> None:
    stores = [await opened() for _ in range(4)]
    names = [model.WorkerId(f"w{number}") for number in range(6)]
    for name in names:
        await stores[0].workers.put(kit.new_worker(name))
    held = await asyncio.gather(
        *(store.workers.lease(names, owner=f"host{number}", seconds=60) for number, store in enumerate(stores))
    )
    assert sorted(name for one in held for name in one) == names
    assert {epoch for one in held for epoch in one.values()} == {1}
