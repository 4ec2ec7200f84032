"""Pipelines that come over the API: taken in each form, checked, versioned and named like templates."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import app, simulator
from gateway.settings import Settings
from tests.conftest import Start
from tests.integration.templates_api import living

TOML = {"content-type": "application/toml"}
ROW = """
title = "A row"

[inputs]
width = "first.width"

[[steps]]
name = "first"
template = "plain"

[[steps]]
name = "web"
finish = { format = "webp" }
of = "first"

[[examples]]
name = "small"
inputs = { width = 16 }
tolerance = 1.5
"""
PLAIN = '[parameters.width]\ntype = "integer"\ntarget = "1.width"\nmax = 512\n'


def plain(color: int = 0) -> dict[str, Any]:
    """The template of the step `first`, of which the colour tells the version."""
    return {"workflow": living.graph(color), "sidecar": PLAIN}


@pytest.fixture
async def client(start_gateway: Start) -> AsyncIterator[httpx.AsyncClient]:
    gateway = await start_gateway(workers=1)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as client:
        assert (await client.put("/v1/templates/plain", json=plain())).status_code == 201
        yield client


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


SHAPE: dict[str, Any] = {
    "title": "A row",
    "inputs": {"width": "first.width"},
    "steps": [
        {"name": "first", "template": "plain"},
        {"name": "web", "finish": {"format": "webp"}, "of": "first"},
    ],
    "examples": [{"name": "small", "inputs": {"width": 16}, "tolerance": 1.5}],
}


@pytest.mark.parametrize(
    "body",
    [
        {"content": ROW, "headers": TOML, "params": {"name": "row"}},
        {"content": ROW, "headers": {"content-type": "text/x-toml; charset=utf-8"}, "params": {"name": "row"}},
        {"json": {"name": "row", "pipeline": ROW}},
        {"json": {"name": "row", "pipeline": SHAPE}},
        {"files": [("pipeline", ("row.pipeline.toml", ROW))]},
        {"files": [("pipeline", ("row.toml", ROW))]},
        {"files": [("workflow", ("row.pipeline.toml", ROW))]},
        {"files": [("pipeline", ("other.pipeline.toml", ROW))], "data": {"name": "row"}},
    ],
    ids=[
        "TOML",
        "TOML, called otherwise",
        "text in JSON",
        "JSON",
        "form",
        "form, called shorter",
        "form as a workflow",
        "form with a name",
    ],
)
async def test_a_pipeline_in_each_form(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = await client.post("/v1/templates", **body)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["name"], made["title"], made["origin"], made["runnable"]) == ("row", "A row", "api", True)
    assert [(each["name"], each["maximum"]) for each in made["parameters"]] == [("width", 512)]
    assert made["examples"] == [{"name": "small", "inputs": {"width": 16}, "tolerance": 1.5}]
    assert (await client.get("/v1/templates/row")).json() == made
    job = await living.ran(client, "row", {"width": 24})
    assert (job["status"], job["template_version"]) == ("succeeded", made["version"]), job
    assert [step["name"] for step in job["steps"]] == ["first", "web"]
    assert code(await client.post("/v1/templates", **body)) == (409, "conflict")


async def test_versions_and_aliases(client: httpx.AsyncClient) -> None:
    async def put(text: str) -> Any:
        answer = await client.put("/v1/templates/row", content=text, headers=TOML)
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()["version"]

    first = await put(ROW)
    assert (await client.put("/v1/templates/row/aliases/stable", json={"version": first})).status_code == 200
    second = await put(ROW.replace("webp", "png"))
    assert first != second
    assert (await living.ran(client, "row"))["template_version"] == first
    assert (await living.ran(client, "row@latest"))["template_version"] == second
    assert (await living.ran(client, f"row@{first}"))["template_version"] == first

    # Another version of a step's template makes one of the pipeline; what was ordered before can be ordered again.
    assert (await client.put("/v1/templates/plain", json=plain(9))).status_code == 200
    third = (await client.get("/v1/templates/row@latest")).json()["version"]
    assert third not in {first, second}
    listed = (await client.get("/v1/templates/row/versions")).json()
    assert [(each["version"], each["origin"]) for each in listed["versions"]] == [
        (version, "api") for version in (third, second, first)
    ]
    assert (await living.ran(client, f"row@{second}"))["template_version"] == second
    assert (await client.delete("/v1/templates/row")).status_code == 204
    assert code(await client.get("/v1/templates/row")) == (404, "not_found")
    assert (await living.ran(client, f"row@{third}"))["template_version"] == third


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (ROW.replace('"plain"', '"plian"'), "first"),
        (ROW.replace('"plain"', '"row"'), "first"),
        (ROW.replace('"first.width"', '"first.height"'), "width"),
        (ROW.replace('"first.width"', "[]"), "inputs.width"),
        (ROW.replace('of = "first"', 'of = "second"'), "steps.1"),
        (ROW.replace("width = 16", "width = 513"), "examples.0.inputs.width"),
        (ROW.replace("width = 16", "heigth = 16"), "examples.0.inputs.heigth"),
        ('title = "none"', "steps"),
    ],
)
async def test_what_is_wrong_is_told_with_its_place(client: httpx.AsyncClient, text: str, place: str) -> None:
    refused = await client.put("/v1/templates/row", content=text, headers=TOML)
    assert code(refused) == (422, "invalid_template")
    assert [fault["field"] for fault in refused.json()["error"]["details"]["faults"]] == [place]
    assert code(await client.get("/v1/templates/row")) == (404, "not_found")


async def test_values_of_a_step_are_checked(client: httpx.AsyncClient) -> None:
    text = '[[steps]]\nname = "first"\ntemplate = "plain"\ninputs = { width = 513 }\n'
    refused = await client.put("/v1/templates/row", content=text, headers=TOML)
    assert code(refused) == (422, "invalid_template")
    (fault,) = refused.json()["error"]["details"]["faults"]
    assert (fault["reason"], fault["field"], fault["parameter"]) == ("invalid_pipeline", "first", "width")
    assert "513 is bigger than the maximum of 512" in fault["message"]
    assert (await client.put("/v1/templates/row", content=text.replace("513", "512"), headers=TOML)).status_code == 201


async def test_what_could_not_be_told_again_is_refused(client: httpx.AsyncClient) -> None:
    text = b'{"title": "\\ud800", "steps": [{"name": "first", "template": "plain"}]}'
    refused = await client.put("/v1/templates/row", files=[("pipeline", ("row.json", text))])
    assert code(refused) == (422, "invalid_template")
    assert (await client.get("/v1/templates")).status_code == 200


async def test_the_limit_holds_inside_json(client: httpx.AsyncClient) -> None:
    put = "/v1/templates/row"
    assert code(await client.put(put, json={"pipeline": ROW + "#" * 2**20})) == (413, "payload_too_large")
    assert code(await client.put(put, json={"pipeline": {**SHAPE, "title": "x" * 2**20}})) == (413, "payload_too_large")
    assert code(await client.put(put, json={**plain(), "sidecar": "#" + "é" * 2**19})) == (413, "payload_too_large")


async def test_bodies_that_are_no_pipeline(client: httpx.AsyncClient) -> None:
    put = "/v1/templates/row"
    untold = await client.put(put, content=ROW)
    assert code(untold) == (400, "invalid_request")
    assert "Content-Type: application/toml" in untold.json()["error"]["message"]
    assert code(await client.put(put, content="steps = [", headers=TOML)) == (422, "invalid_template")
    assert code(await client.put(put, content=b"\xff", headers=TOML)) == (422, "invalid_request")
    assert code(await client.put(put, content=b"#" * (2**20 + 1), headers=TOML)) == (413, "payload_too_large")
    assert code(await client.put(put, json={"pipeline": ROW, **plain()})) == (422, "invalid_request")
    assert code(await client.put(put, json={"title": "neither"})) == (422, "invalid_request")
    both = [("pipeline", ("row.pipeline.toml", ROW)), ("sidecar", ("row.toml", 'title = "x"'))]
    assert code(await client.put(put, files=both)) == (422, "invalid_request")
    assert code(await client.post("/v1/templates", content=ROW, headers=TOML)) == (422, "invalid_request")


async def test_it_is_there_after_a_restart_and_goes_on_while_a_step_lacks(tmp_path: Path) -> None:
    async with simulator.running() as worker:
        settings = Settings(  # pyright: ignore[reportCallIssue]
            port=0, data_dir=tmp_path / "data", workers=(worker.url,), look_for=None
        )
        async with app.running(settings) as gateway, httpx.AsyncClient(base_url=gateway.url, timeout=30) as client:
            assert (await client.put("/v1/templates/plain", json=plain())).status_code == 201
            made = await client.put("/v1/templates/row", content=ROW, headers=TOML)
            version = made.json()["version"]
            assert (await client.delete("/v1/templates/plain")).status_code == 204
        async with app.running(settings) as gateway, httpx.AsyncClient(base_url=gateway.url, timeout=30) as client:
            (broken,) = (await client.get("/v1/templates")).json()["broken"]
            assert (broken["name"], broken["serving"]) == ("row", version)
            assert "step first: There is no template" in broken["reason"]
            assert (await living.ran(client, "row"))["template_version"] == version
            assert (await client.put("/v1/templates/plain", json=plain(4))).status_code == 201
            listed = (await client.get("/v1/templates")).json()
            assert listed["broken"] == []
            assert living.named(listed["templates"], "row")["version"] != version  # pyright: ignore[reportOptionalSubscript]
