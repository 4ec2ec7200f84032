"""`comfy-gateway run` against gateways that misbehave, and Ctrl-C while it orders."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from rich.console import Console

from gateway.cli import failures, ordering, output
from tests.integration.cli.standing_in import AT, StandIn, refused, taken

GRAPH = {
    "1": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 2, "latent_image": ["2", 0]}},
    "2": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}


async def run(url: str, wish: ordering.Wish, remarks: io.StringIO | None = None) -> int:
    screen = output.Screen(as_json=True, err=Console(file=remarks or io.StringIO(), width=200))
    async with asyncio.timeout(30):
        return await ordering.fulfil(wish, url, None, screen)


def workflow(folder: Path, *words: str, n: int = 1, wait: bool = True) -> ordering.Wish:
    (folder / "wf.json").write_text(json.dumps(GRAPH))
    return ordering.Wish(what=str(folder / "wf.json"), words=words, n=n, out=folder / "out", wait=wait)


def template(folder: Path, n: int = 1) -> ordering.Wish:
    return ordering.Wish(what="sd15", words=("prompt=a fox", "seed=7"), n=n, out=folder / "out")


@pytest.mark.parametrize("wait", [True, False])
async def test_ctrl_c_while_it_orders_leaves_no_job(
    wait: bool, aiohttp_app: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def interrupted(site: StandIn, request: web.Request) -> web.Response:
        if len(site.keys) == 3:
            signal.raise_signal(signal.SIGINT)
        return await taken(site, request)

    site = StandIn(answer=interrupted)
    wish = workflow(tmp_path, "seed=5", n=50, wait=wait)
    assert await run(await aiohttp_app(site.app()), wish) == failures.INTERRUPTED
    assert [*site.jobs] == ["job-0", "job-1", "job-2"] == site.canceled
    if wait:
        assert [job["status"] for job in json.loads(capsys.readouterr().out)["jobs"]] == ["canceled"] * 3


async def test_an_order_that_is_refused_leaves_none_of_those_before_it(aiohttp_app: Any, tmp_path: Path) -> None:
    async def full(site: StandIn, request: web.Request) -> web.Response:
        return refused(429, "queue_full") if len(site.jobs) == 2 else await taken(site, request)

    site = StandIn(answer=full)
    with pytest.raises(failures.Refused, match="no"):
        await run(await aiohttp_app(site.app()), workflow(tmp_path, n=4))
    assert [*site.jobs] == ["job-0", "job-1"] == site.canceled


async def test_a_cancel_that_cannot_be_now_is_tried_again(aiohttp_app: Any, tmp_path: Path) -> None:
    tries: list[str] = []

    async def interrupted(site: StandIn, request: web.Request) -> web.Response:
        if len(site.keys) == 3:
            signal.raise_signal(signal.SIGINT)
        return await taken(site, request)

    async def away_at_first(site: StandIn, request: web.Request) -> web.Response:
        tries.append(request.match_info["id"])
        return refused(503, "store_unavailable") if len(tries) == 1 else web.json_response(site.end(tries[-1]))

    site = StandIn(answer=interrupted, cancel_answer=away_at_first)
    assert await run(await aiohttp_app(site.app()), workflow(tmp_path, n=3)) == failures.INTERRUPTED
    assert tries == ["job-0", "job-0", "job-1", "job-2"]


async def test_what_could_not_be_canceled_is_told(aiohttp_app: Any, tmp_path: Path) -> None:
    async def interrupted(site: StandIn, request: web.Request) -> web.Response:
        signal.raise_signal(signal.SIGINT)
        return await taken(site, request)

    async def forbidden(site: StandIn, request: web.Request) -> web.Response:
        site.jobs[request.match_info["id"]] |= {"status": "succeeded", "completed_at": AT}
        site.ending.set()
        return refused(403, "forbidden")

    site, remarks = StandIn(answer=interrupted, cancel_answer=forbidden), io.StringIO()
    assert await run(await aiohttp_app(site.app()), workflow(tmp_path), remarks) == failures.INTERRUPTED
    assert "1 of 1 could not be canceled and go on" in remarks.getvalue()
    assert "comfy-gateway jobs cancel job-0" in remarks.getvalue()


async def test_seeds_that_would_grow_too_large_order_nothing(aiohttp_app: Any, tmp_path: Path) -> None:
    site = StandIn()
    with pytest.raises(failures.Wrong) as caught:
        await run(await aiohttp_app(site.app()), workflow(tmp_path, "seed=18446744073709551615", n=2))
    assert [fault.parameter for fault in caught.value.faults] == ["seed"]
    assert site.jobs == {}


async def test_all_jobs_that_go_on_are_told_to_programs(aiohttp_app: Any, tmp_path: Path) -> None:
    site = StandIn()
    with pytest.raises(failures.CommandFailed) as caught:
        await run(await aiohttp_app(site.app()), dataclasses.replace(workflow(tmp_path, n=12), timeout=0.01))
    assert caught.value.details == {"job_ids": [*site.jobs]}
    assert len(site.jobs) == 12
    site.ending.set()


async def lost(site: StandIn, request: web.Request) -> web.Response:
    """Orders what is wanted, and breaks the connection instead of saying so."""
    order = await request.json()
    for _ in range(order.get("n", 1)):
        site.take(order, "succeeded")
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize("n", [1, 3])
async def test_an_order_whose_answer_is_lost_is_found(
    n: int, aiohttp_app: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = StandIn(answer=lost)
    assert await run(await aiohttp_app(site.app()), template(tmp_path, n)) == failures.DONE
    assert [job["id"] for job in json.loads(capsys.readouterr().out)["jobs"]] == [*site.jobs]
    assert len(site.jobs) == n
    assert len(site.keys) == 1


async def test_an_order_that_cannot_be_found_may_have_been_made(aiohttp_app: Any, tmp_path: Path) -> None:
    async def gone(site: StandIn, request: web.Request) -> web.Response:
        site.gone = True
        return await lost(site, request)

    with pytest.raises(failures.Unreachable) as caught:
        await run(await aiohttp_app(StandIn(answer=gone).app()), workflow(tmp_path))
    assert "may have been ordered" in (caught.value.way_out or "")


async def test_a_gateway_that_is_away_for_a_moment_is_asked_again(
    aiohttp_app: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def away(site: StandIn, request: web.Request) -> web.Response:
        if len(site.keys) == 1:
            return refused(503, "store_unavailable")
        return web.json_response(site.take(await request.json(), "succeeded"))

    site, remarks = StandIn(answer=away), io.StringIO()
    assert await run(await aiohttp_app(site.app()), template(tmp_path), remarks) == failures.DONE
    assert len(site.keys) == 2
    assert len({*site.keys}) == len(site.jobs) == 1
    assert "cannot take jobs for a moment" in remarks.getvalue()
