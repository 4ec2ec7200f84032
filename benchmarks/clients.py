"""The two ways to run a job until its picture's bytes are here: straight at the workers, and through the gateway.

`Direct` is what a careful person's own script reaches: it knows all workers, keeps one job on each, listens on one
websocket a worker and reads history when the end is told. It has one queue for all workers, keeps nothing on disk, and
recovers from nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import orjson

_seeds = itertools.count(1)


def graph(seconds: float) -> dict[str, Any]:
    """Work that holds the card for `seconds` and saves a tiny picture; never the same twice."""
    return {
        "1": {"class_type": "SimulatedWork", "inputs": {"seconds": seconds, "seed": next(_seeds)}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "bench"}},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One job as its client saw it, in seconds of the monotonic clock."""

    asked: float
    told: float  #: what it made; the bytes come at once where one request does it all
    got: float
    size: int
    name: str  #: what its client knows it by: the prompt's id, or the job's path at the gateway


class Client(Protocol):
    """Runs one job to its picture's bytes."""

    async def run(self, seconds: float) -> Done: ...

    async def prompt_ids(self, done: Sequence[Done]) -> list[str]:
        """Under which their workers know these jobs."""
        ...


class Direct:
    """Straight at the workers."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self._idle: asyncio.Queue[int] = asyncio.Queue()
        self._ends: dict[str, asyncio.Future[None]] = {}
        self._clients = [uuid.uuid4().hex for _ in urls]

    async def __aenter__(self) -> Direct:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._sockets = [
            await self._session.ws_connect(f"{url}/ws?clientId={client}", max_msg_size=0)
            for url, client in zip(self._urls, self._clients, strict=True)
        ]
        self._readers = [asyncio.create_task(self._read(socket)) for socket in self._sockets]
        for index in range(len(self._urls)):
            self._idle.put_nowait(index)
        return self

    async def __aexit__(self, *_: object) -> None:
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        await self._session.close()

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            frame = orjson.loads(message.data)
            if frame["type"] == "executing" and frame["data"]["node"] is None:
                end = self._ends.pop(frame["data"]["prompt_id"], None)
                if end is not None and not end.done():
                    end.set_result(None)

    async def run(self, seconds: float) -> Done:
        asked = time.monotonic()
        index = await self._idle.get()
        url = self._urls[index]
        prompt_id = str(uuid.uuid4())
        end = self._ends[prompt_id] = asyncio.get_running_loop().create_future()
        body = orjson.dumps({"prompt": graph(seconds), "client_id": self._clients[index], "prompt_id": prompt_id})
        headers = {"Content-Type": "application/json"}
        async with self._session.post(f"{url}/prompt", data=body, headers=headers) as response:
            response.raise_for_status()
        await end
        self._idle.put_nowait(index)
        async with self._session.get(f"{url}/history/{prompt_id}") as response:
            entry = orjson.loads(await response.read())[prompt_id]
        told = time.monotonic()
        (image,) = entry["outputs"]["2"]["images"]
        query = {"filename": image["filename"], "subfolder": image["subfolder"], "type": image["type"]}
        async with self._session.get(f"{url}/view", params=query) as response:
            picture = await response.read()
        return Done(asked=asked, told=told, got=time.monotonic(), size=len(picture), name=prompt_id)

    async def prompt_ids(self, done: Sequence[Done]) -> list[str]:
        return [one.name for one in done]


class ThroughGateway:
    """Through the gateway, as docs/how-to/app-developer.md says: one POST that waits and is answered with the picture
    itself; or, by its `link`, one POST that waits for the job and one GET of the bytes."""

    def __init__(self, url: str, *, priority: int = 0, link: bool = False) -> None:
        self._url = url
        self._priority = priority
        self._link = link

    async def __aenter__(self) -> ThroughGateway:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def run(self, seconds: float) -> Done:
        asked = time.monotonic()
        body = orjson.dumps({"workflow": graph(seconds), "priority": self._priority})
        wanted = "application/json" if self._link else "image/*"
        headers = {"Content-Type": "application/json", "Prefer": "wait=600", "Accept": wanted}
        async with self._session.post(f"{self._url}/api/v2/jobs", data=body, headers=headers) as response:
            answer = await response.read()
        told = time.monotonic()
        if response.status != 200:
            raise RuntimeError(f"a job was answered with {response.status}: {answer[:500]!r}")
        picture = await self._linked(answer) if self._link else answer
        name = response.headers["Location"]
        return Done(asked=asked, told=told, got=time.monotonic(), size=len(picture), name=name)

    async def _linked(self, answer: bytes) -> bytes:
        job = orjson.loads(answer)
        if job["status"] != "succeeded":
            raise RuntimeError(f"a job did not succeed: {job}")
        async with self._session.get(job["outputs"][0]["url"]) as response:
            return await response.read()

    async def prompt_ids(self, done: Sequence[Done]) -> list[str]:
        return [await self._prompt_id(one) for one in done]

    async def _prompt_id(self, done: Done) -> str:
        async with self._session.get(f"{self._url}{done.name}") as response:
            return str(orjson.loads(await response.read())["attempts"][-1]["id"])


async def all_at_once(client: Client, services: Sequence[float], *, width: int) -> list[Done]:
    """Run jobs of these service times with at most `width` clients waiting."""
    gate = asyncio.Semaphore(width)

    async def one(seconds: float) -> Done:
        async with gate:
            return await client.run(seconds)

    return await asyncio.gather(*(one(seconds) for seconds in services))


async def at_a_rate(
    client: Client, services: Sequence[float], *, a_second: float, seed_gaps: Sequence[float]
) -> list[Done]:
    """Start jobs at exponential gaps (`seed_gaps` are draws of mean 1) whatever is still running: an open loop."""
    tasks: list[asyncio.Task[Done]] = []
    due = time.monotonic()
    for seconds, gap in zip(services, seed_gaps, strict=True):
        due += gap / a_second
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        tasks.append(asyncio.create_task(client.run(seconds)))
    return await asyncio.gather(*tasks)
