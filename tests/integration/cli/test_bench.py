"""`comfy-gateway bench` against gateways that misbehave, and Ctrl-C where nothing is due yet."""

from __future__ import annotations

import asyncio
import io
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from rich.console import Console

from gateway.cli import bench_orders, benching, client, failures, interrupts, output, placing, shapes, workload
from tests.integration.cli.standing_in import Remarks, StandIn, refused, taken


def screen(remarks: io.StringIO) -> output.Screen:
    return output.Screen(as_json=True, err=Console(file=remarks, width=200))


def wish(n: int = 1, *, rate: float | None = None, warm_up: int = 0, file: Path | None = None) -> benching.Wish:
    words = () if file else ("prompt=a fox",)
    load = workload.Wish(what="sd15", words=words, file=file)
    return benching.Wish(load=load, n=n, rate=rate, warm_up=warm_up)


async def bench(url: str, wished: benching.Wish, remarks: io.StringIO) -> int:
    async with asyncio.timeout(30):
        return await benching.fulfil(wished, url, None, screen(remarks))


async def test_ctrl_c_ends_it_though_nothing_is_due_for_long(aiohttp_app: Any) -> None:
    site, remarks = StandIn(), Remarks("Ordering jobs of sd15, 50, and waiting")
    running = asyncio.create_task(bench(await aiohttp_app(site.app()), wish(50, rate=0.001), remarks))
    await remarks.heard.wait()
    signal.raise_signal(signal.SIGINT)
    assert await running == failures.INTERRUPTED
    assert site.jobs == {}


async def test_after_ctrl_c_in_the_warm_up_nothing_is_measured(aiohttp_app: Any) -> None:
    async def interrupted(site: StandIn, request: web.Request) -> web.Response:
        signal.raise_signal(signal.SIGINT)
        return await taken(site, request)

    site = StandIn(answer=interrupted)
    assert await bench(await aiohttp_app(site.app()), wish(5, warm_up=1), io.StringIO()) == failures.INTERRUPTED
    assert site.canceled
    assert {*site.canceled} == {"job-0"} == {*site.jobs}


async def test_what_ends_it_early_cancels_what_was_ordered(aiohttp_app: Any) -> None:
    async def only_one(site: StandIn, request: web.Request) -> web.Response:
        if len(site.keys) == 1:
            return await taken(site, request)
        await site.followed.wait()
        return refused(403, "forbidden")

    site, remarks = StandIn(answer=only_one), io.StringIO()
    with pytest.raises(failures.Refused) as caught:
        await bench(await aiohttp_app(site.app()), wish(3), remarks)
    assert caught.value.http_status == 403
    assert site.canceled == ["job-0"]
    assert "Something went wrong. Canceling what was ordered and has not ended (1)" in remarks.getvalue()


async def test_a_job_that_the_gateway_forgot_is_gone_and_the_others_count(
    aiohttp_app: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    async def forgotten(site: StandIn, request: web.Request) -> web.Response:
        job = site.take(await request.json(), "succeeded")
        if job["id"] == "job-0":
            site.jobs["of nobody"] = site.jobs.pop("job-0")
        return web.json_response(job)

    site = StandIn(answer=forgotten)
    assert await bench(await aiohttp_app(site.app()), wish(2), io.StringIO()) == failures.FAILED
    assert json.loads(capsys.readouterr().out)["outcomes"] == {"gone": 1, "succeeded": 1}


async def test_priority_and_metadata_of_lines_are_theirs(
    aiohttp_app: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def done(site: StandIn, request: web.Request) -> web.Response:
        return web.json_response(site.take(await request.json(), "succeeded"))

    lines = [
        {"inputs": {"prompt": "a"}, "priority": 7, "metadata": {"who": "me"}},
        {"inputs": {"prompt": "b"}},
    ]
    (tmp_path / "orders.jsonl").write_text("\n".join(map(json.dumps, lines)))
    site = StandIn(answer=done)
    wished = wish(2, file=tmp_path / "orders.jsonl")
    assert await bench(await aiohttp_app(site.app()), wished, io.StringIO()) == failures.DONE
    told = {body["inputs"]["prompt"]: (body["priority"], body["metadata"].get("who")) for body in site.bodies}
    assert told == {"a": (7, "me"), "b": (0, None)}
    assert {body["expires_in"] for body in site.bodies} == {24 * 3600}
    assert json.loads(capsys.readouterr().out)["jobs"] == 2


async def placed(url: str, told: list[str]) -> shapes.Job | None:
    """One order; that the queue is full is as good as Ctrl-C."""
    task = asyncio.current_task()
    assert task is not None
    stop = interrupts.Interrupts(task=task, gentle=True)

    def tell(text: str) -> None:
        told.append(text)
        if "no more jobs" in text:
            stop.strike()

    async with client.connect(url) as gateway, asyncio.timeout(30):

        async def order(inputs: Any, about: Any, key: str) -> shapes.Job:
            return await gateway.order_template("sd15", inputs, about, key=key)

        kind = workload.Kind(order=order, inputs={}, about={"metadata": {}}, count=None)
        load = workload.Workload(name="sd15", kinds=[kind])
        desk = placing.Desk(gateway=gateway, mark=bench_orders.MARK, tell=tell, stop=stop.asked, away=0.01)
        return await bench_orders.Orders(desk=desk, load=load).placed(0)


async def test_an_order_whose_answer_is_lost_is_not_made_twice(aiohttp_app: Any) -> None:
    async def lost(site: StandIn, request: web.Request) -> web.Response:
        site.take(await request.json())
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    site = StandIn(answer=lost)
    job = await placed(await aiohttp_app(site.app()), [])
    assert job is not None
    assert [job.id] == [*site.jobs]
    assert len(site.keys) == 1


async def test_a_store_that_is_away_for_a_moment_is_asked_again_with_the_same_key(aiohttp_app: Any) -> None:
    async def away(site: StandIn, request: web.Request) -> web.Response:
        if len(site.keys) == 1:
            site.take(await request.json())  # it did commit, which nobody knows
            return refused(503, "store_unavailable")
        return refused(422, "idempotency_key_reuse")

    site = StandIn(answer=away)
    job = await placed(await aiohttp_app(site.app()), [])
    assert job is not None
    assert [job.id] == [*site.jobs]
    assert len(site.keys) == 2
    assert len({*site.keys}) == 1


async def test_a_full_queue_is_told_and_ctrl_c_ends_the_waiting(aiohttp_app: Any) -> None:
    async def full(_site: StandIn, _request: web.Request) -> web.Response:
        return refused(429, "queue_full", **{"Retry-After": "3600"})

    site, told = StandIn(answer=full), list[str]()
    assert await placed(await aiohttp_app(site.app()), told) is None
    assert len(site.keys) == len(told) == 1
    assert "takes no more jobs for now" in told[0]
