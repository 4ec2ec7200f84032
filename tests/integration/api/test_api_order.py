"""Pausing, resuming, priorities and deadlines over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.api import auth
from gateway.domain import model
from gateway.domain.costs import eta
from tests.integration.api.served import GRAPH, Api

Start = Callable[..., Awaitable[Api]]
KEYS = tuple(
    auth.ApiKey.of(f"the secret of {name}", tenant=model.TenantId(name), admin=name == "root")
    for name in ("root", "shop", "lab")
)


def of(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer the secret of {name}"}


async def ask(api: Api, verb: str, /, *, who: str | None = None, **body: Any) -> tuple[int, Any]:
    answer = await api.client.post(f"/v1/queue/{verb}", json=body, headers=of(who) if who else {})
    return answer.status_code, answer.json() if answer.content else None


async def test_a_worker_is_drained_and_resumed(api: Api) -> None:
    await api.submit()
    claim = await api.driver.claim()
    status, made = await ask(api, "pause", worker="w1", drain=True)
    assert status == 200, made
    assert (made["kind"], made["name"], made["drain"], made["running"], made["empty"]) == (
        "worker",
        "w1",
        True,
        1,
        False,
    )
    await api.driver.settle(claim)
    listed = (await api.client.get("/v1/queue/pauses")).json()["pauses"]
    assert [(one["name"], one["since"], one["running"], one["empty"]) for one in listed] == [
        ("w1", made["since"], 0, True)
    ]
    assert [signal for signal in await api.parts.bus.next_signals() if isinstance(signal, model.WorkQueued)]
    assert (await ask(api, "resume", worker="w1"))[0] == 204
    status, refused = await ask(api, "resume", worker="w1")
    assert (status, refused["error"]["message"]) == (404, "the worker w1 is not paused")


async def test_an_empty_body_means_the_queue(api: Api) -> None:
    answer = await api.client.post("/v1/queue/pause")
    assert (answer.status_code, answer.json()["kind"], answer.json()["name"]) == (200, "queue", "")
    assert (await api.client.post("/v1/queue/resume")).status_code == 204


@pytest.mark.parametrize(
    ("body", "status"),
    [({"worker": "w9"}, 404), ({"template": "nope"}, 404), ({"worker": "w1", "tenant": "a"}, 422), ({"what": 1}, 422)],
)
async def test_nonsense_is_refused(body: dict[str, Any], status: int, api: Api) -> None:
    assert (await ask(api, "pause", **body))[0] == status


async def test_tenants_pause_themselves_and_admins_anything(start: Start) -> None:
    api = await start(access=auth.Access(keys=KEYS))
    assert (await ask(api, "pause", who="shop", tenant="shop"))[1]["by"] == "shop"
    assert (await ask(api, "pause", who="shop", tenant="lab"))[0] == 403
    assert (await ask(api, "pause", who="shop"))[0] == 403
    assert (await ask(api, "resume", who="lab", tenant="shop"))[0] == 403
    assert (await ask(api, "pause", who="root", worker="w1"))[0] == 200
    seen = {
        who: (await api.client.get("/v1/queue/pauses", headers=of(who))).json()["pauses"] for who in ("lab", "root")
    }
    assert ([one["kind"] for one in seen["lab"]], len(seen["root"])) == (["worker"], 2)


async def test_a_priority_changes_while_the_job_waits(api: Api) -> None:
    first, second = [await api.submit() for _ in range(2)]
    changed = await api.client.patch(f"/v1/jobs/{second['id']}", json={"priority": 7})
    assert (changed.status_code, changed.json()["priority"], changed.json()["queue_position"]) == (200, 7, 1)
    assert (await api.driver.claim()).job_id == second["id"]
    late = await api.client.patch(f"/v1/jobs/{second['id']}", json={"priority": 8})
    assert (late.status_code, late.json()["error"]["code"]) == (409, "not_queued")
    assert (await api.client.patch(f"/v1/jobs/{first['id']}", json={"priority": 101})).status_code == 422
    assert (await api.client.patch("/v1/jobs/nothing", json={"priority": 1})).status_code == 404


async def test_a_deadline_that_would_be_missed_is_refused_with_the_estimate(api: Api) -> None:
    await api.submit(deadline_ms=12_000_000)
    answer = await api.client.post("/api/v2/jobs", json={"workflow": GRAPH, "deadline_ms": 3_600_000})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "deadline_too_soon")
    assert error["details"]["eta_ms"] == {"p50": 4_000_000, "p90": 6_000_000}
    assert (error["details"]["deadline_ms"], error["details"]["queue_position"]) == (3_600_000, 2)
    assert error["message"] == (
        "The deadline of 3600 s would be missed: the job would be number 2 of the queue and done in about 4000 s "
        "(nine in ten such by 6000 s)."
    )


@pytest.fixture
def expect() -> Any:
    """Each job takes more than half an hour, one after the other."""
    return lambda _wanted, _sketch, *, position: eta.Eta(p50=2000.0 * position, p90=3000.0 * position)
