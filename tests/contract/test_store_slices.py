"""Large orders, which are queued in slices: all or none of one, whatever happens in between."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway import ports
from gateway.adapters.store import depth, engines, known, ordering, schema, slices, units
from gateway.domain import errors, model, webhooks
from gateway.domain.costs.sketch import Sketch
from gateway.domain.pipelines import moves
from gateway.domain.states import JobStatus
from tests.contract import store_kit as kit

N = 2 * slices.JOBS + 50
ROOT = Path(__file__).parents[2]
PLAIN = ordering.Terms(batch=None, idempotency_key=None, bounds=depth.Bounds(), begin=None, offer=None)


def order_of(clock: kit.Clock, n: int = N, **fields: object) -> list[model.NewJob]:
    """The jobs of an order, each of its own."""
    return [
        kit.new_job(
            clock,
            batch_index=index,
            graph=b'{"1":{"class_type":"SaveImage","inputs":{"n":%d}}}' % index,
            inputs={"seed": index, "text": "any \ud800 \0 text", "large": 2**70},
            metadata={"n": str(index % 7)},
            sketch=Sketch(work=2.5, keys=(index, 255), held=frozenset({index, 255})),
            webhook=webhooks.Webhook(url="https://example.com/hook", events=frozenset(webhooks.EventType)),
            **fields,
        )
        for index in range(n)
    ]


def left(url: str) -> int:
    """Rows of slices that are put down."""
    engine = engines.backend(url).engine
    with engine.connect() as connection:
        count = connection.execute(sa.select(sa.func.count()).select_from(schema.slices)).scalar_one()
    engine.dispose()
    return count


@dataclass(slots=True)
class Fails:
    """Runs so many transactions that queue jobs; then there is no room on the disk."""

    run: units.Units
    after: int

    async def __call__(
        self, submit: units.Unit[units.T], offer: Callable[[], ports.Offer | None] | None, /, *, quick: bool
    ) -> units.T:
        if self.after == 0:
            raise errors.StoreUnavailable("The disk is full.")
        self.after -= 1
        return await self.run.write(submit, quick=quick)


@contextlib.asynccontextmanager
async def failing(url: str, clock: kit.Clock, *, after: int) -> AsyncGenerator[ordering.Ordering]:
    """Another gateway over the same database, for which it can be written to only a few times."""
    run = units.Units(engines.backend(url))
    yield ordering.Ordering(run, known.Known(), submitting=Fails(run, after), clock=clock)
    await run.close()


async def begun(url: str, clock: kit.Clock, new: Sequence[model.NewJob], batch: model.NewBatch) -> None:
    """Order, and get no further than the first slice."""
    terms = ordering.Terms(batch=batch, idempotency_key="key", bounds=depth.Bounds(), begin=None, offer=None)
    async with failing(url, clock, after=1) as orders:
        told = await orders.submit(new, terms)
    assert [job.id for job in told] == [job.id for job in new]
    assert left(url) > 1


async def test_a_large_order_is_queued_whole_and_in_order(store: ports.Store, store_url: str, clock: kit.Clock) -> None:
    new, batch = order_of(clock), kit.new_batch(clock)
    told = await store.jobs.submit(new, batch=batch, idempotency_key="key", queue_limit=N, queue_bytes=10**6)
    assert [job.id for job in told] == [job.id for job in new]
    assert (await store.jobs.batch(kit.TENANT, batch.id)).counts == {JobStatus.QUEUED: N}
    for index in (0, slices.JOBS - 1, slices.JOBS, N - 1):
        assert await store.jobs.get(kit.TENANT, new[index].id) == told[index]
        assert await store.jobs.graph(kit.TENANT, new[index].id) == new[index].graph
        assert await store.jobs.queue_position(new[index].id) == index + 1
        assert [event.type for event in await store.jobs.events(new[index].id)] == ["submit"]
    wanted = model.JobFilter(metadata={"n": "3"})
    page = await store.jobs.page(kit.TENANT, wanted, limit=N, cursor=None)
    assert {job.id for job in page.jobs} == {job.id for job in new if job.metadata == {"n": "3"}}
    with pytest.raises(errors.IdempotencyKeyReuse):
        await store.jobs.submit(order_of(clock), idempotency_key="key")
    with pytest.raises(errors.QueueFull):
        await store.jobs.submit([kit.new_job(clock)], queue_limit=N)
    assert left(store_url) == 0


async def test_large_graphs_make_small_slices(store: ports.Store, store_url: str, clock: kit.Clock) -> None:
    letters = "".join(kit.new_id() for _ in range(40_000)).encode()
    new = [kit.new_job(clock, graph=b'"%d%s"' % (index, letters)) for index in range(8)]
    await store.jobs.submit(new)
    assert [await store.jobs.queue_position(job.id) for job in new] == list(range(1, 9))
    assert await store.jobs.graph(kit.TENANT, new[7].id) == new[7].graph
    assert left(store_url) == 0


async def test_a_large_order_that_is_refused_leaves_nothing(
    store: ports.Store, store_url: str, clock: kit.Clock
) -> None:
    batch = kit.new_batch(clock)
    with pytest.raises(errors.QueueFull):
        await store.jobs.submit(order_of(clock), batch=batch, idempotency_key="key", queue_limit=N - 1)
    with pytest.raises(errors.MissingAsset):
        await store.jobs.submit(order_of(clock, assets=(model.AssetId("gone"),)), batch=batch, idempotency_key="key")
    with pytest.raises(errors.NotFound):
        await store.jobs.batch(kit.TENANT, batch.id)
    assert left(store_url) == 0
    assert await store.jobs.count_by_status() == {}
    await store.jobs.submit(order_of(clock), batch=batch, idempotency_key="key", queue_limit=N)


async def test_large_orders_at_once_take_turns(store: ports.Store, store_url: str, clock: kit.Clock) -> None:
    mine, others = order_of(clock), order_of(clock, tenant=kit.OTHER)
    await asyncio.gather(store.jobs.submit(mine), store.jobs.submit(others), kit.submit_one(store, clock))
    assert await store.jobs.count_by_status() == {JobStatus.QUEUED: 2 * N + 1}
    assert left(store_url) == 0


async def test_a_large_order_of_pipelines_begins_whole(store: ports.Store, clock: kit.Clock) -> None:
    new = order_of(clock)
    begin = ports.Begin(owner="one", plans={job.id: moves.Plan(steps=(), outputs=()).as_dict() for job in new})
    told = await store.jobs.submit(new, begin=begin)
    assert {job.status for job in told} == {JobStatus.RUNNING}
    assert await store.jobs.count_by_status() == {}  # they have no attempts, by which what runs is counted
    for job in (told[0], told[-1]):
        assert await store.jobs.get(kit.TENANT, job.id) == job
        assert [event.type for event in await store.jobs.events(job.id)] == ["submit", "begin"]
    assert len(await store.pipelines.take(owner="one", seconds=60)) == N


async def test_what_a_gateway_that_died_left_is_queued(opened: kit.OpenStore, store_url: str, clock: kit.Clock) -> None:
    store = await opened()
    new, batch = order_of(clock), kit.new_batch(clock)
    await begun(store_url, clock, new, batch)
    assert (await store.jobs.batch(kit.TENANT, batch.id)).total == slices.JOBS
    again = await opened()
    assert left(store_url) == 0
    assert (await again.jobs.batch(kit.TENANT, batch.id)).counts == {JobStatus.QUEUED: N}
    for index in (slices.JOBS - 1, slices.JOBS, N - 1):
        job = await again.jobs.get(kit.TENANT, new[index].id)
        assert (job.inputs, job.metadata, job.webhook) == (new[index].inputs, new[index].metadata, new[index].webhook)
        assert (job.sketch, job.batch_index, job.batch_id) == (new[index].sketch, index, batch.id)
        assert await again.jobs.graph(kit.TENANT, job.id) == new[index].graph
        assert await again.jobs.queue_position(job.id) == index + 1
    with pytest.raises(errors.IdempotencyKeyReuse):
        await again.jobs.submit(order_of(clock, 1), idempotency_key="key")


async def test_what_is_left_is_queued_once_by_whoever_comes_first(
    opened: kit.OpenStore, store_url: str, clock: kit.Clock
) -> None:
    one, two = await opened(), await opened()
    await begun(store_url, clock, order_of(clock), kit.new_batch(clock))
    assert await one.queue.finish_orders(age=3600) == 0
    finished = await asyncio.gather(one.queue.finish_orders(age=0), two.queue.finish_orders(age=0))
    assert sum(finished) == N - slices.JOBS
    assert await one.jobs.count_by_status() == {JobStatus.QUEUED: N}
    await one.queue.finish_orders(age=0)
    assert left(store_url) == 0


async def test_what_is_left_counts_as_queued(store: ports.Store, store_url: str, clock: kit.Clock) -> None:
    await begun(store_url, clock, order_of(clock), kit.new_batch(clock))
    with pytest.raises(errors.QueueFull):
        await store.jobs.submit([kit.new_job(clock)], queue_limit=N)
    await store.jobs.submit([kit.new_job(clock)], queue_limit=N + 1)


async def test_what_is_left_is_canceled_with_its_batch(store: ports.Store, store_url: str, clock: kit.Clock) -> None:
    batch = kit.new_batch(clock)
    await begun(store_url, clock, order_of(clock), batch)
    assert (
        len([one async for some in store.jobs.cancel_batch(kit.TENANT, batch.id, now=clock.now) for one in some]) == N
    )
    assert (await store.jobs.batch(kit.TENANT, batch.id)).counts == {JobStatus.CANCELED: N}


async def test_assets_of_what_is_left_are_kept(store: ports.Store, store_url: str, clock: kit.Clock) -> None:
    asset = await store.assets.add(kit.new_asset(clock))
    new = [*order_of(clock), kit.new_job(clock, assets=(asset.id,))]
    await begun(store_url, clock, new, kit.new_batch(clock))
    with pytest.raises(errors.AssetInUse):
        await store.assets.delete(kit.TENANT, asset.id)


async def test_an_order_that_was_not_taken_is_never_queued(
    opened: kit.OpenStore, store_url: str, clock: kit.Clock
) -> None:
    store = await opened()
    async with failing(store_url, clock, after=0) as orders:
        with pytest.raises(errors.StoreUnavailable):
            await orders.submit(order_of(clock), PLAIN)
    assert left(store_url) == 0  # the gateway that ordered it has forgotten it
    run = units.Units(engines.backend(store_url))
    part = slices.Slice(number=1, before=0, jobs=(), graphs=(), pairs=())
    await slices.put(run, "died before", kit.TENANT, [part], [part.pack()])
    await run.close()
    await opened()
    assert await store.jobs.count_by_status() == {}
    assert left(store_url) == 1  # it may still be on its way


async def test_who_gives_up_waiting_does_not_end_a_large_order(
    opened: kit.OpenStore, store_url: str, clock: kit.Clock
) -> None:
    store = await opened()
    await kit.submit_one(store, clock)
    ordering_ = asyncio.create_task(store.jobs.submit(order_of(clock)))
    while not (await store.jobs.page(kit.TENANT, model.JobFilter(), limit=2, cursor=None)).next_cursor:
        pass
    ordering_.cancel()
    await asyncio.wait([ordering_])
    await store.close()
    again = await opened()
    assert await again.jobs.count_by_status() == {JobStatus.QUEUED: N + 1}


async def test_a_killed_gateway_has_queued_all_of_an_order_or_nothing(
    store_url: str, opened: kit.OpenStore, clock: kit.Clock
) -> None:
    command_line = [sys.executable, "-m", "tests.contract.store_victim", store_url, str(N)]
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, cwd=ROOT, text=True) as victim:
        assert victim.stdout is not None
        told = [victim.stdout.readline().strip() for _ in range(5)]  # two orders, and that a third one begins
        victim.kill()
    store = await opened()
    assert [line.partition(" ")[0] for line in told] == ["ordering", "ordered", "ordering", "ordered", "ordering"]
    for line in told:
        did, _, batch_id = line.partition(" ")
        try:
            batch = await store.jobs.batch(kit.TENANT, batch_id)
        except errors.NotFound:
            assert did == "ordering"
        else:
            assert batch.counts == {JobStatus.QUEUED: N}
