"""The loop that delivers, over a real store, with a clock that the test moves and a receiver that it plays."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import prometheus_client
import pytest

from gateway import delivery, ports
from gateway.adapters import bus, store
from gateway.domain import deliveries, errors, model, webhooks
from gateway.domain.deliveries import SCHEDULE, Answer, DeliveryStatus
from gateway.domain.webhooks import EventType
from tests.contract import store_kit as kit


@dataclass(slots=True)
class Played:
    """`ports.Outgoing`: answers as it is told, and keeps what it was given."""

    answers: list[Answer | Exception] = field(default_factory=list[Answer | Exception])
    posts: list[tuple[str, Mapping[str, str]]] = field(default_factory=list[tuple[str, Mapping[str, str]]])

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes, seconds: float) -> Answer:
        self.posts.append((url, headers))
        answer = self.answers.pop(0) if self.answers else Answer(status=204)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for _, headers in self.posts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A loop that runs, with what it works on."""

    store: ports.Store
    clock: kit.Clock
    outgoing: Played

    async def canceled(self, *, url: str = "https://a.example/in") -> model.Job:
        """A job whose end is owed."""
        hook = webhooks.Webhook(url=url, events=frozenset({EventType.CANCELED}))
        job = await kit.submit_one(self.store, self.clock, webhook=hook)
        return await self.store.jobs.cancel(kit.TENANT, job.id, now=self.clock.now)

    async def until(self, job: model.Job, reached: Callable[[deliveries.Delivery], bool]) -> deliveries.Delivery:
        """Wait until the job's delivery is so."""
        want = deliveries.DeliveryFilter(job_id=job.id)
        async with asyncio.timeout(20):
            while True:
                page = await self.store.deliveries.page(kit.TENANT, want, limit=10, cursor=None)
                if page.deliveries and reached(page.deliveries[0]):
                    return page.deliveries[0]
                await asyncio.sleep(0.005)


def render(hook: webhooks.Webhook, owed: deliveries.Delivery, job: model.Job) -> bytes:
    if job.metadata.get("break"):
        raise ZeroDivisionError
    if job.metadata.get("gone"):
        raise errors.OutputUnavailable("The output is not kept any more.")
    return b"{}"


@contextlib.asynccontextmanager
async def delivering(
    opened: ports.Store, clock: kit.Clock, outgoing: Played, *, owner: str = "here"
) -> AsyncGenerator[None]:
    ties = delivery.Ties(
        deliveries=opened.deliveries,
        jobs=opened.jobs,
        bus=bus.MemoryBus(),
        outgoing=outgoing,
        signer=delivery.Signer(secret="a passphrase to sign with", agent="test"),
        render=render,
        render_progress=lambda hook, job, at: b"{}",
        metrics=delivery.Metrics(prometheus_client.CollectorRegistry()),
        clock=clock,
        new_id=kit.new_id,
        chance=lambda: 0.5,
    )
    loop = asyncio.create_task(
        delivery.Deliverer(ties, delivery.Options(owner=owner, look_again=0.01, keep=1000.0, sweep=1.0)).run()
    )
    try:
        yield
    finally:
        loop.cancel()
        await asyncio.wait({loop})


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    clock = kit.Clock()
    opened = await store.open_store(f"sqlite:///{tmp_path}/gateway.db", clock=clock)
    site = Site(store=opened, clock=clock, outgoing=Played())
    async with delivering(opened, clock, site.outgoing):
        yield site
    await opened.close()


async def test_a_receiver_that_is_away_for_a_day_is_given_up(site: Site) -> None:
    site.outgoing.answers += [errors.TargetUnreachable("Nobody is there.")] * 20
    job = await site.canceled()
    began = site.clock.now
    for tries in range(1, len(SCHEDULE)):
        one = await site.until(job, lambda one, tries=tries: one.tries == tries and one.due > site.clock.now)
        assert (one.status, one.error) == (DeliveryStatus.PENDING, "Nobody is there.")
        site.clock.now = one.due
    one = await site.until(job, lambda one: one.status is DeliveryStatus.DEAD)
    assert (one.tries, one.error) == (10, "Nobody is there. Given up after 10 tries.")
    assert site.clock.now - began == SCHEDULE[-1]
    assert len(set(site.outgoing.ids)) == 1
    assert len(site.outgoing.posts) == 10


async def test_it_waits_as_long_as_the_receiver_asks(site: Site) -> None:
    site.outgoing.answers.append(Answer(status=503, retry_after=600.0))
    job = await site.canceled()
    one = await site.until(job, lambda one: one.answer == 503)
    assert one.due == site.clock.now + 600
    site.clock.now += 600
    assert (await site.until(job, lambda one: one.status is DeliveryStatus.DELIVERED)).tries == 2


async def test_what_breaks_one_delivery_stops_no_other(site: Site) -> None:
    broken = await kit.submit_one(
        site.store, site.clock, webhook=webhooks.Webhook(url="https://a.example"), metadata={"break": "1"}
    )
    await site.store.jobs.cancel(kit.TENANT, broken.id, now=site.clock.now)
    fine = await site.canceled()
    await site.until(fine, lambda one: one.status is DeliveryStatus.DELIVERED)
    one = await site.until(broken, lambda one: one.error is not None)
    assert (one.status, one.error) == (DeliveryStatus.PENDING, "The gateway could not send it; its log says why.")


async def test_what_is_not_there_any_more_cannot_be_told(site: Site) -> None:
    job = await kit.submit_one(
        site.store, site.clock, webhook=webhooks.Webhook(url="https://a.example"), metadata={"gone": "1"}
    )
    await site.store.jobs.cancel(kit.TENANT, job.id, now=site.clock.now)
    one = await site.until(job, lambda one: one.status is DeliveryStatus.DEAD)
    assert (one.tries, one.error) == (1, "The output is not kept any more.")


async def test_old_deliveries_are_forgotten(site: Site) -> None:
    job = await site.canceled()
    one = await site.until(job, lambda one: one.status is DeliveryStatus.DELIVERED)
    site.clock.now += 1001
    async with asyncio.timeout(20):
        while True:
            try:
                await site.store.deliveries.get(kit.TENANT, one.id)
            except errors.NotFound:
                return
            await asyncio.sleep(0.005)


async def test_everything_owed_at_once_arrives_once(site: Site) -> None:
    jobs = [await site.canceled(url=f"https://host{number % 7}.example/") for number in range(60)]
    for job in jobs:
        await site.until(job, lambda one: one.status is DeliveryStatus.DELIVERED)
    assert len(site.outgoing.ids) == len(set(site.outgoing.ids)) == 60


@pytest.mark.postgres
async def test_two_gateways_on_one_database_tell_each_thing_once(postgres_url: str) -> None:
    clock, outgoing = kit.Clock(), Played()
    async with contextlib.AsyncExitStack() as stack:
        opened: list[ports.Store] = []
        for _ in range(2):
            opened.append(await store.open_store(postgres_url, clock=clock))
            stack.push_async_callback(opened[-1].close)
        site = Site(store=opened[0], clock=clock, outgoing=outgoing)
        jobs = [await site.canceled(url=f"https://host{number % 5}.example/") for number in range(40)]
        for number, each in enumerate(opened):
            await stack.enter_async_context(delivering(each, clock, outgoing, owner=f"host{number}"))
        for job in jobs:
            await site.until(job, lambda one: one.status is DeliveryStatus.DELIVERED)
        assert len(outgoing.ids) == len(set(outgoing.ids)) == 40
