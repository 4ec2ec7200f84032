"""Batches over a real socket: many jobs ordered at once, counted, listed and cancelled together."""

from __future__ import annotations

import base64
from typing import Any

import httpx

from gateway.adapters import templates
from gateway.domain import model
from gateway.domain.comfy import object_info
from gateway.domain.states import JobStatus
from tests.integration.assets import made as kit
from tests.integration.templates_api.conftest import FIXTURES, Site

RED = kit.picture("red")


async def order(site: Site, inputs: Any, *, template: str = "plain", **more: Any) -> httpx.Response:
    return await site.alice.post("/v1/batches", json={"template": template, "inputs": inputs, **more})


async def jobs_of(site: Site, batch: dict[str, Any]) -> list[dict[str, Any]]:
    """The batch's jobs in the order of their inputs."""
    return [(await site.alice.get(f"/api/v2/jobs/{job_id}")).json() for job_id in batch["job_ids"]]


def faults_of(answer: httpx.Response) -> list[tuple[int | None, str | None, str]]:
    found = answer.json()["error"]["details"]["faults"]
    return [(fault.get("index"), fault.get("parameter"), fault["reason"]) for fault in found]


async def test_a_list_of_inputs_makes_a_job_each_in_order(site: Site) -> None:
    answer = await order(site, [{"width": 16}, {}, {"width": 32}], metadata={"who": "me"}, priority=2)
    batch = answer.json()
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == batch["urls"]["self"] == f"/v1/batches/{batch['id']}"
    assert (batch["total"], batch["ended"], batch["done"], batch["finished"]) == (3, 0, 0.0, False)
    assert (batch["counts"]["queued"], batch["counts"]["succeeded"], batch["outputs"]) == (3, 0, 0)
    jobs = await jobs_of(site, batch)
    assert [job["inputs"]["width"] for job in jobs] == [16, 64, 32]
    assert {(job["batch_id"], job["priority"], job["metadata"]["who"]) for job in jobs} == {(batch["id"], 2, "me")}
    assert await kit.signals_of(site.made.parts.bus) == [model.WorkQueued()]


async def test_copies_count_up_from_the_seed(site: Site) -> None:
    image = base64.b64encode(RED).decode()
    batch = (await order(site, {"image": image, "seed": 41}, template="restyle", n=3)).json()
    jobs = await jobs_of(site, batch)
    assert [job["inputs"]["seed"] for job in jobs] == [41, 42, 43]
    assert [(await site.graph(job))["3"]["inputs"]["color"] for job in jobs] == [41, 42, 43]
    assert len({job["inputs"]["image"]["info"]["id"] for job in jobs}) == 1


async def test_copies_without_a_seed_draw_the_first_one(site: Site) -> None:
    batch = (await order(site, {"image": "example.png", "seed": -1}, template="restyle", n=3)).json()
    assert [job["inputs"]["seed"] for job in await jobs_of(site, batch)] == [1000, 1001, 1002]


async def test_copies_of_what_has_no_seed_are_copies(site: Site) -> None:
    batch = (await order(site, {"width": 16}, n=2)).json()
    assert [job["inputs"] for job in await jobs_of(site, batch)] == [{"width": 16}, {"width": 16}]


async def test_one_object_without_n_is_one_job(site: Site) -> None:
    assert (await order(site, {})).json()["total"] == 1


async def test_the_faults_of_all_members_come_at_once(site: Site) -> None:
    answer = await order(site, [{}, {"width": 1}, {"wdith": 20}, 7, {"width": "x"}])
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_inputs")
    assert faults_of(answer) == [
        (1, "width", "value_smaller_than_min"),
        (2, "wdith", "unknown_parameter"),
        (3, None, "invalid_inputs"),
        (4, "width", "wrong_type"),
    ]
    assert (await site.alice.get("/api/v2/jobs")).json()["jobs"] == []


async def test_missing_assets_of_all_members(site: Site) -> None:
    gone = [f"0198c3b2-7d1e-7c3a-9a55-2f6d1b0c4e1{digit}" for digit in (1, 2)]
    answer = await order(site, [{"image": gone[0]}, {"image": "example.png"}, {"image": gone[1]}], template="restyle")
    assert answer.json()["error"]["code"] == "missing_asset"
    assert answer.json()["error"]["details"]["missing_ids"] == gone
    assert [fault[0] for fault in faults_of(answer)] == [0, 2]


async def test_a_seed_that_leaves_its_bounds_is_told_by_its_member(site: Site) -> None:
    answer = await order(site, {"image": "example.png", "seed": 16777214}, template="restyle", n=5)
    assert faults_of(answer) == [(2, "seed", "value_bigger_than_max")]


async def test_what_no_known_worker_runs_is_told_by_member(site: Site, catalog: object_info.NodeCatalog) -> None:
    site.made.known.catalogs = (catalog,)
    answer = await order(site, [{}, {}], template="rare")
    assert answer.json()["error"]["code"] == "invalid_workflow"
    assert faults_of(answer) == [(0, None, "missing_node_type"), (1, None, "missing_node_type")]


BAD_ORDERS: list[Any] = [
    {},
    {"template": "plain"},
    {"inputs": {}},
    {"template": "plain", "inputs": []},
    {"template": "plain", "inputs": "x"},
    {"template": "plain", "inputs": None},
    {"template": "plain", "inputs": [{}], "n": 2},
    {"template": "plain", "inputs": {}, "n": 0},
    {"template": "plain", "inputs": {}, "n": True},
    {"template": "plain", "inputs": {}, "n": 201},
    {"template": "plain", "inputs": [{}] * 201},
    {"template": "plain", "inputs": {}, "n": 10**30},
    {"template": "plain", "inputs": {}, "copies": 2},
    {"template": 5, "inputs": {}},
    {"template": "plain", "inputs": {}, "metadata": {"": "x"}},
    [],
]


async def test_bad_orders(site: Site) -> None:
    for body in BAD_ORDERS:
        answer = await site.alice.post("/v1/batches", json=body)
        assert answer.status_code == 422, body
        assert (await site.alice.get("/api/v2/jobs")).json()["jobs"] == [], body


async def test_unknown_and_broken_templates(site: Site) -> None:
    unknown = await order(site, {}, template="plian")
    assert (unknown.status_code, unknown.json()["error"]["details"]["suggestions"]) == (404, ["plain"])
    assert (await order(site, {}, template="torn")).json()["error"]["code"] == "invalid_template"


async def test_a_batch_that_does_not_fit_the_queue_queues_nothing(site: Site) -> None:
    assert (await order(site, {}, n=200)).status_code == 201
    answer = await order(site, {}, n=101)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
    assert (await order(site, {}, n=100)).status_code == 201


async def test_an_idempotency_key_orders_once(site: Site) -> None:
    body, headers = {"template": "plain", "inputs": {}}, {"Idempotency-Key": "b"}
    assert (await site.alice.post("/v1/batches", json=body, headers=headers)).status_code == 201
    again = await site.alice.post("/v1/batches", json=body, headers=headers)
    assert again.json()["error"]["code"] == "idempotency_key_reuse"


async def test_jobs_are_listed_in_pages(site: Site) -> None:
    batch = (await order(site, {}, n=25)).json()
    await order(site, {}, n=3)
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 10}
    while True:
        page = (await site.alice.get(batch["urls"]["jobs"], params=query)).json()
        seen += [job["id"] for job in page["jobs"]]
        if "next_cursor" not in page:
            break
        query["cursor"] = page["next_cursor"]
    assert len(seen) == 25
    assert set(seen) == set(batch["job_ids"])
    running = await site.alice.get(batch["urls"]["jobs"], params={"status": "running"})
    assert running.json()["jobs"] == []
    for bad in ({"status": "done"}, {"cursor": "x"}, {"limit": 101}):
        assert (await site.alice.get(batch["urls"]["jobs"], params=bad)).status_code == 422


async def test_cancelling_ends_what_is_queued_and_tells_followers(site: Site) -> None:
    batch = (await order(site, {}, n=3)).json()
    other = (await order(site, {}, n=1)).json()
    with site.made.parts.bus.subscribe(model.JobId(batch["job_ids"][1])) as news:
        answer = await site.alice.post(batch["urls"]["cancel"])
        assert await news.next(timeout=5) == model.StatusChanged(status=JobStatus.CANCELED)
    assert answer.status_code == 200
    assert (answer.json()["counts"]["canceled"], answer.json()["done"], answer.json()["finished"]) == (3, 1.0, True)
    assert (await site.alice.post(batch["urls"]["cancel"])).json()["counts"]["canceled"] == 3
    assert (await site.alice.get(other["urls"]["self"])).json()["counts"]["queued"] == 1


async def test_other_tenants_see_no_batch(site: Site) -> None:
    batch = (await order(site, {})).json()
    for answer in (
        await site.bob.get(batch["urls"]["self"]),
        await site.bob.get(batch["urls"]["jobs"]),
        await site.bob.post(batch["urls"]["cancel"]),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert (await site.alice.get(batch["urls"]["self"])).json()["counts"]["queued"] == 1


UNKNOWN_BATCHES: list[str] = ["x", "%00", "0198c3b2-7d1e-7c3a-9a55-2f6d1b0c4e11"]


async def test_unknown_batches(site: Site) -> None:
    for batch_id in UNKNOWN_BATCHES:
        for path in ("", "/jobs"):
            assert (await site.alice.get(f"/v1/batches/{batch_id}{path}")).status_code == 404, batch_id
        assert (await site.alice.post(f"/v1/batches/{batch_id}/cancel")).status_code == 404, batch_id


async def test_batches_let_single_orders_go_first(site: Site) -> None:
    batch = (await order(site, {}, n=2)).json()
    assert {job["priority"] for job in await jobs_of(site, batch)} == {-10}


async def test_n_pictures_in_one_run_are_named_by_the_seed(site: Site) -> None:
    site.made.known.library = templates.load(FIXTURES / "orders_of_many")
    batch = (await order(site, {"seed": 41}, template="many", n=3, batch="one_run")).json()
    (job,) = await jobs_of(site, batch)
    graph = await site.graph(job)
    assert (batch["total"], job["inputs"]["seed"], job["inputs"]["batch_size"]) == (1, 41, 3)
    assert (graph["1"]["inputs"]["batch_size"], graph["2"]["inputs"]["filename_prefix"]) == (3, "art/many_41")
    apart = (await order(site, {"seed": 41}, template="many", n=3)).json()
    assert [job["inputs"]["seed"] for job in await jobs_of(site, apart)] == [41, 42, 43]


async def test_one_run_needs_a_batch_size_and_one_object(site: Site) -> None:
    site.made.known.library = templates.load(FIXTURES / "orders_of_many")
    without = await order(site, {}, n=3, batch="one_run")
    assert (without.status_code, faults_of(without)) == (422, [(None, None, "no_batch_size")])
    other = await order(site, {"batch_size": 2}, template="many", n=3, batch="one_run")
    assert faults_of(other) == [(None, "batch_size", "invalid_value")]
    many = await order(site, {}, template="many", n=65, batch="one_run")
    assert [fault[1] for fault in faults_of(many)] == ["batch_size"]
    assert (await order(site, [{}], template="many", batch="one_run")).status_code == 422
