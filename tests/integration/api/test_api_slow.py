"""Readers that take nothing, and long polls that nobody waits for any more."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import orjson

from gateway.adapters import bus
from gateway.api import parts
from gateway.domain import model
from tests.integration.api import sse
from tests.integration.api.served import GRAPH, Api

Start = Callable[..., Awaitable[Api]]
LIMITS = parts.Limits(stalled=0.3, preview_interval=0.0, streams=2)


def connect(api: Api, request: str) -> socket.socket:
    """A client with next to no room, that has sent a request."""
    there = urlsplit(api.url)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((there.hostname, there.port))
    client.sendall(f"{request} HTTP/1.1\r\nHost: {there.netloc}\r\n".encode())
    return client


def followers(api: Api, job_id: str) -> int:
    assert isinstance(api.parts.bus, bus.MemoryBus)
    return len(api.parts.bus._followers.get(model.JobId(job_id), ()))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)  # the server tells nobody


async def test_a_reader_that_takes_nothing_is_dropped_and_slows_nobody(start: Start) -> None:
    api = await start(limits=LIMITS)
    job = await api.submit()
    claim = await api.driver.claim()
    path = job["urls"]["events"]
    with connect(api, f"GET {path}") as stuck:
        stuck.sendall(b"\r\n")
        await until(lambda: followers(api, job["id"]) == 1)
        async with api.client.stream("GET", path) as response:
            frames = sse.frames(response)
            seen = 0
            while api.parts.metrics.dropped_streams._value.get() == 0:
                api.driver.preview(claim, os.urandom(1_000_000), "image/jpeg")
                while (await anext(frames)).name != "preview":
                    pass
                seen += 1
            assert seen >= 1, "the other one got every preview meanwhile"
            assert followers(api, job["id"]) == 1, "its place is free"
            await api.driver.settle(claim)
            told = [frame.data["status"] async for frame in frames if frame.name == "status"]
            assert told[-1] == "succeeded"
        received = await asyncio.to_thread(drain, stuck)
        assert received.startswith(b"HTTP/1.1 200")
        assert not received.endswith(b"0\r\n\r\n"), "cut, not ended: nobody takes it for the end of the job"


def drain(client: socket.socket) -> bytes:
    client.settimeout(20)
    data = b""
    try:
        while chunk := client.recv(1 << 20):
            data += chunk
    except ConnectionResetError:
        pass
    return data


async def test_a_long_poll_that_nobody_waits_for_any_more_is_let_go(api: Api) -> None:
    body = b'{"workflow":' + orjson.dumps(GRAPH) + b"}"
    with connect(api, "POST /api/v2/jobs") as client:
        client.sendall(b"Prefer: wait=600\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        page = model.JobFilter()
        async with asyncio.timeout(20):
            while not (found := await api.parts.store.jobs.page(model.DEFAULT_TENANT, page, limit=1, cursor=None)).jobs:
                await asyncio.sleep(0.01)
        (job,) = found.jobs
        await until(lambda: followers(api, job.id) == 1)
    await until(lambda: followers(api, job.id) == 0)
    assert (await api.job(job.id))["status"] == "queued", "the order stands"
