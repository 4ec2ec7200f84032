"""Emptying queues, and who may do what to whom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from gateway.api import auth
from gateway.domain import model
from tests.integration.api.served import GRAPH, Api

Start = Callable[..., Awaitable[Api]]
SECRETS = {"root": "an admin's own secret", "shop": "the shop's own secret", "lab": "the lab's own secret"}
KEYS = tuple(
    auth.ApiKey.of(secret, tenant=model.TenantId(name), admin=name == "root") for name, secret in SECRETS.items()
)


def of(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRETS[name]}"}


async def order(api: Api, name: str) -> str:
    answer = await api.client.post("/api/v2/jobs", json={"workflow": GRAPH}, headers=of(name))
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def cancel(api: Api, body: Any = None, *, who: str | None = None) -> httpx.Response:
    return await api.client.post("/v1/queue/cancel", json=body, headers=of(who) if who else {})


async def test_an_empty_body_means_ones_own_queue(api: Api) -> None:
    jobs = [(await api.submit())["id"] for _ in range(3)]
    claim = await api.driver.claim()
    answer = await api.client.post("/v1/queue/cancel")
    assert (answer.status_code, answer.json()) == (200, {"canceled": 2, "canceling": 0})
    statuses = [(await api.job(job))["status"] for job in jobs]
    assert statuses == ["running", "canceled", "canceled"]
    assert (await cancel(api, {"running": True})).json() == {"canceled": 0, "canceling": 1}
    (signal,) = [one for one in await api.parts.bus.next_signals() if isinstance(one, model.CancelAsked)]
    assert (signal.job_id, signal.attempt_id) == (claim.job_id, claim.attempt.id)


async def test_followers_of_a_canceled_queue_are_told(api: Api) -> None:
    job = await api.submit()
    with api.parts.bus.subscribe(job["id"]) as news:
        await cancel(api, {})
        told = await news.next(timeout=5)
    assert isinstance(told, model.StatusChanged)
    assert told.status is model.JobStatus.CANCELED


async def test_tenants_empty_their_own_and_admins_any(start: Start) -> None:
    api = await start(access=auth.Access(keys=KEYS))
    for name in ("root", "shop", "shop", "lab"):
        await order(api, name)
    assert (await cancel(api, {"tenant": "shop"}, who="lab")).status_code == 403
    assert (await cancel(api, {"all_tenants": True}, who="lab")).status_code == 403
    assert (await cancel(api, {"tenant": "lab"}, who="lab")).json() == {"canceled": 1, "canceling": 0}
    assert (await cancel(api, {"tenant": "shop"}, who="root")).json()["canceled"] == 2
    await order(api, "shop")
    assert (await cancel(api, {"all_tenants": True}, who="root")).json()["canceled"] == 2
    both = await cancel(api, {"all_tenants": True, "tenant": "shop"}, who="root")
    assert (both.status_code, both.json()["error"]["details"]["faults"][0]["field"]) == (422, "tenant")


async def test_only_admins_change_workers(start: Start) -> None:
    api = await start(access=auth.Access(keys=KEYS))
    body = {"url": "http://10.0.0.7:8188", "id": "far"}
    refused = await api.client.post("/v1/workers", json=body, headers=of("shop"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    assert (await api.client.post("/v1/workers", json=body, headers=of("root"))).status_code == 201
    assert (await api.client.delete("/v1/workers/far", headers=of("shop"))).status_code == 403
    assert (await api.client.get("/v1/workers/far", headers=of("shop"))).status_code == 200
    assert (await api.client.delete("/v1/workers/far", headers=of("root"))).status_code == 204


@pytest.mark.parametrize("body", [[], {"tenant": 3}, {"tenants": "shop"}, {"running": "yes"}])
async def test_what_makes_no_sense_is_refused(api: Api, body: Any) -> None:
    assert (await cancel(api, body)).status_code == 422
