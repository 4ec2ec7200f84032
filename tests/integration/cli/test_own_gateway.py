"""A gateway that a command starts for itself: what it says, and waiting for its workers."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import client, failures, own_gateway
from tests.integration.cli.standing_in import StandIn

READY = '{"event": "gateway_ready", "url": "http://127.0.0.1:8180"}'


async def listened(program: str, log: Path) -> str:
    """The URL that a program tells which writes as a gateway does."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stderr=asyncio.subprocess.PIPE)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with asyncio.timeout(30):
        await own_gateway.listen(process, log, ready)
        await process.wait()
        return await ready


@pytest.mark.parametrize("length", [0, 70_000, 1 << 20])
async def test_its_url_is_found_after_a_line_of_any_length(length: int, tmp_path: Path) -> None:
    program = f"import sys; sys.stderr.write('x' * {length} + '\\n' + {READY!r} + '\\n' + 'more\\n')"
    assert await listened(program, tmp_path / "log") == "http://127.0.0.1:8180"
    assert (tmp_path / "log").read_bytes() == b"x" * length + f"\n{READY}\nmore\n".encode()


async def test_one_that_ends_first_did_not_start(tmp_path: Path) -> None:
    with pytest.raises(failures.CommandFailed, match="did not start"):
        await listened("import sys; sys.stderr.write('no luck\\n')", tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == b"no luck\n"


async def test_workers_that_do_not_get_ready_are_told(aiohttp_app: Any) -> None:
    async with client.connect(await aiohttp_app(StandIn().app())) as gateway:
        await own_gateway.workers_ready(gateway, 1)
        with pytest.raises(failures.CommandFailed, match="not ready within"):
            await own_gateway.workers_ready(gateway, 2, seconds=0.1)
