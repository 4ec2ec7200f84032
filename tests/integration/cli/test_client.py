"""The client against gateways that misbehave."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
import pytest
from aiohttp import web

from gateway.cli import client, failures, following

ID = "01a1fde9-37cb-72d1-b2e9-51d7b311338d"


def job(status: str) -> dict[str, Any]:
    return {"id": ID, "status": status, "outputs": [], "error": None}


async def test_nobody_listens() -> None:
    with socket.socket() as taken:  # bound, not listening
        taken.bind(("127.0.0.1", 0))
        async with client.connect(f"http://127.0.0.1:{taken.getsockname()[1]}") as gateway:
            with pytest.raises(failures.Unreachable, match="refused") as caught:
                await gateway.workers()
    assert "comfy-gateway up --simulate 2" in (caught.value.way_out or "")
    assert failures.status_of(caught.value) == failures.UNREACHABLE


@pytest.mark.parametrize("url", ["127.0.0.1:8180", "ftp://x", "http://", "http://x:port", "http://x:0"])
async def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(failures.Wrong):
        async with client.connect(url):
            pass


async def test_somebody_else_answers(aiohttp_app: Any) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/v1/workers", page)
    async with client.connect(await aiohttp_app(app)) as gateway:
        with pytest.raises(failures.Unreachable, match="not a gateway"):
            await gateway.workers()


ASKING: dict[str, Callable[[client.Gateway], Awaitable[Any]]] = {
    "templates": lambda gateway: gateway.templates(),
    "a template": lambda gateway: gateway.template("sdxl"),
    "workers": lambda gateway: gateway.workers(),
    "pauses": lambda gateway: gateway.pauses(),
    "a job": lambda gateway: gateway.job(ID),
    "jobs": lambda gateway: anext(aiter(gateway.jobs({}, limit=20))),
    "deliveries": lambda gateway: anext(aiter(gateway.deliveries({}, limit=20))),
    "an order": lambda gateway: gateway.order_template("sdxl", {}, {}),
    "copies": lambda gateway: gateway.order_copies("sdxl", {}, {}, n=2),
    "a workflow": lambda gateway: gateway.order_workflow({}, {}),
}


@pytest.mark.parametrize("what", ASKING)
@pytest.mark.parametrize("answer", [{}, [], None])
async def test_somebody_else_answers_in_json(answer: Any, what: str, aiohttp_app: Any) -> None:
    async def something(_: web.Request) -> web.Response:
        return web.json_response(answer)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", something)
    async with client.connect(await aiohttp_app(app)) as gateway:
        with pytest.raises(failures.Unreachable, match="not a gateway"):
            await ASKING[what](gateway)


@pytest.mark.parametrize("name", ["", ".", ".."])
async def test_names_that_are_none_ask_for_nothing_else(name: str) -> None:
    async with client.connect("http://127.0.0.1:9") as gateway:
        for asked in (gateway.job(name), gateway.template(name), gateway.remove_template(name), gateway.retry(name)):
            with pytest.raises(failures.Wrong):
                await asked


@pytest.mark.parametrize(
    ("url", "key"),
    [("http://127.0.0.1:9", "a\nb"), ("http://127.0.0.1:9", "größe"), ("http://u:p@127.0.0.1:9", "0123456789abcdef")],
)
async def test_a_key_that_cannot_be_sent(url: str, key: str) -> None:
    with pytest.raises(failures.Wrong):
        async with client.connect(url, key):
            pass


async def test_an_error_keeps_what_the_gateway_said(aiohttp_app: Any) -> None:
    async def refuse(_: web.Request) -> web.Response:
        faults = [{"reason": "too_big", "message": "Too big.", "parameter": "width", "node": "5", "index": 2}]
        error = {"code": "invalid_inputs", "message": "no", "details": {"faults": faults}}
        return web.json_response({"error": error}, status=422)

    async def no_key(_: web.Request) -> web.Response:
        return web.json_response({"error": {"code": "unauthorized", "message": "no key"}}, status=401)

    app = web.Application()
    app.router.add_post("/v1/templates/sdxl/jobs", refuse)
    app.router.add_get("/v1/workers", no_key)
    async with client.connect(await aiohttp_app(app)) as gateway:
        with pytest.raises(failures.Refused) as caught:
            await gateway.order_template("sdxl", {}, {})
        (fault,) = caught.value.faults
        assert (fault.parameter, fault.node, fault.index, caught.value.word) == ("width", "5", 2, "invalid_inputs")
        assert failures.status_of(caught.value) == failures.WRONG
        with pytest.raises(failures.Refused) as caught:
            await gateway.workers()
        assert "--api-key" in (caught.value.way_out or "")


async def test_a_gateway_that_was_met_may_be_away_for_a_moment(aiohttp_app: Any) -> None:
    seen: list[str] = []

    async def workers(request: web.Request) -> web.Response:
        seen.append("asked")
        if len(seen) == 2 and request.transport is not None:
            request.transport.abort()
        return web.json_response({"workers": []})

    app = web.Application()
    app.router.add_get("/v1/workers", workers)
    async with client.connect(await aiohttp_app(app)) as gateway:
        assert await gateway.workers() == []
        assert await gateway.workers() == []
    assert len(seen) == 3


async def test_an_order_is_not_sent_twice(aiohttp_app: Any) -> None:
    seen: list[str] = []

    async def order(request: web.Request) -> web.Response:
        seen.append(request.headers["Idempotency-Key"])
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/templates/sdxl/jobs", order)
    async with client.connect(await aiohttp_app(app)) as gateway:
        with pytest.raises(failures.Unreachable) as caught:
            await gateway.order_template("sdxl", {}, {}, key="mine")
    assert caught.value.sent
    assert seen == ["mine"]


async def followed(url: str) -> list[str]:
    told: list[str] = []

    def tell(name: str, data: Mapping[str, Any]) -> None:
        told.append(f"{name} {data['status']}")

    async with client.connect(url) as gateway:
        assert (await following.follow(gateway, ID, tell)).succeeded
    return told


def told_by(statuses: list[str], events: Any) -> web.Application:
    """A gateway whose job goes from status to status, each time it is asked."""
    left = iter(statuses)

    async def ask(_: web.Request) -> web.Response:
        return web.json_response(job(next(left)))

    app = web.Application()
    app.router.add_get(f"/api/v2/jobs/{ID}", ask)
    app.router.add_get(f"/api/v2/jobs/{ID}/events", events)
    return app


async def test_a_stream_to_its_end(aiohttp_app: Any) -> None:
    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for status in ("queued", "running", "succeeded"):
            await response.write(b"event: status\ndata: " + orjson.dumps({"status": status}) + b"\n\n")
        return response

    app = told_by(["queued", "running", "succeeded"], events)
    assert await followed(await aiohttp_app(app)) == [
        "job queued",
        "status queued",
        "status running",
        "job running",
        "status succeeded",
        "job succeeded",
    ]


async def test_without_streams_it_asks(aiohttp_app: Any) -> None:
    async def events(_: web.Request) -> web.Response:
        return web.json_response({"error": {"code": "too_many_streams", "message": "no"}}, status=429)

    app = told_by(["queued", "running", "succeeded"], events)
    assert await followed(await aiohttp_app(app)) == ["job queued", "job running", "job succeeded"]


async def test_a_stream_that_breaks_is_taken_up_again(aiohttp_app: Any) -> None:
    opened: list[int] = []

    async def events(request: web.Request) -> web.StreamResponse:
        opened.append(1)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'event: status\ndata: {"status": "queued"}\n\nevent: sta')
        if request.transport is not None:
            request.transport.abort()
        return response

    app = told_by(["queued", "queued", "succeeded"], events)
    told = await followed(await aiohttp_app(app))
    assert told[-1] == "job succeeded"
    assert len(opened) == 2
