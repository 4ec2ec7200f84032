"""How long a job is kept: as the order says, else as long as any."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.integration.api.served import GRAPH, Api

WEEK = 7 * 86_400


def kept(job: dict[str, str]) -> float:
    """Seconds from the order to its end."""
    return (datetime.fromisoformat(job["expires_at"]) - datetime.fromisoformat(job["created_at"])).total_seconds()


async def test_an_order_may_say_how_long_it_is_kept(api: Api) -> None:
    assert kept(await api.submit()) == pytest.approx(WEEK, abs=1)
    assert kept(await api.submit(expires_in=3600)) == pytest.approx(3600, abs=1)


@pytest.mark.parametrize("seconds", [59, -1, 1.5, "3600", 10**12])
async def test_no_nonsense(api: Api, seconds: object) -> None:
    answer = await api.client.post("/api/v2/jobs", json={"workflow": GRAPH, "expires_in": seconds})
    assert (answer.status_code, answer.json()["error"]["details"]["faults"][0]["field"]) == (422, "expires_in")
