"""A stand-in for the gateway where a test wants one that misbehaves: aiohttp on a free port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

Served = Callable[[web.Application], Awaitable[str]]


@pytest.fixture
async def aiohttp_app() -> AsyncIterator[Served]:
    """Serves an application; returns its URL."""
    runners: list[web.AppRunner] = []

    async def serve(app: web.Application) -> str:
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield serve
    for runner in runners:
        await runner.cleanup()
