"""Bounds, brakes and comebacks of a whole gateway, as clients see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from gateway import app, settings, simulator

KEYS = {"root": "0123456789abcdef-root", "shop": "0123456789abcdef-shop"}
ORDER = {
    "workflow": {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 1}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
}


def of(name: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"}


async def post(
    session: aiohttp.ClientSession, path: str, body: object, **more: Any
) -> tuple[int, Any, Mapping[str, str]]:
    async with session.post(path, json=body, **more) as answer:
        return answer.status, await answer.json(), answer.headers


async def test_a_keys_limits_and_an_admins_rights(tmp_path: Path) -> None:
    keys = [f"root:{KEYS['root']} admin", f"shop@shop:{KEYS['shop']} max_queued=2"]
    given = settings.load({"data_dir": tmp_path, "port": 0, "api_keys": keys})
    async with app.running(given) as gateway, aiohttp.ClientSession(gateway.url) as session:
        for expected in (201, 201, 429):
            status, body, headers = await post(session, "/api/v2/jobs", ORDER, headers=of("shop"))
            assert status == expected, body
        assert (body["error"]["code"], body["error"]["details"]["max_jobs"]) == ("queue_full", 2)
        assert int(headers["Retry-After"]) > 0
        status, _, _ = await post(session, "/v1/queue/cancel", {"tenant": "shop"}, headers=of("shop"))
        assert status == 200
        assert (await post(session, "/api/v2/jobs", ORDER, headers=of("shop")))[0] == 201
        far = {"url": "http://127.0.0.1:9", "id": "far"}
        assert (await post(session, "/v1/workers", far, headers=of("shop")))[0] == 403
        assert (await post(session, "/v1/workers", far, headers=of("root")))[0] == 201
        status, body, _ = await post(session, "/v1/queue/cancel", {"all_tenants": True}, headers=of("root"))
        assert (status, body) == (200, {"canceled": 1, "canceling": 0})


async def test_little_room_is_told_and_braked(tmp_path: Path) -> None:
    given = settings.load({"data_dir": tmp_path, "port": 0, "limits": {"free_disk": 10**18}})
    async with app.running(given) as gateway, aiohttp.ClientSession(gateway.url) as session:
        status, body, headers = await post(session, "/api/v2/jobs", ORDER)
        assert (status, body["error"]["code"], int(headers["Retry-After"]) > 0) == (429, "queue_full", True)
        async with session.post("/api/v2/assets", data=upload()) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (429, "queue_full")
        async with session.get("/readyz") as answer:
            checks = (await answer.json())["error"]["details"]["checks"]
            assert (answer.status, checks["blobs"], "are to stay free" in checks["space"]) == (503, "ok", True)
        async with session.get("/metrics") as answer:
            assert "comfy_gateway_storage_refusing 1.0" in await answer.text()


def upload() -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("content_type", "text/plain")
    form.add_field("file_path", "a.txt")
    form.add_field("file", b"x", filename="a.txt")
    return form


async def test_blobs_that_are_away_for_a_while(tmp_path: Path) -> None:
    """Clear errors while they are away, and everything goes on without a restart."""
    blobs, away = tmp_path / "blobs", tmp_path / "away"
    async with simulator.running() as worker:
        given = settings.load({"data_dir": tmp_path / "data", "port": 0, "blobs": str(blobs), "workers": [worker.url]})
        async with app.running(given) as gateway, aiohttp.ClientSession(gateway.url) as session:
            _, before, _ = await post(session, "/api/v2/jobs", ORDER, headers={"Prefer": "wait=30"})
            blobs.rename(away)
            async with session.get(before["outputs"][0]["url"]) as answer:
                assert (answer.status, (await answer.json())["error"]["code"]) == (503, "store_unavailable")
            async with session.get("/readyz") as answer:
                assert answer.status == 503
            async with session.post("/api/v2/assets", data=upload()) as answer:
                assert answer.status in {429, 503}
            assert (await post(session, "/api/v2/jobs", ORDER))[0] == 429
            away.rename(blobs)
            async with asyncio.timeout(20):
                while (order := await post(session, "/api/v2/jobs", ORDER, headers={"Prefer": "wait=30"}))[0] == 429:
                    await asyncio.sleep(int(order[2]["Retry-After"]) / 20)  # sooner than it was told, as people are
            assert (order[0], order[1]["status"]) == (200, "succeeded")
            async with session.get(before["outputs"][0]["url"]) as answer:
                assert answer.status == 200


async def events(session: aiohttp.ClientSession, path: str) -> AsyncIterator[tuple[str, Any]]:
    """As a browser's EventSource reads them: name and data, to the end of the answer."""
    name = ""
    async with session.get(path) as answer:
        async for raw in answer.content:
            line = raw.decode().rstrip("\n")
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, orjson.loads(line.removeprefix("data: "))


async def test_a_stream_that_is_taken_up_again_after_a_restart(tmp_path: Path) -> None:
    """There is no replay: each connection tells the state first, and so nothing is missed."""
    work = {
        "1": {"class_type": "SimulatedWork", "inputs": {"seconds": 1.5, "steps": 10, "seed": 1}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    async with simulator.running() as worker:
        given = settings.load({"data_dir": tmp_path, "port": 0, "workers": [worker.url], "grace": 0})
        async with app.running(given) as gateway, aiohttp.ClientSession(gateway.url) as session:
            _, job, _ = await post(session, "/api/v2/jobs", {"workflow": work})
            path = job["urls"]["events"]
            first = events(session, path)
            async for name, data in first:
                if (name, data.get("status")) == ("status", "running"):
                    break
            rest = asyncio.create_task(told(first))
            await asyncio.sleep(0)
            gateway.parts.stopping.set()
            assert "succeeded" not in await rest, "it ends with the gateway, and does not pretend that the job did"
        async with app.running(given) as gateway, aiohttp.ClientSession(gateway.url) as session:
            again = await told(events(session, path))
        assert again[-2:] == ["output", "succeeded"]


async def told(stream: AsyncIterator[tuple[str, Any]]) -> list[str]:
    return [data["status"] if name == "status" else name async for name, data in stream]
