"""A small client for tests of one simulator: post, watch, wait."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from gateway import simulator
from gateway.simulator.server import Simulator

PATIENCE_S = 20.0
Prompt = dict[str, Any]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """Write a node."""
    return {"class_type": class_type, "inputs": inputs}


def tiny(seconds: float = 0, seed: int = 0, steps: int = 1) -> Prompt:
    """Return a job that takes so many seconds and saves one small picture."""
    return {
        "work": node("SimulatedWork", seconds=seconds, seed=seed, steps=steps),
        "save": node("SaveImage", images=["work", 0], filename_prefix="living"),
    }


@dataclass(slots=True)
class Client:
    """One HTTP session and one websocket."""

    url: str
    session: aiohttp.ClientSession
    socket: aiohttp.ClientWebSocketResponse
    frames: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    async def post(self, prompt: Prompt, **more: Any) -> str:
        """Post a prompt; return its id."""
        body = {"prompt": prompt, "client_id": "living", **more}
        async with self.session.post(f"{self.url}/prompt", json=body) as answer:
            data = await answer.json()
            assert answer.status == 200, data
            return data["prompt_id"]

    async def get(self, path: str, **query: str) -> Any:
        """Get JSON."""
        async with self.session.get(self.url + path, params=query) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def fault(self, **fault: Any) -> None:
        """Script a failure."""
        async with self.session.post(f"{self.url}/simulator/faults", json=fault) as answer:
            assert answer.status == 201, await answer.text()

    async def until(self, enough: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read frames until one is what is waited for."""
        async with asyncio.timeout(PATIENCE_S):
            async for message in self.socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self.frames.append(json.loads(message.data))
                    if enough(self.frames[-1]):
                        return self.frames[-1]
        raise AssertionError("the socket closed before")

    async def until_ended(self, prompt_id: str) -> dict[str, Any]:
        """Read frames until a job ended; return its history entry."""
        await self.until(
            lambda frame: (
                frame["type"] == "executing"
                and frame["data"]["node"] is None
                and frame["data"].get("prompt_id") == prompt_id
            )
        )
        return (await self.get(f"/history/{prompt_id}"))[prompt_id]

    async def run(self, prompt: Prompt, **more: Any) -> dict[str, Any]:
        """Post a prompt and return its history entry."""
        return await self.until_ended(await self.post(prompt, **more))

    async def until_executing(self, name: str) -> None:
        """Read frames until a node runs."""
        await self.until(lambda frame: frame["type"] == "executing" and frame["data"]["node"] == name)

    async def bytes_of(self, item: dict[str, str]) -> bytes:
        """Fetch an output file."""
        async with self.session.get(f"{self.url}/view", params=item) as answer:
            assert answer.status == 200
            return await answer.read()


@contextlib.asynccontextmanager
async def client(url: str) -> AsyncGenerator[Client]:
    """Connect to a server."""
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.ws_connect(
            f"{url}/ws?clientId=living",
            max_msg_size=0,
            timeout=aiohttp.ClientWSTimeout(ws_close=0.5),  # pyright: ignore[reportCallIssue] - it is attrs
        ) as socket,
    ):
        yield Client(url, session, socket)


@contextlib.asynccontextmanager
async def living(**options: Any) -> AsyncGenerator[tuple[Simulator, Client]]:
    """Run a simulator and connect to it."""
    async with simulator.running(simulator.Options(**options)) as sim, client(sim.url) as connected:
        yield sim, connected


def failure(record: dict[str, Any]) -> dict[str, Any]:
    """Return the `execution_error` of a history entry."""
    return next(data for kind, data in record["status"]["messages"] if kind == "execution_error")
