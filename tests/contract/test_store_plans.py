"""No statement of the store reads a whole table that grows: the queue may be deep and the history long."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.pool import Pool

from gateway import ports
from gateway.adapters.store import engines, open_store
from gateway.domain import deliveries, model, pauses, webhooks
from gateway.domain.deliveries import DeliveryStatus
from gateway.domain.pauses import PauseKind
from gateway.domain.states import JobStatus, Outcome
from tests.contract import store_kit as kit

#: A scan of these reads every row; through these indexes it reads only what is queued, open, due or dead.
GROWS = (
    r"SCAN (jobs|job_graphs|job_assets|job_metadata|outputs|assets|attempts|events|batches|idempotency_keys|deliveries)"
)
_SMALL = (
    "ix_jobs_fair",
    "ix_jobs_class",
    "ix_jobs_lane",
    "ix_attempts_open",
    "uq_attempts_open",
    "ix_deliveries_due",
    "ix_deliveries_dead",
)
SMALL = rf"USING (COVERING )?INDEX ({'|'.join(_SMALL)})"
COUNTING = (
    "GROUP BY jobs.status",  # metrics read the index of what has ended, at most once a second
    "GROUP BY assets.hash",  # a disk budget weighs all records, for a twentieth of the time at most
)


LITERAL = re.compile(r"x?'(?:[^']|'')*'|\b\d[\d.e+-]*")


@pytest.fixture
def statements() -> Iterator[dict[str, str]]:
    """Every statement that SQLite runs, with its values filled in, by its text without them."""
    seen: dict[str, str] = {}

    def trace(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_trace_callback(lambda sql: seen.setdefault(LITERAL.sub("?", sql), sql) and None)

    event.listen(Pool, "connect", trace)
    yield seen
    event.remove(Pool, "connect", trace)


async def play(store: ports.Store, clock: kit.Clock) -> None:
    """Everything the ports offer, once."""
    asset = await store.assets.add(kit.new_asset(clock, file_path="a.png"), idempotency_key="k")
    await store.assets.by_hash(kit.TENANT, asset.hash)
    await store.assets.by_path(kit.TENANT, ["a.png"])
    await store.assets.get(kit.TENANT, asset.id)
    await store.assets.find(asset.id)
    await store.assets.get_many(kit.TENANT, [asset.id])
    await store.assets.unused([asset.hash])
    await store.assets.extend(asset.id, expires_at=None)
    batch = kit.new_batch(clock)
    orders = [kit.new_job(clock, requirements=kit.RARE, metadata={"a": "b"}) for _ in range(70)]
    await store.jobs.submit(orders, batch=batch, idempotency_key="k", queue_limit=1000)
    job = await kit.submit_one(store, clock, assets=(asset.id,))
    await kit.submit_one(store, clock, priority=-9)
    for accepts in ([kit.PLAIN], [kit.RARE]):
        for outcome in (Outcome.LOST, Outcome.SUCCEEDED):
            for claim in await kit.claim(store, await kit.lease(store, "w0", accepts=accepts), clock):
                await store.queue.mark_posted(claim.attempt.id, at=clock.now, node_errors={})
                await store.queue.add_outputs(claim.attempt.id, [kit.new_output(clock, claim.job_id)])
                await store.queue.settle(claim.attempt.id, kit.ending(clock, outcome))
    await kit.claim(store, await kit.lease(store, "w0"), clock)
    await store.queue.open_claims([model.WorkerId("w0")])
    await store.queue.requirements()
    for want in (
        model.JobFilter(),
        model.JobFilter(metadata={"a": "b"}),
        model.JobFilter(batch_id=batch.id, statuses=frozenset({JobStatus.SUCCEEDED})),
    ):
        page = await store.jobs.page(kit.TENANT, want, limit=1, cursor=None)
        await store.jobs.page(kit.TENANT, want, limit=1, cursor=page.next_cursor)
    await store.jobs.get(kit.TENANT, job.id)
    await store.jobs.graph(kit.TENANT, job.id)
    await store.jobs.attempts(job.id)
    await store.jobs.events(job.id)
    await store.jobs.queue_position(orders[-1].id)
    await store.jobs.count_by_status()
    await store.jobs.cancel(kit.TENANT, job.id, now=clock.now)
    await store.jobs.batch(kit.TENANT, batch.id)
    await kit.cancel_batch(store, batch.id, now=clock.now)
    for tenant in (kit.TENANT, None):
        await kit.submit_one(store, clock)
        assert [one async for one in store.jobs.cancel_queued(tenant, now=clock.now, running=True)]
    await store.queue.canceling()
    await kit.submit_one(store, clock)
    await store.queue.expire(now=clock.now, queued_before=clock.now + 1)
    await play_order(store, clock)
    await store.workers.release(owner=kit.OWNER)
    await store.queue.prune(now=clock.now + 1e6)
    await store.assets.delete(kit.TENANT, asset.id)
    await store.queue.weigh()
    await store.queue.evict(now=clock.now, excess=1)
    await store.assets.add(kit.new_asset(clock))
    await store.queue.evict(now=clock.now + 1e7, excess=1)


async def play_order(store: ports.Store, clock: kit.Clock) -> None:
    """Everything about order: caps, pauses, priorities."""
    await store.tenants.limit({kit.TENANT: model.TenantLimits(max_running=0)})
    await store.jobs.submit([kit.new_job(clock, priority=9) for _ in range(70)])
    await store.jobs.submit([kit.new_job(clock, tenant=kit.OTHER) for _ in range(3)])
    assert await kit.claim(store, await kit.lease(store, "w0"), clock)
    await store.tenants.limit({kit.TENANT: model.TenantLimits()})
    job = await kit.submit_one(store, clock, template="sdxl")
    await store.jobs.prioritize(kit.TENANT, job.id, 20, now=clock.now)
    await store.jobs.place_of_new(kit.TENANT, priority=0, n=1)
    for kind, name in ((PauseKind.QUEUE, ""), (PauseKind.TENANT, kit.TENANT), (PauseKind.TEMPLATE, "sdxl")):
        await store.pauses.put(pauses.Pause(kind=kind, name=name, since=clock.now))
        await kit.submit_one(store, clock, template="sdxl", priority=30)
        await kit.claim(store, await kit.lease(store, "w0"), clock)
        await store.pauses.running(kind, name)
        await store.pauses.lift(kind, name)
    assert [one async for one in store.jobs.cancel_queued(None, now=clock.now)]


async def play_webhooks(store: ports.Store, clock: kit.Clock) -> None:
    """Everything that is done about deliveries, once."""
    job = await kit.submit_one(store, clock, webhook=webhooks.Webhook(url="https://a.example"))
    for outcome in (Outcome.LOST, Outcome.SUCCEEDED):
        (claim,) = await kit.claim(store, await kit.lease(store, "w1", accepts=[kit.PLAIN]), clock)
        await store.queue.add_outputs(claim.attempt.id, [kit.new_output(clock, job.id)])
        await store.queue.settle(claim.attempt.id, kit.ending(clock, outcome))
    statuses = (DeliveryStatus.PENDING, DeliveryStatus.DELIVERED, DeliveryStatus.DEAD)
    for status in statuses:
        (one,) = await store.deliveries.claim(
            owner="here", now=clock.now, seconds=9.0, full=["b.example:443"], choose=lambda hosts: range(len(hosts))
        )
        verdict = deliveries.Verdict(status=status, due=clock.now, gone=status is DeliveryStatus.DEAD)
        assert await store.deliveries.finish(one, verdict, now=clock.now)
        await store.deliveries.get(kit.TENANT, one.id)
        await store.deliveries.redeliver(kit.TENANT, one.id, now=clock.now)
    for want in (
        deliveries.DeliveryFilter(),
        deliveries.DeliveryFilter(statuses=frozenset(statuses[1:])),
        deliveries.DeliveryFilter(job_id=job.id),
    ):
        page = await store.deliveries.page(kit.TENANT, want, limit=1, cursor=None)
        await store.deliveries.page(kit.TENANT, want, limit=1, cursor=page.next_cursor)
    await store.deliveries.backlog()
    assert await store.deliveries.forget(ended_before=clock.now + 1)


async def test_a_job_without_a_webhook_executes_nothing_about_webhooks(
    statements: dict[str, str], tmp_path: Path, clock: kit.Clock
) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/gateway.db", clock=clock)
    statements.clear()
    await play(store, clock)
    await store.close()
    about = [sql for sql in statements if "deliveries" in sql]
    # Only retention looks whether something is owed, and that only where the column is not empty.
    assert all("jobs.webhook IS NULL OR NOT" in sql for sql in about)


async def test_plans(statements: dict[str, str], tmp_path: Path, clock: kit.Clock) -> None:
    url = f"sqlite:///{tmp_path}/gateway.db"
    store = await open_store(url, clock=clock)
    statements.clear()
    await play(store, clock)
    await play_webhooks(store, clock)
    await store.close()
    ours = [sql for sql in statements.values() if sql.startswith(("SELECT", "UPDATE", "DELETE", "WITH"))]
    assert len(ours) > 50
    engine = engines.backend(url).engine
    with engine.connect() as connection:
        explained = {sql: explain(connection, sql) for sql in ours}
    engine.dispose()
    bad = {
        sql: plan
        for sql, plan in explained.items()
        if not any(text in sql for text in COUNTING) and any(map(reads_all, plan))
    }
    assert bad == {}
    fair = [plan for sql, plan in explained.items() if "LIMIT" in sql and "ORDER BY jobs.priority DESC" in sql]
    assert fair
    assert not [step for plan in fair for step in plan if "TEMP B-TREE" in step]


def explain(connection: sa.Connection, sql: str) -> list[str]:
    return [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}")]


def reads_all(step: str) -> bool:
    return re.match(GROWS, step) is not None and re.search(SMALL, step) is None
