"""Versions of pipelines: each stands for the versions of its steps' templates, too."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway import app
from tests.conftest import Start

EMPTY = {"width": 8, "batch_size": 1, "color": 0}
GRAPH = {
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}
PIPELINE = """
[inputs]
width = "first.width"

[[steps]]
name = "first"
template = "{}"

[[steps]]
name = "web"
finish = {{ format = "png" }}
of = "first"
"""


def write(folder: Path, *, height: int, step: str = "plain") -> None:
    """The pipeline `row`, and the template of its step, of which the height tells the version."""
    folder.mkdir(exist_ok=True)
    graph = {**GRAPH, "1": {"class_type": "EmptyImage", "inputs": {**EMPTY, "height": height}}}
    (folder / "plain.json").write_text(json.dumps(graph))
    (folder / "plain.toml").write_text('[parameters.width]\ntype = "integer"\ntarget = "1.width"\n')
    (folder / "row.pipeline.toml").write_text(PIPELINE.format(step))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "workflows"


async def ordered(session: aiohttp.ClientSession, gateway: app.Gateway, name: str) -> dict[str, Any]:
    """The job of an order, ended, and the version of the template of its first step."""
    url = f"{gateway.url}/v1/templates/{name}/jobs"
    async with session.post(url, json={"inputs": {"width": 16}}, headers={"Prefer": "wait=60"}) as answer:
        job: dict[str, Any] = await answer.json()
    assert job.get("status") == "succeeded", job
    steps = await gateway.parts.store.pipelines.steps(job["id"])
    return {**job, "ran": steps["first"].template_version}


async def renewed(gateway: app.Gateway, was: str) -> None:
    """Wait until the step's template is another one."""
    shelf = gateway.parts.templates
    async with asyncio.timeout(30):
        while (await shelf.find("plain@latest")).version == was:
            await asyncio.sleep(0.05)
    await shelf.refresh()


async def test_an_old_version_runs_what_it_ran_and_can_be_gone_back_to(start_gateway: Start, folder: Path) -> None:
    write(folder, height=8)
    gateway = await start_gateway(workers=1, workflows=(folder,))
    async with aiohttp.ClientSession() as session:
        old = await ordered(session, gateway, "row")
        write(folder, height=24)
        await renewed(gateway, old["ran"])
        new = await ordered(session, gateway, "row")
        assert (old["template_version"] != new["template_version"], old["ran"] != new["ran"]) == (True, True)

        again = await ordered(session, gateway, f"row@{old['template_version']}")
        assert (again["template_version"], again["ran"]) == (old["template_version"], old["ran"])

        alias = f"{gateway.url}/v1/templates/row/aliases/stable"
        async with session.put(alias, json={"version": old["template_version"]}) as answer:
            assert answer.status == 200, await answer.text()
        again = await ordered(session, gateway, "row")
        assert (again["template_version"], again["ran"]) == (old["template_version"], old["ran"])

        async with session.post(f"{gateway.url}/v1/jobs/{old['id']}/retry") as answer:
            assert (answer.status, (await answer.json())["template_version"]) == (201, old["template_version"])


async def test_a_step_means_the_version_that_its_name_means(start_gateway: Start, folder: Path) -> None:
    write(folder, height=8, step="plain@beta")
    gateway = await start_gateway(workers=1, workflows=(folder,))
    shelf = gateway.parts.templates
    (broken,) = (each for each in shelf.library().broken if each.name == "row")
    assert "plain has no version or alias beta" in broken.reason
    async with aiohttp.ClientSession() as session:
        first = (await shelf.find("plain")).version
        async with session.put(f"{gateway.url}/v1/templates/plain/aliases/beta", json={"version": first}) as answer:
            assert answer.status == 200, await answer.text()
        await shelf.refresh()
        before = await ordered(session, gateway, "row")
        write(folder, height=24, step="plain@beta")
        await renewed(gateway, first)
        after = await ordered(session, gateway, "row")
        assert (after["template_version"], after["ran"]) == (before["template_version"], first)
