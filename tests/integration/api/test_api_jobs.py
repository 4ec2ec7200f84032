"""Submitting, reading, listing and cancelling jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import pytest

from gateway.api import auth
from gateway.domain import model
from gateway.domain.states import Outcome
from tests.integration.api.served import GRAPH, Api

PNG = b"\x89PNG\r\n\x1a\n made by a test"


async def test_a_submitted_job_is_told_whole(api: Api) -> None:
    answer = await api.client.post(
        "/api/v2/jobs",
        json={"workflow": {"1": {"class_type": "PreviewAny", "inputs": {"source": "☃"}}}, "metadata": {"a": "b"}},
    )
    job = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == job["urls"]["self"] == f"/api/v2/jobs/{job['id']}"
    assert job["status"] == "queued"
    assert job["metadata"] == {"a": "b"}
    assert [job[name] for name in ("started_at", "completed_at", "queue_position", "progress", "error")] == [None] * 5
    assert job["outputs"] == job["attempts"] == []
    assert datetime.fromisoformat(job["created_at"]) < datetime.fromisoformat(job["expires_at"])
    assert (await api.client.get(job["urls"]["self"])).json() == job | {"queue_position": 1}
    workflow = (await api.client.get(f"{job['urls']['self']}/workflow")).json()
    assert workflow["format"] == "api"
    assert workflow["workflow"]["1"]["inputs"] == {"source": "☃"}


async def test_a_job_shows_what_became_of_it(api: Api) -> None:
    job = await api.submit(priority=3)
    claim = await api.driver.claim()
    api.driver.progress(claim, 0.5)
    running = await api.job(job["id"])
    assert (running["status"], running["worker"], running["priority"]) == ("running", "w1", 3)
    assert running["progress"]["value"] == 0.5
    assert running["attempts"][0]["id"] == claim.attempt.id
    await api.driver.output(claim, PNG, name="blue_00001_.png")
    (output,) = (await api.job(job["id"]))["outputs"]
    assert (output["name"], output["type"], output["node_id"]) == ("blue_00001_.png", "image", "9")
    assert output["size_bytes"] == len(PNG)
    await api.driver.settle(claim)
    done = await api.job(job["id"])
    assert (done["status"], done["progress"], len(done["outputs"])) == ("succeeded", None, 1)
    assert done["metrics"]["queue_ms"] >= 0
    assert done["attempts"][0]["outcome"] == "succeeded"
    assert (await api.client.get(done["outputs"][0]["url"])).content == PNG


async def test_a_failed_job_tells_why(api: Api) -> None:
    job = await api.submit()
    claim = await api.driver.claim()
    error = model.JobError(code="node_execution_error", message="boom", node_id="1", class_type="EmptyImage")
    await api.driver.settle(claim, Outcome.FAILED, error=error)
    failed = await api.job(job["id"])
    assert failed["status"] == "failed"
    assert {key: failed["error"][key] for key in ("code", "message", "node_id", "class_type")} == {
        "code": "node_execution_error",
        "message": "boom",
        "node_id": "1",
        "class_type": "EmptyImage",
    }


async def test_cancelling(api: Api) -> None:
    queued, running = await api.submit(), await api.submit(priority=1)
    claim = await api.driver.claim()
    assert claim.job_id == running["id"]
    gone = (await api.client.post(queued["urls"]["cancel"])).json()
    assert (gone["status"], gone["queue_position"]) == ("canceled", None)
    assert (await api.client.post(queued["urls"]["cancel"])).json()["status"] == "canceled"
    asked = (await api.client.post(running["urls"]["cancel"])).json()
    assert asked["status"] == "canceling"
    signals = await api.parts.bus.next_signals()
    assert model.CancelAsked(job_id=claim.job_id, attempt_id=claim.attempt.id) in signals
    await api.driver.settle(claim, Outcome.CANCELED)
    assert (await api.job(running["id"]))["status"] == "canceled"


async def test_lists_are_filtered_and_paged(api: Api) -> None:
    ids = [(await api.submit(metadata={"n": str(n), "even": str(n % 2 == 0)}))["id"] for n in range(5)]
    await api.client.post(f"/api/v2/jobs/{ids[1]}/cancel")
    first = (await api.client.get("/api/v2/jobs", params={"limit": 3})).json()
    assert [item["id"] for item in first["jobs"]] == ids[:1:-1]
    assert {"create_time", "update_time", "status", "metadata"} <= set(first["jobs"][0])
    rest = (await api.client.get("/api/v2/jobs", params={"cursor": first["next_cursor"]})).json()
    assert [item["id"] for item in rest["jobs"]] == [ids[1], ids[0]]
    assert "next_cursor" not in rest
    even = (await api.client.get("/api/v2/jobs", params={"metadata[even]": "True", "status": "queued"})).json()
    assert [item["id"] for item in even["jobs"]] == [ids[4], ids[2], ids[0]]
    canceled = (await api.client.get("/api/v2/jobs?status=canceled,failed")).json()
    assert [item["id"] for item in canceled["jobs"]] == [ids[1]]


async def test_waiting_for_the_end(api: Api) -> None:
    waiting = asyncio.create_task(
        api.client.post("/api/v2/jobs", json=_picture(), headers={"Prefer": "respond-async, wait=20"})
    )
    claim = await _claimed(api)
    await api.driver.settle(claim, outputs=[await api.driver.kept(claim, PNG, name="a.png")])
    answer = await waiting
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=20"
    assert answer.json()["status"] == "succeeded"


async def test_waiting_in_vain(api: Api) -> None:
    answer = await api.client.post("/api/v2/jobs", json=_picture(), headers={"Prefer": "wait=0"})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.headers["location"] == answer.json()["urls"]["self"]


async def test_waiting_for_the_picture_itself(api: Api) -> None:
    headers = {"Prefer": "wait=20", "Accept": "image/*"}
    waiting = asyncio.create_task(api.client.post("/api/v2/jobs", json=_picture(), headers=headers))
    claim = await _claimed(api)
    await api.driver.settle(claim, outputs=[await api.driver.kept(claim, PNG, name="a.png")])
    answer = await waiting
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content == PNG
    assert answer.headers["location"] == f"/api/v2/jobs/{claim.job_id}"


@pytest.mark.parametrize("end", ["failed", "canceled", "without a picture"])
async def test_no_picture_is_an_error_where_one_was_asked_for(api: Api, end: str) -> None:
    headers = {"Prefer": "wait=20", "Accept": "image/*"}
    waiting = asyncio.create_task(api.client.post("/api/v2/jobs", json=_picture(), headers=headers))
    claim = await _claimed(api)
    match end:
        case "failed":
            error = model.JobError(code="node_execution_error", message="it broke")
            await api.driver.settle(claim, outcome=Outcome.FAILED, error=error)
        case "canceled":
            await api.client.post(f"/api/v2/jobs/{claim.job_id}/cancel")
            await api.driver.settle(claim, outcome=Outcome.CANCELED)
        case _:
            await api.driver.settle(claim)
    answer = await waiting
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "no_picture")
    details = answer.json()["error"]["details"]
    assert (details["job_id"], details["status"]) == (claim.job_id, "succeeded" if end == "without a picture" else end)
    assert details["reason"] == ("node_execution_error" if end == "failed" else None)
    assert answer.headers["location"] == f"/api/v2/jobs/{claim.job_id}"


async def test_a_picture_that_is_not_there_yet_is_no_error(api: Api) -> None:
    headers = {"Prefer": "wait=0.1", "Accept": "image/*"}
    answer = await api.client.post("/api/v2/jobs", json=_picture(), headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.headers["preference-applied"] == "wait=0.1"


async def test_a_stopping_gateway_ends_waits(api: Api) -> None:
    waiting = asyncio.create_task(api.client.post("/api/v2/jobs", json=_picture(), headers={"Prefer": "wait=60"}))
    await _claimed(api)
    api.parts.stopping.set()
    assert (await waiting).status_code == 202


async def test_tenants_do_not_see_each_other(start: Callable[..., Awaitable[Api]]) -> None:
    keys = tuple(auth.ApiKey.of(f"key-{name}", tenant=model.TenantId(name)) for name in ("red", "blue"))
    api = await start(access=auth.Access(keys=keys))
    assert (await api.client.get("/api/v2/jobs")).status_code == 401
    wrong = await api.client.get("/api/v2/jobs", headers={"Authorization": "Bearer key-green"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "unauthorized")
    assert wrong.headers["www-authenticate"] == "Bearer"
    red, blue = ({"Authorization": f"Bearer key-{name}"} for name in ("red", "blue"))
    job = (await api.client.post("/api/v2/jobs", json=_picture(), headers=red)).json()
    assert (await api.client.get(job["urls"]["self"], headers=red)).status_code == 200
    for path in ("self", "events"):
        assert (await api.client.get(job["urls"][path], headers=blue)).status_code == 404
    assert (await api.client.post(job["urls"]["cancel"], headers=blue)).status_code == 404
    assert (await api.client.get("/api/v2/jobs", headers=blue)).json() == {"jobs": []}


async def test_an_idempotency_key_is_single_use(api: Api) -> None:
    headers = {"Idempotency-Key": "only once"}

    async def post(body: object) -> tuple[int, str]:
        answer = await api.client.post("/api/v2/jobs", json=body, headers=headers)
        return answer.status_code, (answer.json()["error"] or {}).get("code", "")

    assert await post({"workflow": {}}) == (422, "invalid_workflow")  # a refused request claims no key
    answers = await asyncio.gather(*(post(_picture()) for _ in range(5)))
    assert sorted(answers) == [(201, "")] + [(422, "idempotency_key_reuse")] * 4
    (made,) = (await api.client.get("/api/v2/jobs")).json()["jobs"]
    again = await api.client.post("/api/v2/jobs", json=_picture(), headers=headers)
    assert again.json()["error"]["details"] == {"job_id": made["id"]}


@pytest.mark.parametrize("header", ["wait=1x", "wait", "wait=-1", "handling=lenient", ""])
async def test_preferences_that_cannot_be_read_are_ignored(api: Api, header: str) -> None:
    answer = await api.client.post("/api/v2/jobs", json=_picture(), headers={"Prefer": header})
    assert answer.status_code == 201


def _picture() -> dict[str, object]:
    return {"workflow": GRAPH}


async def _claimed(api: Api) -> model.Claim:
    """The next job, once it is queued."""
    await api.parts.bus.next_signals()
    return await api.driver.claim()
