"""A gateway's API with assets, for two tenants."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.api import app, parts
from tests.integration.assets import made as kit

Serve = Callable[[Any], Awaitable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A served gateway with a client for each tenant, and one for strangers."""

    made: kit.Made
    alice: httpx.AsyncClient
    bob: httpx.AsyncClient
    stranger: httpx.AsyncClient


@pytest.fixture
async def site(tmp_path: Path, serve: Serve) -> AsyncIterator[Site]:
    limits = parts.Limits(upload=1_000_000, json_body=100_000)
    async with kit.made(tmp_path, keys=kit.KEYS, limits=limits) as made:
        url = await serve(app.build_app(made.parts))
        alice, bob = (
            httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {kit.SECRETS[name]}"}, timeout=20)
            for name in ("alice", "bob")
        )
        async with alice, bob, httpx.AsyncClient(base_url=url, timeout=20) as stranger:
            yield Site(made=made, alice=alice, bob=bob, stranger=stranger)
