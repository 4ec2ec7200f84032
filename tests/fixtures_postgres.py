"""A private PostgreSQL cluster for the session, and a fresh database for every test that asks for one."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg
import pytest

from gateway.adapters.store import engines, migrating

INSTALL: Final = "PostgreSQL's programs are missing; `apt-get install postgresql` brings them"

#: Nothing in a test survives the machine, so nothing waits for its disk. Only a Unix socket: no port to collide.
OPTIONS: Final = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "jit": "off",
    "autovacuum": "off",
    "deadlock_timeout": "50ms",
}


@dataclass(slots=True, kw_only=True)
class PostgresServer:
    """A running cluster. Its socket lies in `folder`."""

    programs: Path
    folder: Path
    account: str | None  #: whom it runs as, when we are root: PostgreSQL refuses to
    durable: bool  #: what it committed survives its crash
    process: subprocess.Popen[bytes] | None = None
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, database: str) -> str:
        """The URL of a database."""
        return f"postgresql://gateway@/{database}?host={self.folder}"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = OPTIONS | ({"fsync": "on", "synchronous_commit": "on"} if self.durable else {})
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.folder / "data", "-k", self.folder, *settings],
                user=self.account,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self.folder / "log").read_text()) from None
                time.sleep(0.02)
            else:
                return

    def stop(self, sent: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends sessions in good order, SIGQUIT as a crash does."""
        if self.process is not None:
            self.process.send_signal(sent)
            self.process.wait(timeout=30)
            self.process = None

    def remove(self) -> None:
        """Stop it and delete all its files."""
        self.stop()
        shutil.rmtree(self.folder)

    def run(self, statement: str) -> None:
        """Run an administrator's statement."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def create(self, *, template: str = "template1") -> str:
        """A new database; returns its name."""
        name = f"test_{next(self.numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected."""
        self.run(f"DROP DATABASE {name} WITH (FORCE)")


def _programs() -> Path | None:
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda path: float(path.parts[-3]) if path.parts[-3].replace(".", "").isdigit() else 0.0,
    )
    if versions:
        return versions[-1].parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def _account() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def make_server(*, durable: bool = False) -> PostgresServer:
    """A new cluster, not started; skips where PostgreSQL is not installed."""
    programs = _programs()
    if programs is None:
        pytest.skip(INSTALL)
    folder = Path(tempfile.mkdtemp(prefix="gateway-pg-"))
    account = _account()
    if account is not None:
        shutil.chown(folder, account)
    subprocess.run(
        [programs / "initdb", "-D", folder / "data", "-U", "gateway", "--auth=trust", "--no-sync", "-E", "UTF8"],
        user=account,
        check=True,
        capture_output=True,
        cwd=folder,
    )
    return PostgresServer(programs=programs, folder=folder, account=account, durable=durable)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running cluster for the session."""
    server = make_server()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def migrated_template(postgres_server: PostgresServer) -> str:
    """A database with our schema, to be copied."""
    name = postgres_server.create()
    engine = engines.backend(postgres_server.url(name)).engine
    migrating.migrate(engine)
    engine.dispose()
    return name


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    """The URL of a database of the test's own, with our schema in it."""
    name = postgres_server.create(template=migrated_template)
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    name = postgres_server.create()
    yield postgres_server.url(name)
    postgres_server.drop(name)
