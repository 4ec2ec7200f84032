"""How long a template's jobs are kept: as the order says, else as the template does."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from gateway.domain.templates import library
from tests.integration.templates_api.conftest import Site


def kept(job: dict[str, Any]) -> float:
    return (datetime.fromisoformat(job["expires_at"]) - datetime.fromisoformat(job["created_at"])).total_seconds()


async def test_a_templates_retention_and_an_orders_own(site: Site) -> None:
    found = site.made.known.library
    site.made.known.library = library.Library(
        templates=tuple(replace(each, retention=7200.0) for each in found.templates), broken=()
    )
    assert kept((await site.order("plain", {})).json()) == pytest.approx(7200, abs=1)
    assert kept((await site.order("plain", {}, expires_in=600)).json()) == pytest.approx(600, abs=1)
    batch = await site.alice.post("/v1/batches", json={"template": "plain", "inputs": {}, "n": 2, "expires_in": 900})
    jobs = (await site.alice.get(batch.json()["urls"]["jobs"])).json()["jobs"]
    assert [kept(job) for job in jobs] == pytest.approx([900, 900], abs=1)
    form = await site.alice.post("/v1/templates/plain/jobs", files={"expires_in": (None, "1200")})
    assert kept(form.json()) == pytest.approx(1200, abs=1)
