"""A served API, as tests see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from gateway.api import parts
from tests.integration.api import driver

GRAPH = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 255},
    },
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "blue"}},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """A served API, a client of it, and what lies behind."""

    client: httpx.AsyncClient
    parts: parts.Parts
    driver: driver.Driver
    fleet: driver.Fleet
    url: str

    async def submit(self, **body: Any) -> dict[str, Any]:
        """Submit the plain graph."""
        answer = await self.client.post("/api/v2/jobs", json={"workflow": GRAPH, **body})
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def job(self, job_id: str) -> dict[str, Any]:
        """Read a job."""
        answer = await self.client.get(f"/api/v2/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()
