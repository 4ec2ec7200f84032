"""The composition root: a whole gateway inside the test's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway import app, settings, simulator
from gateway.adapters import datadir
from gateway.domain import errors


async def answer(url: str) -> tuple[int, dict[str, object]]:
    async with aiohttp.ClientSession() as session, session.get(url) as got:
        return got.status, await got.json()


async def test_a_gateway_runs_jobs_on_a_worker_of_its_settings(tmp_path: Path) -> None:
    async with simulator.running(simulator.Options(card="instant")) as worker:
        given = settings.load({"data_dir": tmp_path, "port": 0, "workers": [worker.url]})
        async with app.running(given) as gateway, aiohttp.ClientSession(gateway.url) as session:
            body = {"inputs": {"prompt": "a red fox", "steps": 1}}
            order = session.post("/v1/templates/sd15/jobs", json=body, headers={"Prefer": "wait=60"})
            async with order as got:
                job = await got.json()
            assert (got.status, job["status"]) == (200, "succeeded")
            (view,) = gateway.dispatch.views()
            assert view.url == worker.url
        with pytest.raises(aiohttp.ClientError):
            await answer(gateway.url + "/healthz")


async def test_a_gateway_that_stops_is_not_ready(tmp_path: Path) -> None:
    given = settings.load({"data_dir": tmp_path, "port": 0})
    async with app.running(given) as gateway:
        assert (await answer(gateway.url + "/readyz"))[0] == 200
        gateway.parts.stopping.set()
        assert (await answer(gateway.url + "/readyz"))[0] == 503


async def test_workers_that_were_added_come_back(tmp_path: Path) -> None:
    given = settings.load({"data_dir": tmp_path, "port": 0})
    async with app.running(given) as gateway:
        await gateway.dispatch.add("http://127.0.0.1:9", worker_id="far")
    async with app.running(given) as gateway:
        assert [view.id for view in gateway.dispatch.views()] == ["far"]


async def test_the_data_directory_is_locked(tmp_path: Path) -> None:
    given = settings.load({"data_dir": tmp_path, "port": 0})
    with datadir.locked(datadir.at(tmp_path)), pytest.raises(errors.DataDirLocked):
        async with app.running(given):
            pass


async def test_a_gateway_that_cannot_start_says_why(tmp_path: Path) -> None:
    given = settings.load({"data_dir": tmp_path, "port": 0, "database": "mysql://x/y"})
    with pytest.raises(errors.ConfigError):
        async with app.running(given):
            pass


async def _ends() -> None:
    await asyncio.sleep(0)


async def _fails() -> None:
    raise ValueError("a defect")


async def _loses_what_it_waits_for() -> None:
    inner = asyncio.create_task(asyncio.sleep(60))
    inner.cancel()
    await inner


@pytest.mark.parametrize(
    ("loop", "kind", "said"),
    [
        (_ends, RuntimeError, "The tide ended by itself."),
        (_fails, ValueError, "The tide died of this, and the gateway with it."),
        (_loses_what_it_waits_for, RuntimeError, "The tide was cancelled from within."),
    ],
)
async def test_a_loop_that_dies_ends_all_others(
    loop: Callable[[], Coroutine[Any, Any, None]], kind: type[Exception], said: str
) -> None:
    """Rather than leave a server that answers and does nothing."""

    async def both(stop: app.Stop) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(app._for_ever("ebb", asyncio.sleep(600), stop))
            group.create_task(app._for_ever("tide", loop(), stop))

    with pytest.raises(ExceptionGroup) as caught:
        await both(app.Stop())
    (error,) = caught.value.exceptions
    assert isinstance(error, kind)
    assert said in (str(error), *getattr(error, "__notes__", ()))
