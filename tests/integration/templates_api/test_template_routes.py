"""Templates over a real socket: what they tell of themselves, ordering them, and what is wrong with an order."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import zlib
from typing import Any

import httpx
import pytest

from gateway.domain import model
from gateway.domain.comfy import object_info
from gateway.domain.states import JobStatus
from gateway.domain.templates import library
from gateway.domain.templates import model as templates
from tests.integration.assets import made as kit
from tests.integration.templates_api.conftest import FIXTURES, Site

RED, BLUE = kit.picture("red"), kit.picture("blue")
MASK = (FIXTURES / "orders/assets/mask.png").read_bytes()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def data_uri(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64_of(data)}"


def reference(asset_id: str) -> dict[str, Any]:
    return {"__type": "core/ASSET", "info": {"id": asset_id}}


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def faults_of(answer: httpx.Response) -> set[tuple[str | None, str]]:
    return {(fault.get("parameter"), fault["reason"]) for fault in answer.json()["error"]["details"]["faults"]}


# What they tell.


async def test_the_list_shows_templates_and_broken_files(site: Site) -> None:
    answer = (await site.alice.get("/v1/templates")).json()
    assert [item["name"] for item in answer["templates"]] == ["plain", "rare", "restyle"]
    restyle = answer["templates"][2]
    assert restyle["title"] == "Restyle"
    assert restyle["runnable"] is None
    link = "/v1/templates/restyle"
    assert restyle["urls"] == {"self": link} | {each: f"{link}/{each}" for each in ("jobs", "preflight", "versions")}
    (torn,) = answer["broken"]
    assert (torn["name"], torn["source"]) == ("torn", "torn.json")
    assert "wdith" in torn["reason"]


async def test_a_template_tells_what_it_takes(site: Site) -> None:
    answer = (await site.alice.get("/v1/templates/restyle")).json()
    assert {item["name"]: item["type"] for item in answer["parameters"]} == {
        "image": "image",
        "mask": "mask",
        "prompt": "string",
        "seed": "seed",
        "width": "integer",
        "style": "choice",
    }
    assert answer["schema"]["properties"]["width"]["maximum"] == 100000
    assert answer["schema"]["required"] == ["image"]
    assert answer["requirements"]["classes"] == ["EmptyImage", "LoadImage", "PreviewAny", "SaveImage"]
    assert (answer["runnable"], answer["workers"], answer["lacking"]) == (None, None, [])


async def test_what_workers_can_run_is_told_once_one_is_known(site: Site, catalog: object_info.NodeCatalog) -> None:
    site.made.known.catalogs = (catalog,)
    listed = (await site.alice.get("/v1/templates")).json()["templates"]
    assert {item["name"]: item["runnable"] for item in listed} == {"plain": True, "rare": False, "restyle": True}
    assert (await site.alice.get("/v1/templates/plain")).json()["workers"] == ["w1"]
    rare = (await site.alice.get("/v1/templates/rare")).json()
    assert (rare["workers"], rare["runnable"]) == ([], False)
    assert [(fault["reason"], fault["class_type"]) for fault in rare["lacking"]] == [
        ("missing_node_type", "NodeOfARarePack")
    ]


@pytest.mark.parametrize("path", ["/v1/templates/restile", "/v1/templates/restile/jobs"])
async def test_near_misses_of_names_are_suggested(site: Site, path: str) -> None:
    answer = await (site.alice.post(path, json={}) if path.endswith("jobs") else site.alice.get(path))
    assert error_of(answer) == (404, "not_found")
    assert answer.json()["error"]["details"]["suggestions"] == ["restyle"]


async def test_a_broken_template_says_so(site: Site) -> None:
    for answer in (await site.alice.get("/v1/templates/torn"), await site.order("torn", {})):
        assert error_of(answer) == (422, "invalid_template")
        assert answer.json()["error"]["details"]["faults"][0]["field"] == "parameters.width.target"


ODD_NAMES: list[str] = ["..%2fx", "%00", "a" * 201, "🦊"]


async def test_odd_names_are_no_templates(site: Site) -> None:
    for name in ODD_NAMES:
        assert (await site.alice.get(f"/v1/templates/{name}")).status_code in {404, 422}, name


# Ordering.


async def test_an_order_becomes_a_job_with_its_inputs_as_used(site: Site) -> None:
    body = {"inputs": {"image": data_uri(RED), "prompt": "a 🦊"}, "metadata": {"who": "me"}, "priority": 3}
    answer = await site.alice.post("/v1/templates/restyle/jobs", json=body)
    job = answer.json()
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == job["urls"]["self"] == f"/api/v2/jobs/{job['id']}"
    assert (job["status"], job["template"]) == ("queued", "restyle")
    assert (job["metadata"], job["priority"], job["simulated"]) == ({"who": "me"}, 3, False)
    assert (job["worker"], job["attempts"]) == (None, [])
    used = job["inputs"]
    assert used["prompt"] == "a 🦊"
    assert used["width"] == 64
    assert used["seed"] == 1000
    assert await site.bytes_of(used["image"]) == RED
    assert await site.bytes_of(used["mask"]) == MASK
    graph = await site.graph(job)
    assert graph["1"]["inputs"]["image"] == used["image"]
    assert graph["3"]["inputs"]["color"] == 1000
    assert graph["4"]["inputs"]["source"] == "a 🦊"
    assert await kit.signals_of(site.made.parts.bus) == [model.WorkQueued()]


async def test_the_same_inputs_can_be_ordered_again(site: Site) -> None:
    first = (await site.order("restyle", {"image": base64_of(RED)})).json()
    again = (await site.order("restyle", first["inputs"])).json()
    assert again["inputs"] == first["inputs"]
    assert await site.graph(again) == await site.graph(first)


async def test_equal_bytes_are_one_asset_however_often_they_come(site: Site) -> None:
    orders = [(await site.order("restyle", {"image": data_uri(RED)})).json() for _ in range(3)]
    assert len({job["inputs"]["image"]["info"]["id"] for job in orders}) == 1
    assert len({job["inputs"]["mask"]["info"]["id"] for job in orders}) == 1
    assert len(site.made.blob_files()) == 2


async def test_inline_bytes_that_were_deleted_are_stored_again(site: Site) -> None:
    first = (await site.order("restyle", {"image": data_uri(RED)})).json()
    await site.alice.post(first["urls"]["cancel"])
    asset_id = first["inputs"]["image"]["info"]["id"]
    assert (await site.alice.delete(f"/api/v2/assets/{asset_id}")).status_code == 204
    second = (await site.order("restyle", {"image": data_uri(RED)})).json()
    assert await site.bytes_of(second["inputs"]["image"]) == RED


async def test_tenants_do_not_share_inline_assets(site: Site) -> None:
    mine = (await site.order("restyle", {"image": data_uri(RED)})).json()
    theirs = (await site.bob.post("/v1/templates/restyle/jobs", json={"inputs": {"image": data_uri(RED)}})).json()
    assert mine["inputs"]["image"] != theirs["inputs"]["image"]
    assert mine["inputs"]["mask"] != theirs["inputs"]["mask"]


async def test_an_image_may_be_an_asset_or_its_id_or_its_path(site: Site) -> None:
    asset_id = await site.upload(RED, path="shots/red.png")
    for given in (reference(asset_id), {"asset_id": asset_id}, asset_id, asset_id.upper(), "shots/red.png"):
        answer = await site.order("restyle", {"image": given})
        assert answer.status_code == 201, answer.text
        assert answer.json()["inputs"]["image"] == reference(asset_id)


async def test_a_name_that_nobody_uploaded_is_left_to_the_workers(site: Site) -> None:
    job = (await site.order("restyle", {"image": "example.png"})).json()
    assert job["inputs"]["image"] == "example.png"
    assert (await site.graph(job))["1"]["inputs"]["image"] == "example.png"


async def test_inline_files_are_not_named_by_chance(site: Site) -> None:
    await site.order("restyle", {"image": data_uri(RED)})
    job = (await site.order("restyle", {"image": "image.png"})).json()
    assert job["inputs"]["image"] == "image.png"


@pytest.mark.parametrize(
    ("given", "used"), [({}, 1000), ({"seed": -1}, 1000), ({"seed": None}, 1000), ({"seed": 7}, 7)]
)
async def test_seeds_are_drawn_when_absent_and_told(site: Site, given: dict[str, Any], used: int) -> None:
    job = (await site.order("restyle", {"image": data_uri(RED), **given})).json()
    assert job["inputs"]["seed"] == used
    assert (await site.graph(job))["3"]["inputs"]["color"] == used


async def test_an_idempotency_key_orders_once_and_a_refusal_gives_it_back(site: Site) -> None:
    headers = {"Idempotency-Key": "order-1"}
    path = "/v1/templates/plain/jobs"
    assert (await site.alice.post(path, json={"inputs": {"width": 1}}, headers=headers)).status_code == 422
    answers = await asyncio.gather(*(site.alice.post(path, json={}, headers=headers) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 422, 422, 422, 422]
    codes = {answer.json()["error"]["code"] for answer in answers if answer.status_code == 422}
    assert codes == {"idempotency_key_reuse"}


async def test_a_full_queue_says_when_to_come_back(site: Site) -> None:
    batch = {"template": "plain", "inputs": {}, "n": 150}
    for _ in range(2):
        assert (await site.alice.post("/v1/batches", json=batch)).status_code == 201
    answer = await site.order("plain", {})
    assert error_of(answer) == (429, "queue_full")
    assert int(answer.headers["retry-after"]) > 0


async def test_a_partner_key_stays_in_memory(site: Site) -> None:
    answer = await site.order("plain", {}, extra_data={"api_key_comfy_org": "comfyui-secret"})
    job = answer.json()
    assert site.made.secrets.of(model.JobId(job["id"])) == "comfyui-secret"
    database = site.made.blob_folder.parent
    for path in database.glob("gateway.db*"):
        assert b"comfyui-secret" not in path.read_bytes()
    refused = await site.order("plain", {"width": 1}, extra_data={"api_key_comfy_org": "other"})
    assert refused.status_code == 422
    assert "other" not in refused.text


async def test_waiting_for_a_job_that_nobody_runs(site: Site) -> None:
    path = "/v1/templates/plain/jobs"
    answer = await site.alice.post(path, json={}, headers={"Prefer": "wait=0"})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.headers["preference-applied"] == "wait=0"


async def test_waiting_ends_with_the_job(site: Site) -> None:
    waiting = asyncio.create_task(
        site.alice.post("/v1/templates/plain/jobs", json={}, headers={"Prefer": "wait=20", "Accept": "image/png"})
    )
    await kit.signals_of(site.made.parts.bus)
    (job,) = (await site.alice.get("/api/v2/jobs")).json()["jobs"]
    await site.alice.post(job["urls"]["cancel"])
    answer = await asyncio.wait_for(waiting, 10)
    assert (answer.status_code, answer.json()["error"]["details"]["status"]) == (422, "canceled")


# What is wrong with an order.


async def test_all_faults_come_at_once_with_their_places(site: Site) -> None:
    inputs = {
        "image": data_uri(b"\x89PNG\r\n\x1a\nbroken"),
        "mask": "0198c3b2-7d1e-7c3a-9a55-2f6d1b0c4e11",
        "promt": "x",
        "width": 5,
        "style": "blod",
        "seed": "seven",
    }
    answer = await site.order("restyle", inputs)
    assert error_of(answer) == (422, "invalid_inputs")
    assert faults_of(answer) == {
        ("image", "not_an_image"),
        ("mask", "missing_asset"),
        ("promt", "unknown_parameter"),
        ("width", "value_smaller_than_min"),
        ("style", "value_not_in_list"),
        ("seed", "wrong_type"),
    }
    faults = {fault["parameter"]: fault for fault in answer.json()["error"]["details"]["faults"]}
    assert "prompt" in faults["promt"]["message"]
    assert "bold" in faults["style"]["message"]
    assert [faults["image"][key] for key in ("node", "field", "class_type")] == ["1", "image", "LoadImage"]
    assert [faults["width"][key] for key in ("node", "field", "class_type")] == ["3", "width", "EmptyImage"]
    assert (await site.alice.get("/api/v2/jobs")).json()["jobs"] == []
    assert site.made.blob_files() == []


async def test_only_missing_assets_are_the_contracts_missing_asset(site: Site) -> None:
    gone = "0198c3b2-7d1e-7c3a-9a55-2f6d1b0c4e11"
    foreign = await site.upload(RED, client=site.bob)
    answer = await site.order("restyle", {"image": gone, "mask": reference(foreign)})
    assert error_of(answer) == (422, "missing_asset")
    assert answer.json()["error"]["details"]["missing_ids"] == [gone, foreign]
    assert faults_of(answer) == {("image", "missing_asset"), ("mask", "missing_asset")}


BAD_IMAGES: list[tuple[Any, str | None]] = [
    (data_uri(b"not a picture at all"), "not_image"),
    (data_uri(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"), "not_image"),
    ("data:image/png;base64," + base64_of(RED)[:61], "invalid_base64"),
    ("data:image/png;base64," + base64_of(RED)[:60], "image_truncated"),
    (data_uri(RED[:-30]), "image_truncated"),
    (data_uri(kit.picture(size=(900, 900), kind="JPEG")[:2000]), "image_truncated"),
    (data_uri(kit.png(60000, 60000, zlib.compress(b"\0" * 100))), "image_too_large"),
    (data_uri(kit.png(9999, 9999, zlib.compress(b"\0" * 100))), "image_truncated"),
    (data_uri(kit.text_bomb()), "image_truncated"),
    ("data:image/png;base64,", "empty"),
    ("data:image/png", "invalid_data_uri"),
    ("data:image/png;base64,@@@@", "invalid_base64"),
    ("", None),
    ("https://example.com/x.png", "url_not_taken"),
    ("file:///etc/passwd", None),
    ("../../etc/passwd.png", "invalid_file_name"),
    ("/etc/passwd.png", "invalid_file_name"),
    ("a\0.png", None),
    (5, "wrong_type"),
    ([], "wrong_type"),
    ({}, "malformed_asset"),
    ({"__type": "core/ASSET", "info": {"id": 5}}, "malformed_asset"),
    ({"__type": "core/ASSET"}, "malformed_asset"),
]


async def test_bad_images(site: Site) -> None:
    for given, reason in BAD_IMAGES:
        answer = await site.order("restyle", {"image": given})
        assert error_of(answer) == (422, "invalid_inputs"), given
        ((parameter, found),) = faults_of(answer)
        assert parameter == "image", given
        assert reason is None or found == reason, given
        assert site.made.blob_files() == [], given


async def test_only_pictures_are_held_to_be_sound(site: Site) -> None:
    """What is refused as a picture may be a fine file for a parameter that takes any."""
    restyle = site.made.known.library.get("restyle")
    loose = tuple(
        dataclasses.replace(item, type=templates.ParameterType.FILE) if item.name == "image" else item
        for item in restyle.parameters
    )
    site.made.known.library = library.Library(templates=(dataclasses.replace(restyle, parameters=loose),))
    answer = await site.order("restyle", {"image": data_uri(kit.png(60000, 60000, b""))})
    assert answer.status_code == 201, answer.text


async def test_assets_that_are_no_pictures_are_refused_too(site: Site) -> None:
    text, bomb = await site.upload(b"text"), await site.upload(kit.png(60000, 60000, b""), path="bomb.png")
    large = await site.upload(bytes(600_000), path="large.png")
    answer = await site.order("restyle", {"image": text, "mask": bomb})
    assert faults_of(answer) == {("image", "not_an_image"), ("mask", "image_too_large")}
    assert faults_of(await site.order("restyle", {"image": large})) == {("image", "too_large")}


NO_ORDERS: list[bytes] = [
    b"",
    b"x",
    b"[]",
    b"5",
    b"null",
    b'{"inputs": []}',
    b'{"inputs": "x"}',
    b'{"input": {}}',
    b'{"inputs": {}, "n": 2}',
    b'{"priority": 1000}',
    b'{"priority": "1"}',
    b'{"metadata": {"a": 1}}',
    b'{"metadata": []}',
    b'{"inputs": NaN}',
    b'{"extra_data": {"other": 1}}',
    b'{"inputs": {"width": 1e999}}',
    b'{"inputs": {"width": ' + b"9" * 5000 + b"}}",
]


async def test_bodies_that_are_no_order(site: Site) -> None:
    for body in NO_ORDERS:
        answer = await site.alice.post(
            "/v1/templates/plain/jobs", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in {400, 422}, body
        assert answer.json()["error"]["message"], body
        assert (await site.alice.get("/api/v2/jobs")).json()["jobs"] == [], body


async def test_where_parameters_belong_is_told(site: Site) -> None:
    answer = await site.alice.post("/v1/templates/plain/jobs", json={"width": 64, "priorty": 1})
    faults = {fault["field"]: fault["message"] for fault in answer.json()["error"]["details"]["faults"]}
    assert faults["width"].endswith("is not known here: parameters go under `inputs`")
    assert faults["priorty"].endswith("did you mean `priority`?")
    answer = await site.alice.post("/api/v2/jobs", json={"prompt": {}})
    assert "`prompt`: here it is called `workflow`" in answer.json()["error"]["message"]


async def test_a_body_past_the_limit(site: Site) -> None:
    answer = await site.order("restyle", {"image": "A" * 6_000_000})
    assert error_of(answer) == (413, "payload_too_large")


async def test_values_that_no_known_worker_takes_are_told_by_parameter(
    site: Site, catalog: object_info.NodeCatalog
) -> None:
    site.made.known.catalogs = (catalog,)
    answer = await site.order("restyle", {"image": data_uri(RED), "width": 20000})
    # Another output of this graph could still run, and ComfyUI takes such a graph.
    assert answer.status_code == 201
    answer = await site.order("rare", {})
    assert error_of(answer) == (422, "invalid_workflow")
    assert answer.json()["error"]["details"]["node_errors"]["1"][0]["reason"] == "missing_node_type"


async def test_an_order_waits_while_no_worker_is_known(site: Site) -> None:
    assert (await site.order("rare", {})).status_code == 201


# As a form.


async def test_an_order_as_a_form_with_files(site: Site) -> None:
    answer = await site.alice.post(
        "/v1/templates/restyle/jobs",
        data={"prompt": "a fox", "width": "128", "metadata": '{"who": "me"}', "priority": "2"},
        files={"image": ("x.png", RED, "image/png"), "inputs": (None, '{"style": "bold"}')},
    )
    assert answer.status_code == 201, answer.text
    job = answer.json()
    used = job["inputs"]
    assert (used["prompt"], used["width"], used["style"]) == ("a fox", 128, "bold")
    assert (job["metadata"], job["priority"]) == ({"who": "me"}, 2)
    assert await site.bytes_of(used["image"]) == RED
    asset = (await site.alice.get(f"/api/v2/assets/{used['image']['info']['id']}")).json()
    assert asset["content_type"] == "image/png"
    assert asset["file_path"].endswith(".png")


async def test_text_parts_may_be_what_json_may_be(site: Site) -> None:
    await site.upload(RED, path="red.png")
    answer = await site.alice.post("/v1/templates/restyle/jobs", files={"image": (None, "red.png")})
    assert answer.status_code == 201, answer.text
    assert await site.bytes_of(answer.json()["inputs"]["image"]) == RED


BAD_FORMS: list[tuple[Any, set[tuple[str | None, str]]]] = [
    ({"image": ("x.png", b"no picture")}, {("image", "not_an_image")}),
    ({"imgae": ("x.png", RED)}, {("imgae", "unknown_parameter")}),
    ({"image": ("x.png", RED), "width": ("w", b"5")}, {("width", "wrong_type")}),
    ({"image": ("x.png", RED), "width": (None, "five")}, {("width", "wrong_type")}),
    ({"image": ("x.png", RED), "inputs": (None, "{")}, {(None, "invalid_json")}),
    ({"image": ("x.png", RED), "inputs": (None, "[]")}, {(None, "invalid_value")}),
    ({"image": ("x.png", RED), "inputs": (None, '{"image": "x"}')}, {("image", "repeated_field")}),
    ({"image": ("x.png", RED), "metadata": (None, "x")}, {(None, "invalid_json")}),
]


async def test_a_bad_form_is_refused_and_its_files_are_taken_back(site: Site) -> None:
    for parts, faults in BAD_FORMS:
        answer = await site.alice.post("/v1/templates/restyle/jobs", files=parts)
        assert answer.status_code == 422, parts
        assert faults_of(answer) == faults, parts
        assert site.made.blob_files() == [], parts


async def test_a_refused_form_takes_nothing_that_was_there_before(site: Site) -> None:
    job = (await site.alice.post("/v1/templates/restyle/jobs", files={"image": ("x.png", RED)})).json()
    refused = await site.alice.post("/v1/templates/restyle/jobs", files={"image": ("x.png", RED), "width": (None, "0")})
    assert refused.status_code == 422
    assert await site.bytes_of(job["inputs"]["image"]) == RED


async def test_a_file_past_the_limit(site: Site) -> None:
    answer = await site.alice.post("/v1/templates/restyle/jobs", files={"image": ("x.png", bytes(1_000_001))})
    assert error_of(answer) == (413, "payload_too_large")
    assert site.made.blob_files() == []


async def test_others_do_not_see_the_job(site: Site) -> None:
    job = (await site.order("plain", {})).json()
    assert (await site.bob.get(job["urls"]["self"])).status_code == 404
    stranger = httpx.AsyncClient(base_url=site.url)
    async with stranger:
        assert (await stranger.get("/v1/templates")).status_code == 401
        assert (await stranger.post("/v1/templates/plain/jobs", json={})).status_code == 401


async def test_statuses_are_those_of_the_contract(site: Site) -> None:
    job = (await site.order("plain", {})).json()
    assert JobStatus(job["status"]) is JobStatus.QUEUED
    assert set(job) >= {"started_at", "completed_at", "queue_position", "progress", "error", "outputs", "urls"}
