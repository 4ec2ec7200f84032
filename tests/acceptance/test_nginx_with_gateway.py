"""The whole gateway behind the shipped nginx: what a client does, through the front door."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from gateway.app import Gateway
from tests.acceptance.nginx_front import NGINX, Front, front

pytestmark = [
    pytest.mark.nginx,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed: apt-get install nginx"),
]

Start = Callable[..., Awaitable[Gateway]]
KEY = "a-key-of-32-characters-for-tests"
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 24, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "blue"}},
}


@pytest.fixture
async def nginx(start_gateway: Start, tmp_path: Path) -> AsyncIterator[Front]:
    """nginx, a gateway that asks for a key, and a simulated worker. Its client presents the key."""
    gateway = await start_gateway(api_keys=[f"tests:{KEY}"])
    async with front(tmp_path / "nginx", [int(gateway.url.rsplit(":", 1)[1])]) as running:
        running.client.headers["Authorization"] = f"Bearer {KEY}"
        yield running


async def submit(nginx: Front) -> dict[str, Any]:
    """Order the plain graph."""
    async with nginx.client.post(f"{nginx.url}/api/v2/jobs", json={"workflow": GRAPH}) as answer:
        assert answer.status == 201, await answer.text()
        return await answer.json()


async def events(nginx: Front, path: str) -> list[tuple[str, Any]]:
    """Read an event stream to its end."""
    found: list[tuple[str, Any]] = []
    async with nginx.client.get(nginx.url + path) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        name = ""
        async for line in answer.content:
            word, _, rest = line.decode().rstrip("\n").partition(": ")
            if word == "event":
                name = rest
            elif word == "data":
                found.append((name, orjson.loads(rest)))
    return found


async def test_a_job_from_order_to_picture(nginx: Front) -> None:
    job = await submit(nginx)
    seen = await events(nginx, job["urls"]["events"])
    assert seen[-1][0] == "status"
    assert seen[-1][1]["status"] == "succeeded"
    async with nginx.client.get(nginx.url + job["urls"]["self"]) as answer:
        output = (await answer.json())["outputs"][0]
    # The link that the gateway gives leads through nginx, not around it, and needs no key.
    assert output["url"].startswith(nginx.url + "/")
    async with aiohttp.ClientSession() as stranger:
        async with stranger.get(output["url"]) as answer:
            picture = await answer.read()
            tag = answer.headers["ETag"]
        assert picture.startswith(b"\x89PNG")
        async with stranger.get(output["url"], headers={"Range": "bytes=1-3", "If-Range": tag}) as answer:
            assert (answer.status, await answer.read()) == (206, b"PNG")
        async with stranger.get(output["url"], headers={"If-None-Match": tag}) as answer:
            assert answer.status == 304


async def test_an_order_that_waits_and_one_that_is_the_picture(nginx: Front) -> None:
    async with nginx.client.post(
        f"{nginx.url}/v1/templates/edit/jobs",
        json={"inputs": {"width": 64, "height": 48}},
        headers={"Prefer": "wait=30"},
    ) as answer:
        assert answer.status == 200, await answer.text()
        assert (await answer.json())["status"] == "succeeded"
    wanted = {"Prefer": "wait=30", "Accept": "image/*"}
    async with nginx.client.post(f"{nginx.url}/api/v2/jobs", json={"workflow": GRAPH}, headers=wanted) as answer:
        assert (answer.status, answer.content_type) == (200, "image/png")
        assert (await answer.read()).startswith(b"\x89PNG")


async def test_an_upload(nginx: Front) -> None:
    form = aiohttp.FormData()
    form.add_field("file", b"words " * 100_000, filename="words.txt", content_type="text/plain")
    form.add_field("content_type", "text/plain")
    form.add_field("file_path", "words.txt")
    async with nginx.client.post(f"{nginx.url}/api/v2/assets", data=form) as answer:
        assert answer.status == 201, await answer.text()
        assert (await answer.json())["size_bytes"] == 600_000


async def test_refusals_are_the_gateway_s_own(nginx: Front) -> None:
    async with nginx.client.get(f"{nginx.url}/api/v2/jobs", headers={"Authorization": "Bearer nobody"}) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (401, "unauthorized")
    async with nginx.client.post(f"{nginx.url}/api/v2/jobs", data=b"{") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, "invalid_request")


async def test_health(nginx: Front) -> None:
    for path in ("/healthz", "/readyz", "/nginx-health"):
        async with nginx.client.get(nginx.url + path) as answer:
            assert answer.status == 200, path
