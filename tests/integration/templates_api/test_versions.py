"""Versions of templates: called by digest, named by aliases, tried on a share of the orders, rolled back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.domain.templates import records, references
from tests.conftest import Start
from tests.integration.templates_api import living


@pytest.fixture
async def client(start_gateway: Start) -> AsyncIterator[httpx.AsyncClient]:
    gateway = await start_gateway(workers=0)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as client:
        yield client


async def put(client: httpx.AsyncClient, color: int, name: str = "fox") -> str:
    """A version of the template."""
    answer = await client.put(f"/v1/templates/{name}", json={"workflow": living.graph(color)})
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()["version"]


async def runs(client: httpx.AsyncClient, reference: str = "fox", **headers: str) -> str:
    """The version that an order runs."""
    answer = await client.post(f"/v1/templates/{reference}/jobs", json={}, headers=headers)
    assert answer.status_code == 201, answer.text
    job = answer.json()
    assert job["template"] == "fox"
    return job["template_version"]


async def move(client: httpx.AsyncClient, path: str, body: Any = None, *, method: str = "PUT") -> Any:
    answer = await client.request(method, f"/v1/templates/fox/aliases/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_older_versions_stay_callable(client: httpx.AsyncClient) -> None:
    one, two = await put(client, 1), await put(client, 2)
    assert [await runs(client, name) for name in ("fox", "fox@latest", f"fox@{one}", f"fox@{one[:6]}")] == [
        two,
        two,
        one,
        one,
    ]
    assert (await client.get(f"/v1/templates/fox@{one}")).json()["parameters"][0]["default"] != 2
    listed = (await client.get("/v1/templates/fox/versions")).json()
    assert [(item["version"], item["latest"], item["origin"]) for item in listed["versions"]] == [
        (two, True, "api"),
        (one, False, "api"),
    ]
    assert (listed["latest"], listed["serves"], listed["aliases"]) == (two, two, [])


async def test_a_batch_and_a_form_take_references_too(client: httpx.AsyncClient) -> None:
    one, two = await put(client, 1), await put(client, 2)
    batch = (await client.post("/v1/batches", json={"template": f"fox@{one}", "inputs": {}, "n": 2})).json()
    jobs = [(await client.get(f"/api/v2/jobs/{each}")).json() for each in batch["job_ids"]]
    assert {job["template_version"] for job in jobs} == {one}
    form = await client.post(f"/v1/templates/fox@{one}/jobs", files={"width": (None, "32")})
    assert form.json()["template_version"] == one != two


async def test_stable_is_what_the_name_means(client: httpx.AsyncClient) -> None:
    one = await put(client, 1)
    assert (await move(client, "stable", {"version": "latest"}))["version"] == one
    two = await put(client, 2)
    assert [await runs(client, name) for name in ("fox", "fox@stable", "fox@latest")] == [one, one, two]
    assert (await client.get("/v1/templates/fox")).json()["version"] == one
    await move(client, "stable", {"version": two[:8]})
    await move(client, "beta", {"version": one})
    assert [await runs(client, name) for name in ("fox", "fox@beta")] == [two, one]
    listed = (await client.get("/v1/templates/fox/versions")).json()
    assert [item["aliases"] for item in listed["versions"]] == [["stable"], ["beta"]]
    assert (await client.delete("/v1/templates/fox/aliases/stable")).status_code == 204
    await put(client, 3)
    assert await runs(client) not in {one, two}


async def test_rolling_back_goes_further_each_time(client: httpx.AsyncClient) -> None:
    versions = [await put(client, color) for color in (1, 2, 3)]
    for version in versions:
        await move(client, "stable", {"version": version})
    back = [(await move(client, "stable/rollback", method="POST"))["version"] for _ in range(2)]
    assert back == [versions[1], versions[0]]
    assert await runs(client) == versions[0]
    nothing = await client.post("/v1/templates/fox/aliases/stable/rollback")
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (409, "conflict")
    await move(client, "stable", {"version": versions[2]})
    moved = await move(client, "stable/rollback", method="POST")
    assert [item["version"] for item in moved["history"]] == [versions[index] for index in (0, 2, 0, 1, 2, 1, 0)]


async def test_rolling_back_what_was_never_set(client: httpx.AsyncClient) -> None:
    one = await put(client, 1)
    assert (await client.post("/v1/templates/fox/aliases/stable/rollback")).status_code == 409
    await put(client, 2)
    assert (await move(client, "stable/rollback", method="POST"))["version"] == one
    assert await runs(client) == one


async def test_a_candidate_gets_its_share(client: httpx.AsyncClient) -> None:
    one, two = await put(client, 1), await put(client, 2)
    await move(client, "stable", {"version": one})
    moved = await move(client, "stable/candidate", {"version": "latest", "share": 0.3})
    assert (moved["version"], moved["candidate"], moved["share"]) == (one, two, 0.3)
    alias = records.Alias(
        template="fox", name="stable", moves=(records.Move(version=one, at=0, candidate=two, share=0.3),)
    )
    keys = [f"order-{index}" for index in range(40)]
    ran = [await runs(client, **{"Idempotency-Key": key}) for key in keys]
    assert ran == [references.chosen(alias, key) for key in keys]
    assert set(ran) == {one, two}
    jobs = [(await client.post("/v1/templates/fox/jobs", json={})).json() for _ in range(20)]
    assert all(job["template_version"] == references.chosen(alias, job["id"]) for job in jobs)
    assert (await client.get("/v1/templates/fox")).json()["version"] == one
    assert await runs(client, "fox@latest") == two

    back = await move(client, "stable/rollback", method="POST")
    assert (back["version"], back["candidate"]) == (one, None)
    await move(client, "stable/candidate", {"version": two, "share": 1})
    assert await runs(client) == two
    assert (await move(client, "stable/candidate", method="DELETE"))["candidate"] is None
    assert (await client.delete("/v1/templates/fox/aliases/stable/candidate")).status_code == 409


async def test_removing_a_template_takes_its_names(client: httpx.AsyncClient) -> None:
    one = await put(client, 1)
    await move(client, "stable", {"version": one})
    assert (await client.delete("/v1/templates/fox")).status_code == 204
    for name in ("fox", "fox@stable"):
        assert (await client.get(f"/v1/templates/{name}")).status_code == 404
    assert await runs(client, f"fox@{one}") == one
    listed = (await client.get("/v1/templates/fox/versions")).json()
    assert (listed["latest"], listed["serves"], len(listed["versions"])) == (None, None, 1)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("nobody/aliases/stable", {"version": "latest"}, 404),
        ("fox/aliases/stable", {"version": "0123456789abcdef"}, 404),
        ("fox/aliases/stable", {"version": "0123"}, 404),
        ("fox/aliases/stable", {"version": "beta"}, 404),
        ("fox/aliases/stable", {}, 422),
        ("fox/aliases/latest", {"version": "latest"}, 422),
        ("fox/aliases/beef", {"version": "latest"}, 422),
        ("fox/aliases/St%C3%A4ble", {"version": "latest"}, 422),
        ("fox/aliases/stable/candidate", {"version": "latest", "share": 0.5}, 409),
        ("fox/aliases/stable/candidate", {"version": "latest", "share": 0}, 422),
        ("fox/aliases/stable/candidate", {"version": "latest", "share": 1.1}, 422),
    ],
)
async def test_moves_that_make_no_sense(client: httpx.AsyncClient, path: str, body: Any, status: int) -> None:
    await put(client, 1)
    answer = await client.put(f"/v1/templates/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert (await client.get("/v1/templates/fox/versions")).json()["aliases"] == []


async def test_references_that_mean_nothing(client: httpx.AsyncClient) -> None:
    one = await put(client, 1)
    await move(client, "beta", {"version": one})
    for which in ("0123456789abcdef", "nothing", "012", "", "Beta"):
        answer = await client.get(f"/v1/templates/fox@{which}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert "Its aliases are beta." in (await client.get("/v1/templates/fox@nothing")).json()["error"]["message"]
    assert "fox" in (await client.get("/v1/templates/foy@nothing")).json()["error"]["message"]
    assert (await client.get("/v1/templates/nobody/versions")).status_code == 404
    assert (await client.delete("/v1/templates/fox/aliases/stable")).status_code == 404
