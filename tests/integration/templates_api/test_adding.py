"""Templates that come over the API, in each form that an author may have them in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from gateway import app
from gateway.settings import Settings
from tests.conftest import Start
from tests.integration.templates_api import living
from tests.integration.templates_api.conftest import Site

TITLED = 'title = "A fox"\n[parameters.hue]\ntype = "integer"\ntarget = "1.color"\nmax = 255\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    living.write(tmp_path / "workflows", "filed.json", living.graph(1))
    return tmp_path / "workflows"


@pytest.fixture
async def client(start_gateway: Start, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    gateway = await start_gateway(workers=1, workflows=(folder,))
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as client:
        yield client


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_json_with_a_sidecar(client: httpx.AsyncClient) -> None:
    sidecar: dict[str, Any] = {"title": "A fox", "parameters": {"hue": {"type": "integer", "target": "1.color"}}}
    answer = await client.post("/v1/templates", json={"name": "fox", "workflow": living.graph(3), "sidecar": sidecar})
    made = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/templates/fox")
    assert (made["title"], made["origin"], made["runnable"], made["inferred"]) == ("A fox", "api", True, False)
    assert [(item["name"], item["default"]) for item in made["parameters"]] == [("hue", 3)]
    assert (await living.ran(client, "fox", {"hue": 9}))["template_version"] == made["version"]
    assert code(await client.post("/v1/templates", json={"name": "fox", "workflow": living.graph()})) == (
        409,
        "conflict",
    )


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (orjson.dumps(living.graph(4)), "application/json"),
        (living.picture(prompt=living.graph(4)), "image/png"),
        (living.picture(workflow=living.saved(4)), "application/octet-stream"),
    ],
    ids=["graph", "picture", "picture of the editor"],
)
async def test_the_file_itself(client: httpx.AsyncClient, body: bytes, kind: str) -> None:
    headers = {"content-type": kind}
    added = await client.put("/v1/templates/fox", content=body, headers=headers)
    assert added.status_code == 201, added.text
    again = await client.put("/v1/templates/fox", content=body, headers=headers)
    assert (again.status_code, again.json()["version"]) == (200, added.json()["version"])
    named = await client.post("/v1/templates?name=hen", content=body, headers=headers)
    assert named.status_code == 201
    assert (await living.ran(client, "hen"))["status"] == "succeeded"


async def test_a_form_with_default_files(client: httpx.AsyncClient) -> None:
    graph = {**living.graph(), "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}
    shown = '[parameters.image]\ntype = "image"\ntarget = "1.image"\ndefault_file = "assets/a.png"\n'
    files: list[Any] = [
        ("workflow", ("drawn.json", orjson.dumps(graph))),
        ("sidecar", ("drawn.toml", shown.encode())),
        ("files", ("assets/a.png", living.picture())),
    ]
    lacking = await client.post("/v1/templates", files=files[:2])
    assert code(lacking) == (422, "invalid_template")
    assert "assets/a.png" in lacking.json()["error"]["message"]
    assert (await client.post("/v1/templates", files=files)).json()["name"] == "drawn"
    assert (await living.ran(client, "drawn"))["status"] == "succeeded"


async def test_what_the_editor_saved_is_converted(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/templates", json={"name": "fox", "workflow": living.saved(5)})
    assert answer.status_code == 201, answer.text
    strange = living.saved(5, kind="EmptyImagee")
    refused = await client.post("/v1/templates", json={"name": "hen", "workflow": strange})
    assert code(refused) == (422, "invalid_template")
    (fault,) = refused.json()["error"]["details"]["faults"]
    assert (fault["reason"], fault["class_type"]) == ("missing_node_type", "EmptyImagee")
    assert (await client.get("/v1/templates/hen")).status_code == 404


async def test_files_and_the_library_keep_their_names(client: httpx.AsyncClient) -> None:
    upload = {"workflow": living.graph(6)}
    for answer in (
        await client.post("/v1/templates", json={"name": "filed", **upload}),
        await client.put("/v1/templates/filed", json=upload),
        await client.delete("/v1/templates/filed"),
        await client.post("/v1/templates", json={"name": "sdxl", **upload}),
        await client.delete("/v1/templates/sdxl"),
    ):
        assert code(answer) == (409, "conflict")
    shipped = (await client.get("/v1/templates/sdxl")).json()
    mine = await client.put("/v1/templates/sdxl", json=upload)
    assert (shipped["origin"], mine.json()["origin"]) == ("shipped", "api")
    assert (await client.delete("/v1/templates/sdxl")).status_code == 204
    assert (await client.get("/v1/templates/sdxl")).json()["version"] == shipped["version"]
    assert code(await client.delete("/v1/templates/nobody")) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"name": "fox"}, (422, "invalid_request")),
        ({"name": "a b", "workflow": living.graph()}, (422, "invalid_template")),
        ({"workflow": living.graph()}, (422, "invalid_request")),
        ({"name": "fox", "workflow": {"1": {"class_type": "A"}}}, (422, "invalid_template")),
        ({"name": "fox", "workflow": living.graph(), "sidecar": {"titel": "x"}}, (422, "invalid_template")),
        ({"name": "fox", "workflow": living.graph(), "sidecar": "titel ="}, (422, "invalid_template")),
        ({"name": "fox", "workflow": {}}, (422, "invalid_template")),
        ([], (422, "invalid_request")),
    ],
)
async def test_what_is_no_template(client: httpx.AsyncClient, body: Any, expected: tuple[int, str]) -> None:
    assert code(await client.post("/v1/templates", json=body)) == expected
    assert (await client.get("/v1/templates/fox")).status_code == 404


@pytest.mark.parametrize("levels", [201, 1000])
async def test_an_editors_file_that_is_nested_too_deeply(client: httpx.AsyncClient, levels: int) -> None:
    saved = f'{{"nodes": [], "links": [], "version": 0.4, "extra": {"[" * levels}{"]" * levels}}}'
    body = f'{{"name": "fox", "workflow": {saved}}}'.encode()
    answer = await client.post("/v1/templates", content=body, headers={"Content-Type": "application/json"})
    assert code(answer) == (422, "invalid_template")
    assert "nested more than 200 deep" in answer.text


async def test_bodies_that_cannot_be_read(client: httpx.AsyncClient) -> None:
    put = "/v1/templates/fox"
    assert code(await client.put(put, content=b"{")) == (400, "invalid_request")
    assert code(await client.put(put, content=living.picture(), headers={"content-type": "image/png"})) == (
        422,
        "invalid_template",
    )
    assert code(await client.put(put, files={"workflows": b"{}"})) == (422, "invalid_request")
    assert code(await client.put(put, json={"name": "hen", "workflow": living.graph()})) == (422, "invalid_request")


async def test_only_admins_change_templates(site: Site) -> None:
    for answer in (
        await site.alice.post("/v1/templates", json={"name": "fox", "workflow": living.graph()}),
        await site.alice.put("/v1/templates/fox", json={"workflow": living.graph()}),
        await site.alice.delete("/v1/templates/plain"),
        await site.alice.put("/v1/templates/plain/aliases/stable", json={"version": "latest"}),
        await site.alice.delete("/v1/templates/plain/aliases/stable"),
        await site.alice.post("/v1/templates/plain/aliases/stable/rollback"),
        await site.alice.put("/v1/templates/plain/aliases/stable/candidate", json={"version": "latest", "share": 1}),
        await site.alice.delete("/v1/templates/plain/aliases/stable/candidate"),
    ):
        assert code(answer) == (403, "forbidden")
    assert (await site.alice.get("/v1/templates/plain/preflight")).status_code == 200


@pytest.mark.postgres
async def test_gateways_on_one_database_see_each_others_templates(postgres_url: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"port": 0, "look_for": None, "workflows": (), "database": postgres_url, "workers": ()}
    async with (
        app.running(Settings(**given, data_dir=tmp_path / "a")) as first,
        app.running(Settings(**given, data_dir=tmp_path / "b")) as second,
        httpx.AsyncClient(base_url=first.url, timeout=30) as one,
        httpx.AsyncClient(base_url=second.url, timeout=30) as other,
    ):
        version = (await one.put("/v1/templates/fox", json={"workflow": living.graph(1)})).json()["version"]
        fox = living.asking(other, "/v1/templates/fox")
        assert (await living.until(fox, lambda answer: "version" in answer))["version"] == version
        await other.put("/v1/templates/fox", json={"workflow": living.graph(2)})
        await other.put("/v1/templates/fox/aliases/stable", json={"version": version})
        await living.until(
            living.asking(one, "/v1/templates/fox/versions"),
            lambda answer: answer["serves"] == version != answer["latest"],
        )
        assert (await one.get("/v1/templates/fox")).json()["version"] == version


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b" " * (24 * 2**20 + 1), "too_large"),
        (b'{"workflow":[' + b"[]," * 500_000 + b"0]}", "too_large"),
        (orjson.dumps({str(each): living.graph()["1"] for each in range(20_001)}), "too_many_nodes"),
        (orjson.dumps({"nodes": [{"id": each, "type": "EmptyImage"} for each in range(20_001)]}), "too_many_nodes"),
    ],
    ids=["bytes", "values", "nodes of a graph", "nodes of the editor"],
)
async def test_what_is_too_large_is_refused_before_it_costs_much(
    client: httpx.AsyncClient, body: bytes, reason: str
) -> None:
    refused = await client.put("/v1/templates/fox", content=body)
    assert code(refused) == (422, "invalid_template")
    assert [fault["reason"] for fault in refused.json()["error"]["details"]["faults"]] == [reason]
