"""A gateway's API with the templates of tests/fixtures/orders, for two tenants; no worker is known at first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from gateway import submission
from gateway.adapters import templates
from gateway.api import app, parts
from gateway.domain.comfy import object_info
from tests.integration.assets import made as kit

FIXTURES = Path(__file__).parents[2] / "fixtures"
Serve = Callable[[Any], Awaitable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A served gateway with a client for each tenant."""

    made: kit.Made
    alice: httpx.AsyncClient
    bob: httpx.AsyncClient
    url: str

    async def upload(self, data: bytes, *, path: str = "photo.png", client: httpx.AsyncClient | None = None) -> str:
        """Upload a file; returns the asset's id."""
        answer = await (client or self.alice).post(
            "/api/v2/assets", data={"content_type": "image/png", "file_path": path}, files={"file": data}
        )
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()["id"]

    async def order(self, name: str, inputs: Any, **more: Any) -> httpx.Response:
        """Order a template."""
        return await self.alice.post(f"/v1/templates/{name}/jobs", json={"inputs": inputs, **more})

    async def graph(self, job: dict[str, Any]) -> dict[str, Any]:
        """The graph that a job will run."""
        return (await self.alice.get(f"{job['urls']['self']}/workflow")).json()["workflow"]

    async def bytes_of(self, reference: Any) -> bytes:
        """The bytes of the asset that a graph refers to."""
        return (await self.alice.get(f"/api/v2/assets/{reference['info']['id']}/content")).content


@pytest.fixture(scope="session")
def catalog() -> object_info.NodeCatalog:
    """Four stock nodes, as a real ComfyUI tells them."""
    return object_info.NodeCatalog.parse(orjson.loads((FIXTURES / "object_info_small.json").read_bytes()))


@pytest.fixture
async def site(tmp_path: Path, serve: Serve) -> AsyncIterator[Site]:
    limits = parts.Limits(upload=1_000_000, json_body=5_000_000)
    rules = submission.Rules(queue_limit=300, batch_jobs=200, image_bytes=500_000)
    async with kit.made(tmp_path, keys=kit.KEYS, limits=limits, rules=rules) as made:
        made.known.library = templates.load(FIXTURES / "orders")
        url = await serve(app.build_app(made.parts))
        alice, bob = (
            httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {kit.SECRETS[name]}"}, timeout=20)
            for name in ("alice", "bob")
        )
        async with alice, bob:
            yield Site(made=made, alice=alice, bob=bob, url=url)
            made.parts.stopping.set()
