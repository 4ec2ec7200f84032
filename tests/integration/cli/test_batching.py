"""`comfy-gateway batch` against gateways that misbehave, and the file of what failed."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from rich.console import Console

from gateway.cli import batching, failures, output
from tests.integration.cli.standing_in import StandIn, refused

OUTPUT = {"id": "a1", "name": "x.png", "type": "image", "content_type": "image/png"}


async def batch(url: str, file: Path, *, remarks: io.StringIO | None = None, in_flight: int = 1) -> int:
    screen = output.Screen(as_json=True, err=Console(file=remarks or io.StringIO(), width=200))
    wish = batching.Wish(file=file, template="sd15", out=file.parent / "out", in_flight=in_flight)
    async with asyncio.timeout(30):
        return await batching.fulfil(wish, url, None, screen)


def orders(folder: Path, *prompts: str) -> Path:
    file = folder / "orders.csv"
    file.write_text("\n".join(["prompt,seed", *(f"{prompt},{seed}" for seed, prompt in enumerate(prompts))]))
    return file


def failed_lines(file: Path) -> list[dict[str, Any]]:
    told = file.parent / "out" / f"{file.name}.failed.jsonl"
    return [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []


async def made(site: StandIn, request: web.Request) -> web.Response:
    """A job that is done already, unless its prompt says that it shall fail."""
    body = await request.json()
    job: dict[str, Any] = site.take(body, "succeeded") | {"outputs": [OUTPUT]}
    if body["inputs"]["prompt"].startswith("fails"):
        job |= {"status": "failed", "outputs": [], "error": {"message": "no luck"}}
    site.jobs[job["id"]] = job
    return web.json_response(job)


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_gateway_that_is_away_for_a_moment_gets_the_same_order_again(
    status: int, aiohttp_app: Any, tmp_path: Path
) -> None:
    async def away(site: StandIn, request: web.Request) -> web.Response:
        return refused(status, "store_unavailable") if len(site.keys) == 2 else await made(site, request)

    site = StandIn(answer=away)
    assert await batch(await aiohttp_app(site.app()), orders(tmp_path, "a", "b", "c")) == failures.DONE
    assert len(site.keys) == 4
    assert len({*site.keys}) == len(site.jobs) == 3


async def test_a_download_that_breaks_begins_anew(aiohttp_app: Any, tmp_path: Path) -> None:
    asked: list[str] = []

    async def broken(_: StandIn, request: web.Request) -> web.Response:
        asked.append(request.path)
        if len(asked) == 2:
            response = web.StreamResponse(headers={"Content-Length": "100000"})
            await response.prepare(request)
            await response.write(b"pic")
            assert request.transport is not None
            request.transport.abort()
        return refused(503, "store_unavailable") if len(asked) == 4 else web.Response(body=b"picture")

    site = StandIn(answer=made, content=broken)
    assert await batch(await aiohttp_app(site.app()), orders(tmp_path, "a", "b", "c")) == failures.DONE
    assert len(asked) == 5
    assert [path.read_bytes() for path in sorted((tmp_path / "out").glob("*.png"))] == [b"picture"] * 3


async def test_what_failed_is_a_batch_that_may_lie_anywhere(aiohttp_app: Any, tmp_path: Path) -> None:
    parameters = [
        {"name": "prompt", "type": "string"},
        {"name": "seed", "type": "seed"},
        {"name": "image", "type": "image"},
        {"name": "mask", "type": "mask"},
    ]
    (tmp_path / "photo.png").write_bytes(b"photo")
    file = tmp_path / "orders.csv"
    file.write_text("prompt,seed,image,mask\nfails,7,photo.png,asset:mask.png\n")
    site = StandIn(answer=made, parameters=parameters)
    url = await aiohttp_app(site.app())
    assert await batch(url, file) == failures.FAILED
    inputs = {"prompt": "fails", "seed": 7, "image": str(tmp_path / "photo.png"), "mask": "asset:mask.png"}
    assert failed_lines(file) == [{"template": "sd15", "inputs": inputs}]
    assert await batch(url, file.parent / "out" / "orders.csv.failed.jsonl") == failures.FAILED
    first, again = site.bodies
    assert first["inputs"] == again["inputs"]


async def test_an_interrupted_batch_keeps_what_failed_before(aiohttp_app: Any, tmp_path: Path) -> None:
    hanging, over = asyncio.Event(), asyncio.Event()

    async def hang(site: StandIn, request: web.Request) -> web.Response:
        if len(site.keys) <= 3:
            return await made(site, request)
        hanging.set()
        await over.wait()
        return refused(503, "store_unavailable")

    site = StandIn(answer=hang)
    url, file = await aiohttp_app(site.app()), orders(tmp_path, "fails 1", "b", "fails 2")
    assert await batch(url, file) == failures.FAILED
    running = asyncio.create_task(batch(url, file))
    await hanging.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    over.set()
    assert [line["inputs"]["prompt"] for line in failed_lines(file)] == ["fails 2"]  # the first is being tried again


async def test_a_full_queue_is_waited_for_and_told(aiohttp_app: Any, tmp_path: Path) -> None:
    async def full(site: StandIn, request: web.Request) -> web.Response:
        if len(site.keys) == 1:
            return refused(429, "queue_full", **{"Retry-After": "1"})
        return await made(site, request)

    site, remarks = StandIn(answer=full), io.StringIO()
    assert await batch(await aiohttp_app(site.app()), orders(tmp_path, "a"), remarks=remarks) == failures.DONE
    assert "takes no more jobs for now" in remarks.getvalue()
