"""The store's life: schema, crashes, full disks, servers that go away and come back."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command, config

from gateway import ports
from gateway.adapters.store import engines, migrating, open_store, schema
from gateway.domain import errors, model
from gateway.domain.states import JobStatus
from tests import fixtures_postgres
from tests.contract import store_kit as kit

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty_urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two empty databases."""
    if request.param == "sqlite":
        yield (f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db")
        return
    server: fixtures_postgres.PostgresServer = request.getfixturevalue("postgres_server")
    first, second = server.create(), server.create()
    yield (server.url(first), server.url(second))
    server.drop(first)
    server.drop(second)


def catalog(engine: sa.Engine) -> set[str]:
    """Everything an engine knows about its tables and indexes."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # The text of a table that was altered is not that of one that was made at once, so tables are compared by
            # their columns.
            query = (
                "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type = 'index' AND name NOT LIKE '%alembic%'"
                " UNION ALL SELECT t.name, t.wr, c.cid || c.name, c.type || c.\"notnull\" || coalesce(c.dflt_value, '')"
                " || c.pk FROM pragma_table_list t JOIN pragma_table_info(t.name) c"
                " WHERE t.schema = 'main' AND t.name NOT LIKE '%alembic%' AND t.name NOT LIKE 'sqlite%'"
            )
        else:
            query = (
                "SELECT 'index', indexname, tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'"
                " AND tablename <> 'alembic_version' UNION ALL"
                " SELECT 'column', column_name, table_name, concat(ordinal_position, data_type, is_nullable,"
                " column_default) FROM information_schema.columns WHERE table_schema = 'public'"
                " AND table_name <> 'alembic_version'"
            )
        return {" ".join(f"{value}" for value in row) for row in connection.execute(sa.text(query))}


def test_migrations_lead_to_the_schema(empty_urls: tuple[str, str]) -> None:
    migrated, made = (engines.backend(url).engine for url in empty_urls)
    migrating.migrate(migrated)
    schema.metadata.create_all(made)
    assert catalog(migrated) == catalog(made)
    with migrated.connect() as connection:
        settings = config.Config()
        settings.set_main_option("script_location", migrating.SCRIPTS)
        settings.attributes["connection"] = connection
        command.downgrade(settings, "base")
    assert not {entry for entry in catalog(migrated) if "jobs" in entry}
    migrating.migrate(migrated)
    assert catalog(migrated) == catalog(made)
    migrated.dispose()
    made.dispose()


async def test_gateways_that_start_together_migrate_once(empty_urls: tuple[str, str], clock: kit.Clock) -> None:
    stores = await asyncio.gather(*(open_store(empty_urls[0], clock=clock) for _ in range(4)))
    for store in stores:
        await store.check()
        await store.close()


async def test_a_database_of_a_newer_program_is_refused(empty_urls: tuple[str, str], clock: kit.Clock) -> None:
    await (await open_store(empty_urls[0], clock=clock)).close()
    engine = engines.backend(empty_urls[0]).engine
    with engine.connect() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(errors.ConfigError, match="newer"):
        await open_store(empty_urls[0], clock=clock)


@pytest.mark.parametrize("url", ["", "gateway.db", "mysql://localhost/x", "sqlite://", "sqlite:///:memory:", "://"])
async def test_urls_that_name_no_database_of_ours_are_refused(url: str, clock: kit.Clock) -> None:
    with pytest.raises(errors.ConfigError):
        await open_store(url, clock=clock)


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/at/all/gateway.db", "postgresql://gateway@127.0.0.1:1/gateway?connect_timeout=2"]
)
async def test_a_database_that_cannot_be_reached_is_unavailable(url: str, clock: kit.Clock) -> None:
    with pytest.raises(errors.StoreUnavailable):
        await open_store(url, clock=clock)


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path, clock: kit.Clock) -> None:
    (tmp_path / "gateway.db").write_bytes(b"this is a text\n" * 1000)
    with pytest.raises(errors.StoreUnavailable):
        await open_store(f"sqlite:///{tmp_path}/gateway.db", clock=clock)


async def test_a_closed_store_says_so(store_url: str, clock: kit.Clock) -> None:
    store = await open_store(store_url, clock=clock)
    await store.close()
    await store.close()
    with pytest.raises(errors.StoreUnavailable):
        await store.check()
    with pytest.raises(errors.StoreUnavailable):
        await store.jobs.get(kit.TENANT, "x")


async def test_close_finishes_what_was_asked(opened: kit.OpenStore, clock: kit.Clock) -> None:
    store = await opened()
    submits = [asyncio.create_task(kit.submit_one(store, clock)) for _ in range(50)]
    await asyncio.sleep(0)
    await store.close()
    jobs = await asyncio.gather(*submits)
    again = await opened()
    assert await again.jobs.count_by_status() == {JobStatus.QUEUED: len(jobs)}


async def test_what_was_answered_survives_a_kill(store_url: str, opened: kit.OpenStore) -> None:
    command_line = [sys.executable, "-m", "tests.contract.store_victim", store_url]
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, cwd=ROOT) as victim:
        assert victim.stdout is not None
        told = [victim.stdout.readline().decode().strip() for _ in range(40)]
        victim.send_signal(signal.SIGKILL)
        told += [
            line.strip() for line in victim.stdout.read().decode().splitlines(keepends=True) if line.endswith("\n")
        ]
    store = await opened()
    for job_id in told:
        assert (await store.jobs.get(kit.TENANT, job_id)).status is JobStatus.QUEUED


async def test_a_running_job_survives_a_reopening(opened: kit.OpenStore, clock: kit.Clock) -> None:
    store = await opened()
    job = await kit.submit_one(store, clock)
    (taken,) = await kit.claim(store, await kit.lease(store, "w0"), clock)
    await store.close()
    again = await opened()
    assert (await again.jobs.get(kit.TENANT, job.id)).attempt_id == taken.attempt.id
    await kit.lease(again, "w0")
    (adopted,) = await again.queue.open_claims([model.WorkerId("w0")])
    assert adopted.attempt.id == taken.attempt.id


@pytest.fixture
async def impatient_store(tmp_path: Path, clock: kit.Clock) -> AsyncIterator[ports.Store]:
    store = await open_store(f"sqlite:///{tmp_path}/gateway.db?timeout=0.05", clock=clock)
    yield store
    await store.close()


def test_a_full_disk_makes_store_and_blobs_unavailable_until_there_is_room(tmp_path: Path) -> None:
    command_line = [sys.executable, "-m", "tests.contract.store_full_disk", tmp_path]
    with (tmp_path / "log").open("wb") as log:  # a file too: what the process logs cannot be written either
        done = subprocess.run(command_line, cwd=ROOT, stdout=log, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr.decode()


async def test_a_locked_database_is_unavailable_until_it_is_free(
    impatient_store: ports.Store, clock: kit.Clock, tmp_path: Path
) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(errors.StoreUnavailable):
            await kit.submit_one(impatient_store, clock)
        other.execute("ROLLBACK")
    await kit.submit_one(impatient_store, clock)


async def test_who_waits_for_a_lock_keeps_nobody_else_waiting(tmp_path: Path, clock: kit.Clock) -> None:
    """A unit that cannot begin at once leaves the event loop alone: all else goes on, and it is run in the end."""
    store = await open_store(f"sqlite:///{tmp_path}/gateway.db", clock=clock)
    first = await kit.submit_one(store, clock)
    with contextlib.closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(kit.submit_one(store, clock))
        assert (await store.jobs.get(kit.TENANT, first.id)).id == first.id
        assert not waiting.done()
        other.execute("ROLLBACK")
    assert (await store.jobs.get(kit.TENANT, (await waiting).id)).status is JobStatus.QUEUED
    await store.close()


def test_what_sqlite_answered_is_on_the_disk(tmp_path: Path) -> None:
    """Not only in the write-ahead log's file: each commit waits for the disk."""
    engine = engines.backend(f"sqlite:///{tmp_path}/gateway.db").engine
    with engine.connect() as connection:
        found = {
            pragma: connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one()
            for pragma in ("journal_mode", "synchronous")
        }
    engine.dispose()
    assert found == {"journal_mode": "wal", "synchronous": 2}


@pytest.fixture
def own_server() -> Iterator[fixtures_postgres.PostgresServer]:
    """A cluster that a test may break."""
    server = fixtures_postgres.make_server(durable=True)
    server.start()
    yield server
    server.remove()


@pytest.mark.postgres
async def test_a_server_that_crashes_and_comes_back(
    own_server: fixtures_postgres.PostgresServer, clock: kit.Clock
) -> None:
    store = await open_store(own_server.url("postgres"), clock=clock)
    await asyncio.gather(*(kit.submit_one(store, clock) for _ in range(20)))
    own_server.stop(signal.SIGQUIT)
    done = await asyncio.gather(*(kit.submit_one(store, clock) for _ in range(10)), return_exceptions=True)
    assert {type(one) for one in done} == {errors.StoreUnavailable}
    with pytest.raises(errors.StoreUnavailable):
        await store.check()
    with pytest.raises(errors.StoreUnavailable):
        await store.jobs.count_by_status()
    own_server.start()
    await store.check()
    await asyncio.gather(*(kit.submit_one(store, clock) for _ in range(10)))
    assert await store.jobs.count_by_status() == {JobStatus.QUEUED: 30}
    await store.close()


@pytest.mark.postgres
async def test_connections_that_were_cut_while_idle_are_not_noticed(
    own_server: fixtures_postgres.PostgresServer, clock: kit.Clock
) -> None:
    store = await open_store(own_server.url("postgres"), clock=clock)
    await asyncio.gather(*(kit.submit_one(store, clock) for _ in range(20)))
    own_server.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'comfy-gateway' AND pid <> pg_backend_pid()"
    )
    await asyncio.gather(*(kit.submit_one(store, clock) for _ in range(20)))
    assert await store.jobs.count_by_status() == {JobStatus.QUEUED: 40}
    await store.close()
