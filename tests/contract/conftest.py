"""One suite a port, over each adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway import ports
from gateway.adapters.store import open_store
from tests.contract import store_kit


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of the test's own, on each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/gateway.db"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def clock() -> store_kit.Clock:
    return store_kit.Clock()


@pytest.fixture
async def opened(store_url: str, clock: store_kit.Clock) -> AsyncIterator[store_kit.OpenStore]:
    """Opens the same database again and again, as several gateways would."""
    stores: list[ports.Store] = []

    async def open_again() -> ports.Store:
        stores.append(await open_store(store_url, clock=clock))
        return stores[-1]

    yield open_again
    for store in stores:
        await store.close()


@pytest.fixture
async def store(opened: store_kit.OpenStore) -> ports.Store:
    return await opened()
