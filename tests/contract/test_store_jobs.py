"""Contract of `ports.Jobs`: what was ordered is there, whole, for its owner alone."""

from __future__ import annotations

import pytest

from gateway import ports
from gateway.domain import errors, model
from gateway.domain.states import JobStatus, Outcome
from tests.contract import store_kit as kit

ODD_TEXT = "caf\u00e9 \U0001f98a \0 \ud800 \\ ' \" %s :x"


async def test_a_submitted_job_is_queued_and_read_back_whole(store: ports.Store, clock: kit.Clock) -> None:
    order = kit.new_job(
        clock,
        priority=3,
        metadata={"project": ODD_TEXT},
        template="sdxl",
        template_version="2",
        inputs={"prompt": ODD_TEXT, "seed": 2**64 - 1, "huge": 2**80, "cfg": 7.5, "none": None},
        parent_id=model.JobId(kit.new_id()),
        max_tries=5,
        needs_secret=True,
    )
    (job,) = await store.jobs.submit([order])
    assert job == await store.jobs.get(kit.TENANT, order.id)
    assert (job.status, job.tries, job.max_tries, job.priority) == (JobStatus.QUEUED, 0, 5, 3)
    assert job.metadata == order.metadata
    assert job.inputs == order.inputs
    assert (job.template, job.template_version, job.parent_id) == ("sdxl", "2", order.parent_id)
    assert (job.created_at, job.expires_at) == (order.created_at, order.expires_at)
    assert [event.type for event in await store.jobs.events(job.id)] == ["submit"]
    assert await store.jobs.attempts(job.id) == ()


@pytest.mark.parametrize("size", [0, 20_000, 10_000_000])
async def test_graphs_of_any_size_come_back_to_the_byte(store: ports.Store, clock: kit.Clock, size: int) -> None:
    graph = b'{"1":{"inputs":{"text":"' + b"x\xc3\xa9" * (size // 3) + b'"}}}'
    job = await kit.submit_one(store, clock, graph=graph)
    assert await store.jobs.graph(kit.TENANT, job.id) == graph
    (taken,) = await kit.claim(store, await kit.lease(store, "w0"), clock)
    assert taken.graph == graph


async def test_nothing_is_ordered(store: ports.Store) -> None:
    assert await store.jobs.submit([]) == ()


async def test_jobs_come_back_in_the_order_given(store: ports.Store, clock: kit.Clock) -> None:
    orders = [kit.new_job(clock, batch_index=index) for index in (2, 0, 1)]
    jobs = await store.jobs.submit(orders, batch=kit.new_batch(clock))
    assert [job.id for job in jobs] == [order.id for order in orders]
    assert [job.batch_index for job in jobs] == [2, 0, 1]


@pytest.mark.parametrize("job_id", ["", "nope", "\0", "\ud800", "x" * 100_000, "00000000-0000-7000-8000-000000000000"])
async def test_ids_that_name_nothing_are_not_found(store: ports.Store, job_id: str) -> None:
    with pytest.raises(errors.NotFound):
        await store.jobs.get(kit.TENANT, job_id)
    with pytest.raises(errors.NotFound):
        await store.jobs.graph(kit.TENANT, job_id)
    with pytest.raises(errors.NotFound):
        await store.jobs.cancel(kit.TENANT, job_id, now=1.0)
    with pytest.raises(errors.NotFound):
        await store.jobs.batch(kit.TENANT, job_id)
    with pytest.raises(errors.NotFound):
        await kit.cancel_batch(store, job_id, now=1.0)
    assert await store.jobs.queue_position(job_id) is None
    assert await store.jobs.attempts(job_id) == ()
    assert await store.jobs.events(job_id) == ()


async def test_another_tenants_job_is_not_found(store: ports.Store, clock: kit.Clock) -> None:
    batch = kit.new_batch(clock)
    (job,) = await store.jobs.submit([kit.new_job(clock)], batch=batch)
    with pytest.raises(errors.NotFound):
        await store.jobs.get(kit.OTHER, job.id)
    with pytest.raises(errors.NotFound):
        await store.jobs.graph(kit.OTHER, job.id)
    with pytest.raises(errors.NotFound):
        await store.jobs.cancel(kit.OTHER, job.id, now=clock.now)
    with pytest.raises(errors.NotFound):
        await store.jobs.batch(kit.OTHER, batch.id)
    with pytest.raises(errors.NotFound):
        await kit.cancel_batch(store, batch.id, now=clock.now, tenant=kit.OTHER)
    page = await store.jobs.page(kit.OTHER, model.JobFilter(), limit=10, cursor=None)
    assert page.jobs == ()
    assert (await store.jobs.get(kit.TENANT, job.id)).status is JobStatus.QUEUED


async def test_an_idempotency_key_is_taken_for_a_day(store: ports.Store, clock: kit.Clock) -> None:
    key = "k" * 5000 + "\0"
    first = kit.new_job(clock)
    await store.jobs.submit([first], idempotency_key=key)
    clock.now += 86_399
    refused = kit.new_job(clock)
    with pytest.raises(errors.IdempotencyKeyReuse) as caught:
        await store.jobs.submit([refused], idempotency_key=key)
    assert caught.value.details == {"job_id": first.id}
    with pytest.raises(errors.NotFound):
        await store.jobs.get(kit.TENANT, refused.id)
    await store.jobs.submit([kit.new_job(clock, tenant=kit.OTHER)], idempotency_key=key)
    clock.now += 1
    await store.jobs.submit([kit.new_job(clock)], idempotency_key=key)


async def test_a_refused_submit_gives_its_key_back(store: ports.Store, clock: kit.Clock) -> None:
    order = kit.new_job(clock, assets=(model.AssetId("gone"),))
    with pytest.raises(errors.MissingAsset):
        await store.jobs.submit([order], idempotency_key="k")
    await store.jobs.submit([kit.new_job(clock)], idempotency_key="k")


async def test_a_full_queue_refuses_a_submit_whole(store: ports.Store, clock: kit.Clock) -> None:
    await store.jobs.submit([kit.new_job(clock), kit.new_job(clock, tenant=kit.TENANT)], queue_limit=3)
    await store.jobs.submit([kit.new_job(clock, tenant=kit.OTHER)], queue_limit=3)
    with pytest.raises(errors.QueueFull):
        await store.jobs.submit([kit.new_job(clock)], queue_limit=3)
    with pytest.raises(errors.QueueFull):
        await store.jobs.submit([kit.new_job(clock), kit.new_job(clock)], queue_limit=4)
    assert await store.jobs.count_by_status() == {JobStatus.QUEUED: 3}
    await kit.claim(store, await kit.lease(store, "w0"), clock)
    await store.jobs.submit([kit.new_job(clock)], queue_limit=3)


async def test_missing_and_foreign_assets_are_not_told_apart(store: ports.Store, clock: kit.Clock) -> None:
    mine = await store.assets.add(kit.new_asset(clock))
    foreign = await store.assets.add(kit.new_asset(clock, tenant=kit.OTHER))
    order = kit.new_job(clock, assets=(mine.id, foreign.id, model.AssetId("gone\0")))
    with pytest.raises(errors.MissingAsset) as caught:
        await store.jobs.submit([order])
    assert caught.value.details is not None
    assert caught.value.details["missing_ids"] == sorted([foreign.id, "gone\0"])


async def test_more_assets_than_a_statement_takes(store: ports.Store, clock: kit.Clock) -> None:
    ids = tuple(model.AssetId(f"gone-{number}") for number in range(1200))
    with pytest.raises(errors.MissingAsset):
        await store.jobs.submit([kit.new_job(clock, assets=ids)])


async def test_pages_lead_through_all_jobs_newest_first(store: ports.Store, clock: kit.Clock) -> None:
    jobs: list[model.Job] = []
    for number in range(7):
        clock.now += number % 2  # some were created at the same time: the id decides
        jobs.append(await kit.submit_one(store, clock))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await store.jobs.page(kit.TENANT, model.JobFilter(), limit=3, cursor=cursor)
        seen += [job.id for job in page.jobs]
        if (cursor := page.next_cursor) is None:
            break
        await kit.submit_one(store, clock)  # what comes meanwhile is newer, and does not shift the pages
    newest_first = sorted(jobs, key=lambda job: (job.created_at, job.id), reverse=True)
    assert seen == [job.id for job in newest_first]


async def test_a_page_that_is_just_full_is_the_last(store: ports.Store, clock: kit.Clock) -> None:
    await kit.submit_one(store, clock)
    page = await store.jobs.page(kit.TENANT, model.JobFilter(), limit=1, cursor=None)
    assert len(page.jobs) == 1
    assert page.next_cursor is None


@pytest.mark.parametrize(
    "cursor", ["", "x", "WzEuMF0", "bnVsbA", "WzEuMCwyXQ", "W10=", "\u00e9", "\0", "Wy1JbmZpbml0eSwgIngiXQ", "a" * 9999]
)
async def test_cursors_that_are_not_ours_are_refused(store: ports.Store, cursor: str) -> None:
    with pytest.raises(errors.InvalidCursor):
        await store.jobs.page(kit.TENANT, model.JobFilter(), limit=3, cursor=cursor)


async def test_listings_are_filtered(store: ports.Store, clock: kit.Clock) -> None:
    batch = kit.new_batch(clock)
    plain = await kit.submit_one(store, clock)
    (tagged,) = await store.jobs.submit([kit.new_job(clock, metadata={"a": "1", "b": ODD_TEXT})], batch=batch)
    templated = await kit.submit_one(store, clock, template="sdxl", metadata={"a": "1"})
    await store.jobs.cancel(kit.TENANT, plain.id, now=clock.now)

    async def listed(**want: object) -> set[str]:
        page = await store.jobs.page(kit.TENANT, model.JobFilter(**want), limit=10, cursor=None)  # pyright: ignore[reportArgumentType]
        return {job.id for job in page.jobs}

    assert await listed() == {plain.id, tagged.id, templated.id}
    assert await listed(statuses=frozenset({JobStatus.CANCELED})) == {plain.id}
    assert await listed(statuses=frozenset({JobStatus.CANCELED, JobStatus.QUEUED})) == await listed()
    assert await listed(metadata={"a": "1"}) == {tagged.id, templated.id}
    assert await listed(metadata={"a": "1", "b": ODD_TEXT}) == {tagged.id}
    assert await listed(metadata={"a": "1", "b": "2"}) == set()
    assert await listed(batch_id=batch.id) == {tagged.id}
    assert await listed(template="sdxl") == {templated.id}
    assert await listed(template="\0") == set()
    assert await listed(template="sdxl", metadata={"a": "1"}, statuses=frozenset({JobStatus.RUNNING})) == set()


async def test_a_queued_job_is_canceled_at_once(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock)
    clock.now += 5
    canceled = await store.jobs.cancel(kit.TENANT, job.id, now=clock.now)
    assert (canceled.status, canceled.completed_at) == (JobStatus.CANCELED, clock.now)
    assert canceled == await store.jobs.get(kit.TENANT, job.id)
    assert await store.jobs.cancel(kit.TENANT, job.id, now=clock.now + 9) == canceled
    assert [event.type for event in await store.jobs.events(job.id)] == ["submit", "cancel"]
    assert await kit.claim(store, await kit.lease(store, "w0"), clock) == ()


async def test_a_running_job_is_asked_to_stop(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock)
    (taken,) = await kit.claim(store, await kit.lease(store, "w0"), clock)
    asked = await store.jobs.cancel(kit.TENANT, job.id, now=clock.now)
    assert (asked.status, asked.attempt_id) == (JobStatus.CANCELING, taken.attempt.id)
    assert await store.jobs.cancel(kit.TENANT, job.id, now=clock.now) == asked
    ended = await store.queue.settle(taken.attempt.id, kit.ending(clock, Outcome.CANCELED))
    assert (ended.status, ended.attempt_id) == (JobStatus.CANCELED, None)
    assert await store.jobs.cancel(kit.TENANT, job.id, now=clock.now) == ended


async def test_a_batch_counts_its_jobs(store: ports.Store, clock: kit.Clock) -> None:
    batch = kit.new_batch(clock, metadata={"name": ODD_TEXT})
    jobs = await store.jobs.submit([kit.new_job(clock, batch_index=index) for index in range(4)], batch=batch)
    slots = await kit.lease(store, "w0", "w1")
    first, _second = await kit.claim(store, slots, clock)
    output = kit.new_output(clock, first.job_id)
    await store.queue.settle(first.attempt.id, kit.ending(clock, Outcome.SUCCEEDED, outputs=(output,)))
    found = await store.jobs.batch(kit.TENANT, batch.id)
    assert found.counts == {JobStatus.SUCCEEDED: 1, JobStatus.RUNNING: 1, JobStatus.QUEUED: 2}
    assert (found.total, found.outputs, found.metadata) == (4, 1, batch.metadata)
    changed = await kit.cancel_batch(store, batch.id, now=clock.now)
    assert {job.job_id: job.status for job in changed} == {
        jobs[1].id: JobStatus.CANCELING,
        jobs[2].id: JobStatus.CANCELED,
        jobs[3].id: JobStatus.CANCELED,
    }
    assert await kit.cancel_batch(store, batch.id, now=clock.now) == []
    assert (await store.jobs.get(kit.TENANT, jobs[2].id)).completed_at == clock.now


async def test_queue_positions_follow_the_fair_order(store: ports.Store, clock: kit.Clock) -> None:
    low = await kit.submit_one(store, clock, priority=-1)
    first = await kit.submit_one(store, clock)
    second = await kit.submit_one(store, clock)
    high = await kit.submit_one(store, clock, priority=7)
    wanted = [high.id, first.id, second.id, low.id]
    assert [await store.jobs.queue_position(job_id) for job_id in wanted] == [1, 2, 3, 4]
    (taken,) = await kit.claim(store, await kit.lease(store, "w0"), clock)
    assert taken.job_id == high.id
    assert await store.jobs.queue_position(high.id) is None
    assert await store.jobs.queue_position(first.id) == 1


async def test_jobs_are_counted_by_status_at_most_a_second_late(store: ports.Store, clock: kit.Clock) -> None:
    assert await store.jobs.count_by_status() == {}
    job = await kit.submit_one(store, clock)
    await kit.submit_one(store, clock, tenant=kit.OTHER)
    clock.now += 1
    assert await store.jobs.count_by_status() == {JobStatus.QUEUED: 2}
    await store.jobs.cancel(kit.TENANT, job.id, now=clock.now)
    await kit.claim(store, await kit.lease(store, "w0"), clock)
    clock.now += 1
    assert await store.jobs.count_by_status() == {JobStatus.CANCELED: 1, JobStatus.RUNNING: 1}
