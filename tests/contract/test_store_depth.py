"""What a claim costs does not grow with the queue, whatever lies at its head: counted in statements, rows that come
back, and what the engine does for them (SQLite: instructions of its machine; PostgreSQL: rows that it reads), so that
no clock is asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway import ports
from gateway.adapters.store import claims, engines, statements, windows
from gateway.domain import model
from tests.contract import store_kit as kit

CAPPED = model.TenantId("capped")
TENANTS = 20
TICK = 50  #: instructions of SQLite's machine
ENDED = 1000
READ = "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) FROM pg_stat_xact_user_tables"
HEADS: dict[str, dict[str, object]] = {
    "nothing": {},
    "a capped tenant": {"tenant": CAPPED},
    "another worker's": {"requirements": kit.RARE},
}


@dataclass(slots=True)
class Counting:
    """A driver's connection that counts what is asked of it."""

    driver: Any
    asked: int = 0
    rows: int = 0
    ticks: int = 0

    def execute(self, sql: str, values: Any = ()) -> Counted:
        self.asked += 1
        return Counted(self, self.driver.execute(sql, values))

    def cursor(self) -> Counted:
        return Counted(self, self.driver.cursor())

    def tick(self) -> int:
        self.ticks += 1
        return 0

    def read(self) -> int:
        """Rows that PostgreSQL has read for this connection lately."""
        return 0 if isinstance(self.driver, sqlite3.Connection) else int(self.driver.execute(READ).fetchone()[0])


@dataclass(slots=True)
class Counted:
    """A cursor that counts the rows it gives."""

    connection: Counting
    cursor: Any
    description: Any = field(init=False)

    def __post_init__(self) -> None:
        self.description = self.cursor.description

    @property
    def rowcount(self) -> int:
        return int(self.cursor.rowcount)

    def fetchall(self) -> list[Any]:
        found: list[Any] = self.cursor.fetchall()
        self.connection.rows += len(found)
        return found

    def executemany(self, sql: str, values: Any) -> None:
        self.connection.asked += 1
        self.cursor.executemany(sql, values)


async def fill(store: ports.Store, clock: kit.Clock, head: dict[str, object], *, at_head: int, each: int) -> None:
    """The head of another priority, and each tenant's jobs."""
    if head:
        await store.jobs.submit([kit.new_job(clock, **{"priority": 50, **head}) for _ in range(at_head)])
    for number in range(TENANTS):
        tenant = model.TenantId(f"t{number}")
        await store.jobs.submit([kit.new_job(clock, tenant=tenant) for _ in range(each)])


@pytest.fixture
def connection(store_url: str) -> Iterator[Counting]:
    """A connection of the test's own."""
    backend = engines.backend(store_url)
    counting = Counting(engines.connect(backend.engine))
    if isinstance(counting.driver, sqlite3.Connection):
        counting.driver.set_progress_handler(counting.tick, TICK)
    yield counting
    counting.driver.close()
    backend.engine.dispose()


def cost(store_url: str, connection: Counting, slots: list[model.Slot], clock: kit.Clock) -> Counting:
    """The most that one of many claims asked for, for two rounds of all tenants. The first one reads what is remembered
    then, and does not count."""
    backend = engines.backend(store_url)
    (boot,) = connection.driver.execute("SELECT lease_boot FROM workers WHERE id = 'w0'").fetchone()
    seen, owners = windows.Seen(), claims.Owners()
    ask = claims.Ask(slots=slots, choose=kit.one_each, now=clock.now, new_id=kit.new_id, boot=boot)
    known = statements.Statements(backend.engine.dialect)
    most = Counting(None)
    for turn in range(2 * TENANTS + 1):
        connection.asked = connection.rows = connection.ticks = 0
        connection.driver.execute(backend.begin_write)
        before = connection.read()
        claimed = claims.claim(statements.Transaction(connection, known), ask, seen, owners)
        connection.ticks += connection.read() - before
        connection.driver.execute("UPDATE attempts SET ended_at = 1 WHERE ended_at IS NULL AND worker = 'w0'")
        connection.driver.execute("COMMIT")
        assert [claim.attempt.worker for claim in claimed.claims] == ["w0"]
        if turn > 0:
            most.asked = max(most.asked, connection.asked)
            most.rows = max(most.rows, connection.rows)
            most.ticks = max(most.ticks, connection.ticks)
    backend.engine.dispose()
    return most


async def forget(store: ports.Store, clock: kit.Clock, connection: Counting) -> None:
    """PostgreSQL's statistics of a day on which everything was done: they know of no queue."""
    await store.jobs.submit([kit.new_job(clock) for _ in range(ENDED)])
    connection.driver.execute("UPDATE jobs SET status = 'succeeded', completed_at = 1")
    connection.driver.execute("ANALYZE")


@pytest.mark.parametrize("head", HEADS)
async def test_a_claim_reads_the_same_at_any_depth(
    head: str, store: ports.Store, store_url: str, connection: Counting, clock: kit.Clock
) -> None:
    """At 200 jobs and at 3,000, of which hundreds at the head are not for this worker."""
    await reads_the_same(head, store, store_url, connection, clock)


@pytest.mark.parametrize("head", HEADS)
async def test_what_the_engine_knew_of_the_queue_changes_nothing(
    head: str, store: ports.Store, store_url: str, connection: Counting, clock: kit.Clock
) -> None:
    if isinstance(connection.driver, sqlite3.Connection):
        return  # it plans without statistics: the gateway never asks it to make any
    await forget(store, clock, connection)
    await reads_the_same(head, store, store_url, connection, clock)


async def reads_the_same(head: str, store: ports.Store, store_url: str, connection: Counting, clock: kit.Clock) -> None:
    """A claim, with little in the queue and with much."""
    slots = await kit.lease(store, "w0", "busy", accepts=[kit.PLAIN])
    mine = [slot for slot in slots if slot.worker == "w0"]
    await store.tenants.limit({CAPPED: model.TenantLimits(max_running=1)})
    await fill(store, clock, HEADS[head], at_head=100, each=5)
    if HEADS[head].get("tenant") == CAPPED:
        assert await kit.claim(store, [slot for slot in slots if slot.worker == "busy"], clock)
    shallow = cost(store_url, connection, mine, clock)
    await fill(store, clock, HEADS[head], at_head=1500, each=65)
    deep = cost(store_url, connection, mine, clock)
    print(f"{head}: {shallow.asked} -> {deep.asked} statements, rows {shallow.rows} -> {deep.rows}")
    print(f"ticks of the engine {shallow.ticks} -> {deep.ticks}")
    assert deep.asked <= shallow.asked + 1
    assert deep.asked <= 13, "a plain claim takes eight, and what the cap needs is five more"
    assert deep.rows <= 2 * windows.WINDOW + 2 * (TENANTS + 1) + 2 * windows.LANES
    assert deep.ticks <= 1.5 * shallow.ticks
