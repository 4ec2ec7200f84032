"""A gateway's API over a real socket, store and blobs, with the test in dispatch's place."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from gateway import assets, ports, submission
from gateway.adapters import blobs as blobs_adapter
from gateway.adapters import bus as bus_adapter
from gateway.adapters import images
from gateway.adapters import store as store_adapter
from gateway.api import app, auth, parts
from gateway.domain import model
from gateway.domain.comfy import object_info
from tests.integration.api import driver
from tests.integration.api.served import Api
from tests.integration.assets import made as kit

FIXTURES = Path(__file__).parents[2] / "fixtures"
Serve = Callable[[Any], Awaitable[str]]


@pytest.fixture(scope="session")
def catalog() -> object_info.NodeCatalog:
    """Four stock nodes, as a real ComfyUI tells them."""
    return object_info.NodeCatalog.parse(orjson.loads((FIXTURES / "object_info_small.json").read_bytes()))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ports.Store]:
    store = await store_adapter.open_store(f"sqlite:///{tmp_path}/gateway.db", clock=time.time)
    yield store
    await store.close()


@pytest.fixture
def expect() -> Any:
    """What foretells when jobs would be done; None: nobody can tell. Test modules have their own."""
    return None


@pytest.fixture
async def made(store: ports.Store, tmp_path: Path, catalog: object_info.NodeCatalog, expect: Any) -> parts.Parts:
    """The parts of a gateway without dispatch."""
    blobs = blobs_adapter.open_blobs(str(tmp_path / "blobs"))
    bus = bus_adapter.MemoryBus()
    signer = assets.Signer(b"0" * 32)
    kept = assets.Assets(store.assets, blobs, clock=time.time, new_id=driver.new_id, signer=signer)
    shelf = kit.shelf(store, lambda: {model.WorkerId("w1"): catalog})
    ties = submission.Ties(
        jobs=store.jobs,
        assets=kept,
        bus=bus,
        secrets=submission.Secrets(clock=time.time),
        find=shelf.find,
        catalogs=lambda: (catalog,),
        probe=images.probe_image,
        bomb_probe=images.refuse_bomb,
        clock=time.time,
        new_id=driver.new_id,
        draw_seed=lambda: 7,
        expect=expect,
    )
    return parts.Parts(
        store=store,
        blobs=blobs,
        bus=bus,
        assets=kept,
        submission=submission.Submission(ties),
        fleet=driver.Fleet(),
        templates=shelf,
        access=auth.Access(),
        clock=time.time,
        version="0.0.test",
    )


@pytest.fixture
async def start(made: parts.Parts, serve: Serve) -> AsyncIterator[Callable[..., Awaitable[Api]]]:
    """Serves the parts, some of them exchanged."""
    clients: list[httpx.AsyncClient] = []
    stopping = made.stopping

    async def begin(**changed: Any) -> Api:
        known = replace(made, **changed)
        url = await serve(app.build_app(known))
        client = httpx.AsyncClient(base_url=url, timeout=20)
        clients.append(client)
        worker = driver.Driver(known.store, known.bus, known.assets)
        await worker.start()
        assert isinstance(known.fleet, driver.Fleet)
        return Api(client=client, parts=known, driver=worker, fleet=known.fleet, url=url)

    yield begin
    stopping.set()
    for client in clients:
        await client.aclose()


@pytest.fixture
async def api(start: Callable[..., Awaitable[Api]]) -> Api:
    """A gateway as it is by default."""
    return await start()
