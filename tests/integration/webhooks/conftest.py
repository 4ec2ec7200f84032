"""Gateways that may tell receivers on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from gateway import simulator
from gateway.app import Gateway
from tests.integration.webhooks.receiver import Receiver, receiving

INSTANT = simulator.Options(card="instant")

Start = Callable[..., Awaitable["Hooked"]]


class Hooked:
    """A gateway with a client of it."""

    def __init__(self, gateway: Gateway, client: httpx.AsyncClient) -> None:
        self.gateway = gateway
        self.client = client

    async def order(self, *, key: str | None = None, **body: Any) -> dict[str, Any]:
        """Order a small picture."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        order = {"inputs": {"prompt": "a red fox", "steps": 2}, **body}
        answer = await self.client.post("/v1/templates/sd15/jobs", json=order, headers=headers)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def get(self, path: str, **query: str) -> Any:
        answer = await self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def deliveries(self, **query: str) -> list[dict[str, Any]]:
        return (await self.get("/v1/webhooks/deliveries", **query))["deliveries"]

    async def until(self, enough: Callable[[list[dict[str, Any]]], object], **query: str) -> list[dict[str, Any]]:
        """Wait until the deliveries are so: an answer is noted after it came."""
        async with asyncio.timeout(20):
            while not enough(found := await self.deliveries(**query)):
                await asyncio.sleep(0.01)
        return found


@pytest.fixture
async def start(start_gateway: Callable[..., Awaitable[Gateway]]) -> AsyncIterator[Start]:
    """`await start(**settings)`: a gateway with a quick simulator, allowed to reach this machine."""
    clients: list[httpx.AsyncClient] = []

    async def begin(
        *, options: simulator.Options = INSTANT, webhooks: dict[str, Any] | None = None, **settings: Any
    ) -> Hooked:
        given = {"allow_private": "all", **(webhooks or {})}
        gateway = await start_gateway(workers=1, options=options, webhooks=given, **settings)
        clients.append(httpx.AsyncClient(base_url=gateway.url, timeout=20))
        return Hooked(gateway, clients[-1])

    yield begin
    for client in clients:
        await client.aclose()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one
