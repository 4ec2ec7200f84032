"""Listing, adding and removing workers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.domain import model
from tests.integration.api.served import Api


async def test_workers_come_and_go(api: Api) -> None:
    assert (await api.client.get("/v1/workers")).json() == {"workers": []}
    added = await api.client.post("/v1/workers", json={"url": "http://10.0.0.7:8188/", "id": "far", "depth": 2})
    assert (added.status_code, added.headers["location"]) == (201, "/v1/workers/far")
    worker = added.json()
    assert (worker["url"], worker["state"], worker["depth"]) == ("http://10.0.0.7:8188", "starting", 2)
    assert (await api.client.get("/v1/workers/far")).json() == worker
    assert (await api.client.get("/v1/workers")).json() == {"workers": [worker]}
    again = await api.client.post("/v1/workers", json={"url": "http://10.0.0.8:8188", "id": "far"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")
    assert (await api.client.delete("/v1/workers/far")).status_code == 204
    assert (await api.client.delete("/v1/workers/far")).status_code == 404
    assert (await api.client.get("/v1/workers/far")).status_code == 404


async def test_a_busy_worker_is_drained(api: Api) -> None:
    await api.fleet.add("http://10.0.0.7:8188", worker_id="far")
    running = model.WorkerJob(
        job_id=model.JobId("j"),
        attempt_id=model.AttemptId("a"),
        since=1.0,
        progress=model.Progress(value=0.5, nodes_done=1, nodes_total=2),
    )
    api.fleet.known["far"] = replace(api.fleet.known["far"], jobs=(running,), state=model.WorkerState.BUSY)
    shown = (await api.client.get("/v1/workers/far")).json()
    assert shown["jobs"][0]["progress"]["value"] == 0.5
    answer = await api.client.delete("/v1/workers/far")
    assert (answer.status_code, answer.json()["state"]) == (202, "draining")
    assert (await api.client.delete("/v1/workers/far", params={"drain": "false"})).status_code == 204


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": "10.0.0.7:8188"},
        {"url": "ftp://10.0.0.7"},
        {"url": "http://"},
        {"url": "http://x:99999"},
        {"url": "http://[x"},
        {"url": "http://x/?a=b"},
        {"url": "http://x y"},
        {"url": "http://x\n"},
        {"url": "http://x", "id": "../up"},
        {"url": "http://x", "id": ""},
        {"url": "http://x", "depth": 0},
        {"url": "http://x", "depth": "2"},
        {"url": "http://x", "depht": 2},
    ],
)
async def test_what_is_no_worker_is_refused(api: Api, body: object) -> None:
    answer = await api.client.post("/v1/workers", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert answer.json()["error"]["details"]["faults"]
    assert api.fleet.known == {}
