"""The Deliveries port: what is owed is written with its event, and leaves in order, once at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from gateway import ports
from gateway.adapters.store import owing, statements
from gateway.domain import deliveries, errors, model, webhooks
from gateway.domain.deliveries import DeliveryStatus
from gateway.domain.states import JobStatus, Outcome
from gateway.domain.webhooks import EventType
from tests.contract import store_kit as kit

HOOK = webhooks.Webhook(url="https://hooks.example/in?token=1", secret="0123456789abcdef", base="http://gateway:8180")


def hook(*events: EventType, url: str = HOOK.url) -> webhooks.Webhook:
    return webhooks.Webhook(url=url, events=frozenset(events) or webhooks.STORED)


def everything(hosts: Sequence[str]) -> Sequence[int]:
    return range(len(hosts))


def first(number: int) -> Callable[[Sequence[str]], Sequence[int]]:
    return lambda hosts: range(min(number, len(hosts)))


async def due(store: ports.Store, clock: kit.Clock, **changed: Any) -> tuple[deliveries.Delivery, ...]:
    """What can be sent now, leased."""
    asked: dict[str, Any] = {"owner": kit.OWNER, "now": clock.now, "seconds": 60.0, "full": (), "choose": everything}
    return await store.deliveries.claim(**{**asked, **changed})


async def delivered(store: ports.Store, clock: kit.Clock) -> list[deliveries.Delivery]:
    """Send everything that is owed, in the order in which it is given out."""
    sent: list[deliveries.Delivery] = []
    while found := await due(store, clock):
        for one in found:
            assert await store.deliveries.finish(one, verdict(DeliveryStatus.DELIVERED), now=clock.now)
            sent.append(one)
    return sent


def verdict(status: DeliveryStatus, **fields: Any) -> deliveries.Verdict:
    return deliveries.Verdict(status=status, **fields)


async def dues(store: ports.Store) -> list[float]:
    """When what is pending is looked at."""
    want = deliveries.DeliveryFilter(statuses=frozenset({DeliveryStatus.PENDING}))
    page = await store.deliveries.page(kit.TENANT, want, limit=100, cursor=None)
    return [one.due for one in page.deliveries]


async def types(store: ports.Store, clock: kit.Clock) -> list[EventType]:
    return [one.type for one in await delivered(store, clock)]


async def test_every_end_and_each_output_is_owed_with_its_event(store: ports.Store, clock: kit.Clock) -> None:
    slots = await kit.lease(store, "w1")
    job = await kit.submit_one(store, clock, webhook=HOOK)
    assert job.webhook == HOOK
    (claim,) = await kit.claim(store, slots, clock)
    assert claim.webhook == HOOK
    await store.queue.add_outputs(claim.attempt.id, [kit.new_output(clock, job.id)])
    rest = (kit.new_output(clock, job.id), kit.new_output(clock, job.id, index=1))
    ended = await store.queue.settle(claim.attempt.id, kit.ending(clock, Outcome.SUCCEEDED, outputs=rest))
    assert (ended.webhook, len(ended.outputs)) == (HOOK, 3)

    sent = await delivered(store, clock)

    output = EventType.OUTPUT
    assert [one.type for one in sent] == [EventType.STARTED, output, output, output, EventType.SUCCEEDED]
    assert [one.id for one in sent] == [f"msg_{job.id}_{seq}" for seq in (2, 3, 4, 5, 6)]
    assert [one.data.get("asset") for one in sent[1:4]] == [made.asset.id for made in ended.outputs]
    assert {(one.url, one.host, one.tenant, one.tries) for one in sent} == {
        (HOOK.url, "hooks.example:443", kit.TENANT, 1)
    }


@pytest.mark.parametrize(
    ("outcome", "event"),
    [(Outcome.SUCCEEDED, EventType.SUCCEEDED), (Outcome.FAILED, EventType.FAILED), (Outcome.CANCELED, None)],
)
async def test_only_what_was_asked_for_is_owed(
    store: ports.Store, clock: kit.Clock, outcome: Outcome, event: EventType | None
) -> None:
    slots = await kit.lease(store, "w1")
    await kit.submit_one(store, clock, webhook=hook(EventType.SUCCEEDED, EventType.FAILED))
    await kit.run_one(store, clock, slots, outcome)
    assert await types(store, clock) == ([event] if event else [])


async def test_an_end_without_a_run_is_owed_too(store: ports.Store, clock: kit.Clock) -> None:
    canceled = await kit.submit_one(store, clock, webhook=HOOK)
    await store.jobs.cancel(kit.TENANT, canceled.id, now=clock.now)
    batch = kit.new_batch(clock)
    await store.jobs.submit([kit.new_job(clock, webhook=HOOK), kit.new_job(clock)], batch=batch)
    async for _ in store.jobs.cancel_batch(kit.TENANT, batch.id, now=clock.now):
        pass
    expired = await kit.submit_one(store, clock, webhook=HOOK)
    await kit.submit_one(store, clock)
    clock.now += 100
    assert expired.id in await store.queue.expire(now=clock.now, queued_before=clock.now - 50)
    assert await types(store, clock) == [EventType.CANCELED, EventType.CANCELED, EventType.EXPIRED]


async def test_a_running_job_that_is_canceled(store: ports.Store, clock: kit.Clock) -> None:
    slots = await kit.lease(store, "w1")
    job = await kit.submit_one(store, clock, webhook=HOOK)
    (claim,) = await kit.claim(store, slots, clock)
    assert (await store.jobs.cancel(kit.TENANT, job.id, now=clock.now)).status is JobStatus.CANCELING
    assert await types(store, clock) == [EventType.STARTED]
    await store.queue.settle(claim.attempt.id, kit.ending(clock, Outcome.CANCELED))
    assert await types(store, clock) == [EventType.CANCELED]


async def test_a_job_without_a_webhook_owes_nothing(store: ports.Store, clock: kit.Clock) -> None:
    slots = await kit.lease(store, "w1")
    job = await kit.submit_one(store, clock)
    await kit.run_one(store, clock, slots, Outcome.SUCCEEDED, outputs=(kit.new_output(clock, job.id),))
    assert await due(store, clock) == ()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(store.deliveries.rung(), 0)


async def test_outputs_of_a_lost_attempt_are_not_told_any_more(store: ports.Store, clock: kit.Clock) -> None:
    slots = await kit.lease(store, "w1")
    job = await kit.submit_one(store, clock, webhook=HOOK)
    (claim,) = await kit.claim(store, slots, clock)
    await store.queue.add_outputs(claim.attempt.id, [kit.new_output(clock, job.id)])
    await store.queue.settle(claim.attempt.id, kit.ending(clock, Outcome.LOST))
    await kit.run_one(store, clock, slots, Outcome.SUCCEEDED, outputs=(kit.new_output(clock, job.id),))
    assert await types(store, clock) == [EventType.STARTED, EventType.STARTED, EventType.OUTPUT, EventType.SUCCEEDED]


async def test_the_events_of_a_job_leave_one_at_a_time_in_order(store: ports.Store, clock: kit.Clock) -> None:
    slots = await kit.lease(store, "w1")
    await kit.submit_one(store, clock, webhook=HOOK)
    await kit.run_one(store, clock, slots, Outcome.SUCCEEDED)
    (first,) = await due(store, clock)
    assert first.type is EventType.STARTED
    assert await due(store, clock) == ()  # it is under way: neither it nor what comes behind it

    later = verdict(DeliveryStatus.PENDING, due=clock.now + 5, answer=500, error="The receiver answered 500.")
    assert await store.deliveries.finish(first, later, now=clock.now)
    assert await due(store, clock) == ()  # its turn is not over
    assert await dues(store) == [clock.now + 5] * 2  # what waits behind it is not looked at before it
    clock.now += 5
    (again,) = await due(store, clock)
    assert (again.id, again.tries, again.answer) == (first.id, 2, 500)
    assert await store.deliveries.finish(again, verdict(DeliveryStatus.DEAD, error="given up"), now=clock.now)
    assert await dues(store) == [clock.now]
    (last,) = await due(store, clock)
    assert last.type is EventType.SUCCEEDED
    assert (await store.deliveries.get(kit.TENANT, first.id)).status is DeliveryStatus.DEAD


async def test_a_host_that_is_full_hides_no_other(store: ports.Store, clock: kit.Clock) -> None:
    slow = hook(EventType.EXPIRED, url="https://slow.example/")
    quick = hook(EventType.CANCELED, url="http://quick.example/")
    await store.jobs.submit([kit.new_job(clock, webhook=slow) for _ in range(70)])
    clock.now += 1
    await store.queue.expire(now=clock.now, queued_before=clock.now)
    clock.now += 1
    other = await kit.submit_one(store, clock, webhook=quick)
    await store.jobs.cancel(kit.TENANT, other.id, now=clock.now)

    taken = await due(store, clock, choose=first(3))
    assert [one.host for one in taken] == ["slow.example:443"] * 3
    (told,) = await due(store, clock, full=["slow.example:443", "c.example:1", "d.example:1"])
    assert told.job_id == other.id
    seen: list[Sequence[str]] = []
    assert await due(store, clock, choose=lambda hosts: seen.append(hosts) or ()) == ()
    assert seen == [["slow.example:443"] * 64]


async def test_gateways_over_one_database_send_nothing_at_once(opened: kit.OpenStore, clock: kit.Clock) -> None:
    stores = [await opened() for _ in range(3)]
    await stores[0].jobs.submit([kit.new_job(clock, webhook=HOOK) for _ in range(20)])
    clock.now += 1
    await stores[0].queue.expire(now=clock.now, queued_before=clock.now)
    claims = await asyncio.gather(
        *(due(store, clock, owner=f"host{number}") for number, store in enumerate(stores) for _ in range(3))
    )
    ids = [one.id for found in claims for one in found]
    assert len(ids) == len(set(ids)) == 20


async def test_what_was_under_way_in_a_crash_is_sent_again(opened: kit.OpenStore, clock: kit.Clock) -> None:
    store = await opened()
    job = await kit.submit_one(store, clock, webhook=hook(EventType.CANCELED))
    await store.jobs.cancel(kit.TENANT, job.id, now=clock.now)
    (before,) = await due(store, clock)

    assert await due(await opened(), clock, owner="another host") == ()  # it may still be sending
    again = await opened()
    (after,) = await due(again, clock)
    assert (after.id, after.tries) == (before.id, 2)
    assert not await store.deliveries.finish(before, verdict(DeliveryStatus.DEAD), now=clock.now)
    assert await again.deliveries.finish(after, verdict(DeliveryStatus.DELIVERED, answer=204), now=clock.now)


async def test_a_lease_that_ran_out_is_anybodys(opened: kit.OpenStore, clock: kit.Clock) -> None:
    store, other = await opened(), await opened()
    job = await kit.submit_one(store, clock, webhook=hook(EventType.CANCELED))
    await store.jobs.cancel(kit.TENANT, job.id, now=clock.now)
    (before,) = await due(store, clock, seconds=0.0)
    (after,) = await due(other, clock, owner="another host")
    assert after.id == before.id
    assert not await store.deliveries.finish(before, verdict(DeliveryStatus.DELIVERED), now=clock.now)


async def test_a_receiver_that_is_gone_ends_all_that_is_pending_for_the_job(
    store: ports.Store, clock: kit.Clock
) -> None:
    slots = await kit.lease(store, "w1")
    job = await kit.submit_one(store, clock, webhook=HOOK)
    await kit.run_one(store, clock, slots, Outcome.SUCCEEDED)
    (first,) = await due(store, clock)
    await store.deliveries.finish(first, verdict(DeliveryStatus.DEAD, answer=410, error="Gone.", gone=True), now=5.0)
    page = await store.deliveries.page(kit.TENANT, deliveries.DeliveryFilter(job_id=job.id), limit=10, cursor=None)
    assert [(one.status, one.error) for one in page.deliveries] == [(DeliveryStatus.DEAD, "Gone.")] * 2
    assert await due(store, clock) == ()


async def test_deliveries_are_listed_newest_first(store: ports.Store, clock: kit.Clock) -> None:
    jobs: list[model.Job] = []
    for _ in range(5):
        clock.now += 1
        jobs.append(await kit.submit_one(store, clock, webhook=hook(EventType.CANCELED)))
        await store.jobs.cancel(kit.TENANT, jobs[-1].id, now=clock.now)
    (one,) = await due(store, clock, choose=first(1))
    await store.deliveries.finish(one, verdict(DeliveryStatus.DELIVERED), now=clock.now)

    async def listed(want: deliveries.DeliveryFilter, tenant: model.TenantId = kit.TENANT) -> list[str]:
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = await store.deliveries.page(tenant, want, limit=2, cursor=cursor)
            found += [each.job_id for each in page.deliveries]
            cursor = page.next_cursor
            if cursor is None:
                return found

    newest = [job.id for job in reversed(jobs)]
    assert await listed(deliveries.DeliveryFilter()) == newest
    assert await listed(deliveries.DeliveryFilter(statuses=frozenset({DeliveryStatus.PENDING}))) == newest[:4]
    assert await listed(deliveries.DeliveryFilter(job_id=jobs[2].id)) == [jobs[2].id]
    assert await listed(deliveries.DeliveryFilter(), kit.OTHER) == []
    with pytest.raises(errors.InvalidCursor):
        await store.deliveries.page(kit.TENANT, deliveries.DeliveryFilter(), limit=2, cursor="no")
    with pytest.raises(errors.NotFound):
        await store.deliveries.get(kit.OTHER, one.id)
    with pytest.raises(errors.NotFound):
        await store.deliveries.redeliver(kit.OTHER, one.id, now=clock.now)


async def test_redelivering_keeps_the_id_and_begins_the_schedule_anew(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock, webhook=hook(EventType.CANCELED))
    await store.jobs.cancel(kit.TENANT, job.id, now=clock.now)
    (first,) = await due(store, clock)
    await store.deliveries.finish(first, verdict(DeliveryStatus.DEAD, error="given up"), now=clock.now)
    await asyncio.wait_for(store.deliveries.rung(), 5)
    clock.now += 90_000

    again = await store.deliveries.redeliver(kit.TENANT, first.id, now=clock.now)
    assert (again.id, again.status, again.tries, again.since) == (first.id, DeliveryStatus.PENDING, 0, clock.now)
    await asyncio.wait_for(store.deliveries.rung(), 5)
    (sent,) = await due(store, clock)
    assert (sent.id, sent.tries) == (first.id, 1)

    later = verdict(DeliveryStatus.PENDING, due=clock.now + 300, error="no")
    await store.deliveries.finish(sent, later, now=clock.now)
    hurried = await store.deliveries.redeliver(kit.TENANT, first.id, now=clock.now)
    assert (hurried.due, hurried.tries) == (clock.now, 1)


async def test_a_job_stays_while_something_is_owed_about_it(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock, webhook=hook(EventType.CANCELED))
    await store.jobs.cancel(kit.TENANT, job.id, now=clock.now)
    clock.now += 10_000
    await store.queue.prune(now=clock.now)
    assert (await store.jobs.get(kit.TENANT, job.id)).webhook is not None
    (one,) = await due(store, clock)
    await store.deliveries.finish(one, verdict(DeliveryStatus.DELIVERED), now=clock.now)

    await store.queue.prune(now=clock.now)
    with pytest.raises(errors.NotFound):
        await store.jobs.get(kit.TENANT, job.id)
    assert (await store.deliveries.get(kit.TENANT, one.id)).status is DeliveryStatus.DELIVERED
    with pytest.raises(errors.Conflict):
        await store.deliveries.redeliver(kit.TENANT, one.id, now=clock.now)

    assert await store.deliveries.forget(ended_before=clock.now) == 0
    assert await store.deliveries.forget(ended_before=clock.now + 1) == 1
    with pytest.raises(errors.NotFound):
        await store.deliveries.get(kit.TENANT, one.id)


async def test_the_backlog_is_counted(store: ports.Store, clock: kit.Clock) -> None:
    assert await store.deliveries.backlog() == deliveries.Backlog()
    for _ in range(3):
        clock.now += 10
        job = await kit.submit_one(store, clock, webhook=hook(EventType.CANCELED))
        await store.jobs.cancel(kit.TENANT, job.id, now=clock.now)
    (head,) = await due(store, clock, choose=first(1))
    await store.deliveries.finish(head, verdict(DeliveryStatus.DEAD), now=clock.now)
    assert await store.deliveries.backlog() == deliveries.Backlog(pending=2, dead=1, oldest=clock.now - 10)


async def test_who_wants_progress_is_heard_when_its_job_begins(opened: kit.OpenStore, clock: kit.Clock) -> None:
    store = await opened()
    slots = await kit.lease(store, "w1", "w2")
    wanted = await kit.submit_one(store, clock, webhook=hook(EventType.PROGRESS, EventType.SUCCEEDED))
    await kit.submit_one(store, clock, webhook=HOOK)
    await kit.claim(store, slots, clock)
    heard = deliveries.Heard(job_id=wanted.id, tenant=kit.TENANT)
    assert list(await store.deliveries.rung()) == [heard]

    again = await opened()
    await kit.lease(again, "w1", "w2")
    await again.queue.open_claims([model.WorkerId("w1"), model.WorkerId("w2")])
    assert list(await again.deliveries.rung()) == [heard]


class NoStatements:
    """A transaction in which nothing may be executed."""

    def execute(self, *_: object) -> None:
        raise AssertionError("a statement was executed")


def test_a_job_without_a_webhook_costs_no_statement() -> None:
    tx = cast(statements.Transaction, NoStatements())
    owing.owe(tx, "job", None, EventType.SUCCEEDED, at=1.0)
    owing.owe(tx, "job", hook(EventType.FAILED).as_dict(), EventType.SUCCEEDED, at=1.0)
    owing.owe(tx, "job", HOOK.as_dict(), None, at=1.0)
    owing.drop_outputs(tx, "job", None)
