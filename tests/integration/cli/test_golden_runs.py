"""`comfy-gateway templates test`: Ctrl-C and errors while it orders leave no job."""

from __future__ import annotations

import asyncio
import io
import signal
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from rich.console import Console

from gateway.cli import failures, golden_runs, output
from tests.integration.cli.standing_in import StandIn, taken
from tests.integration.cli.test_ordering import GRAPH

EXAMPLES = "\n".join(
    f'[[examples]]\nname = "{name}"\n[examples.inputs]\nseed = {seed}\n' for seed, name in enumerate("abc")
)


async def played(url: str, folder: Path) -> int:
    (folder / "sd15.json").write_bytes(orjson.dumps(GRAPH))
    (folder / "sd15.toml").write_text(EXAMPLES)
    wish = golden_runs.Wish(
        names=(), update=False, tolerance=None, simulate=False, out=folder / "out", folder=folder, timeout=30
    )
    screen = output.Screen(as_json=True, err=Console(file=io.StringIO(), width=200))
    async with asyncio.timeout(30):
        return await golden_runs.play(wish, (url, None), screen)


async def test_ctrl_c_while_it_orders(aiohttp_app: Any, tmp_path: Path) -> None:
    async def interrupted(site: StandIn, request: web.Request) -> web.Response:
        if len(site.keys) == 2:
            signal.raise_signal(signal.SIGINT)
        return await taken(site, request)

    site = StandIn(answer=interrupted)
    assert await played(await aiohttp_app(site.app()), tmp_path) == failures.INTERRUPTED
    assert [*site.jobs] == ["job-0", "job-1"] == site.canceled


async def test_a_gateway_that_goes_away_while_it_orders(aiohttp_app: Any, tmp_path: Path) -> None:
    async def gone(site: StandIn, request: web.Request) -> web.Response:
        if len(site.jobs) < 2:
            return await taken(site, request)
        return web.Response(text="<html>", content_type="text/html")

    site = StandIn(answer=gone)
    with pytest.raises(failures.Unreachable):
        await played(await aiohttp_app(site.app()), tmp_path)
    assert [*site.jobs] == ["job-0", "job-1"] == site.canceled
