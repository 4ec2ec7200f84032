"""Simulators as processes: signals, crashes, restarts, and a socket that nobody reads (recordings 26l, 26m, 27-29)."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conformance.living import Client, client, node, tiny


@contextlib.asynccontextmanager
async def process(*arguments: str) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
    """Start a simulator on a free port; yield it and its URL."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.simulator", "--port", "0", "--card", "instant", *arguments,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert started.stdout is not None
    try:
        line = (await asyncio.wait_for(started.stdout.readline(), 30)).decode()
        yield started, line.rsplit(" at ", 1)[1].strip()
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_end_it_with_zero(number: signal.Signals) -> None:
    """Even while a job runs."""
    async with process() as (started, url), client(url) as connected:
        await connected.post(tiny(seconds=60))
        await connected.until_executing("work")
        started.send_signal(number)
        assert await asyncio.wait_for(started.wait(), 10) == 0


async def test_kill_and_restart_on_the_same_directory(tmp_path: Path) -> None:
    """Queue and history are gone, files stay, the number begins at 0, file counters go on (27)."""
    prompt = {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=1),
        "2": node("SaveImage", images=["1", 0], filename_prefix="kept"),
    }
    async with process("--dir", str(tmp_path)) as (started, url), client(url) as connected:
        record = await connected.run(prompt)
        await connected.post(tiny(seconds=60))
        await connected.until_executing("work")
        started.kill()
        assert await started.wait() == -signal.SIGKILL
    async with process("--dir", str(tmp_path)) as (_, url), client(url) as connected:
        assert await connected.get("/queue") == {"queue_running": [], "queue_pending": []}
        assert await connected.get("/history") == {}
        assert await connected.bytes_of(record["outputs"]["2"]["images"][0])
        again = await connected.run(prompt)
        assert again["prompt"][0] == 0
        assert again["outputs"]["2"]["images"][0]["filename"] == "kept_00002_.png"


@pytest.mark.parametrize("body", [{"client_id": ["x"]}, {"extra_data": {"client_id": {"a": 1}}}], ids=["26l", "26m"])
async def test_an_unhashable_client_id_ends_the_process(body: dict[str, Any]) -> None:
    """The POST is answered 200; soon the process is gone, with exit code 1."""
    async with process() as (started, url), aiohttp.ClientSession() as session:
        async with session.post(f"{url}/prompt", json={"prompt": tiny(), **body}) as answer:
            assert answer.status == 200
        assert await asyncio.wait_for(started.wait(), 10) == 1


async def test_a_scripted_crash_ends_the_process() -> None:
    """At the start of the second job."""
    async with process() as (started, url), client(url) as connected:
        await connected.fault(kind="crash", match={"nth": 2})
        await connected.run(tiny())
        await connected.post(tiny(seed=2))
        assert await asyncio.wait_for(started.wait(), 10) == 1


async def test_one_unread_socket_stops_everybodys_frames() -> None:
    """Until it is closed; HTTP and execution go on meanwhile (29)."""
    chain: dict[str, Any] = {"0": node("EmptyImage", width=8, height=8, batch_size=1, color=3)}
    for index in range(1, 300):
        chain[str(index)] = node("ImageInvert", image=[str(index - 1), 0])
    chain["save"] = node("SaveImage", images=["299", 0], filename_prefix="chain")
    async with process() as (_, url), client(url) as connected:
        reader, writer = await _unread(url)
        await connected.until(lambda frame: frame["type"] == "status")
        stuck = await connected.post(chain, client_id="stuck")
        while not await connected.get(f"/history/{stuck}"):
            await asyncio.sleep(0.01)
        small = await connected.post(tiny())
        while not await connected.get(f"/history/{small}"):
            await asyncio.sleep(0.01)
        assert "execution_success" not in await _received(connected)
        writer.transport.abort()
        del reader
        await connected.until(lambda frame: frame["type"] == "execution_success")


async def _unread(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a websocket as `stuck` and never read it after the handshake."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(
        f"GET /ws?clientId=stuck HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def _received(connected: Client) -> list[str]:
    """Take what has arrived so far."""
    kinds: list[str] = []
    with contextlib.suppress(TimeoutError):
        while True:
            message = await connected.socket.receive_json(timeout=0.3)
            kinds.append(message["type"])
    return kinds


async def test_a_slow_start_opens_the_port_late() -> None:
    """Nothing listens until then."""
    async with process("--start-delay", "0.3") as (_, url), client(url) as connected:
        assert (await connected.get("/prompt"))["exec_info"]["queue_remaining"] == 0


async def test_wrong_options_are_refused() -> None:
    """With a message and exit code 2."""
    wrong = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.simulator", "--card", "abacus", stderr=asyncio.subprocess.PIPE
    )
    _, errors = await wrong.communicate()
    assert wrong.returncode == 2
    assert b"abacus" in errors
