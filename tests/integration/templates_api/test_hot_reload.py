"""Files in `workflows/` that change while the gateway runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import app, simulator
from gateway.settings import Settings
from tests.conftest import Start
from tests.integration.templates_api import living

TITLED = '[parameters.color]\ntype = "integer"\ntarget = "1.color"\ntitle = "{title}"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "workflows"
    made.mkdir()
    return made


def client_of(gateway: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=gateway.url, timeout=30)


async def test_files_that_come_change_and_go(start_gateway: Start, folder: Path) -> None:
    gateway = await start_gateway(workers=1, workflows=(folder,))
    async with client_of(gateway) as client:
        template = living.asking(client, "/v1/templates/fox")
        living.write(folder, "fox.json", living.graph(1))
        first = await living.until(template, lambda answer: "version" in answer)
        assert (first["origin"], first["runnable"], first["inferred"]) == ("file", True, True)
        assert (await living.ran(client, "fox"))["template_version"] == first["version"]

        living.write(folder, "fox.toml", TITLED.format(title="Hue"))
        second = await living.until(template, lambda answer: answer["version"] != first["version"])
        assert [item["title"] for item in second["parameters"]] == ["Hue"]

        living.write(folder, "fox.tmp", living.graph(2)).replace(folder / "fox.json")
        third = await living.until(template, lambda answer: answer["version"] != second["version"])
        assert third["parameters"][0]["default"] == 2

        (folder / "fox.json").unlink()
        (folder / "fox.toml").unlink()
        gone = await living.until(template, lambda answer: "error" in answer)
        assert gone["error"]["code"] == "not_found"
        old = await living.ran(client, f"fox@{first['version'][:8]}")  # what was there can still be called
        assert (old["template"], old["template_version"]) == ("fox", first["version"])


async def test_a_broken_file_leaves_the_last_good_version(
    start_gateway: Start, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    living.write(folder, "fox.json", living.graph(1))
    gateway = await start_gateway(workers=1, workflows=(folder,))
    async with client_of(gateway) as client:
        good = (await client.get("/v1/templates/fox")).json()["version"]
        living.write(folder, "fox.toml", "[parameters.wdith]\n")
        answer = await living.until(living.asking(client, "/v1/templates"), lambda answer: bool(answer["broken"]))
        (broken,) = answer["broken"]
        assert (broken["name"], broken["source"], broken["serving"]) == ("fox", "fox.json", good)
        assert "parameters.wdith.type" in broken["reason"]
        assert (await living.ran(client, "fox"))["template_version"] == good
        (folder / "fox.toml").unlink()
        await living.until(living.asking(client, "/v1/templates"), lambda answer: not answer["broken"])
        lines = capsys.readouterr().out.splitlines()
        assert not [line for line in lines if "template_changed" in line and good in line]  # it is what it was


async def test_the_folder_of_this_place_may_come_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {"port": 0, "data_dir": tmp_path / "data", "look_for": None}
    async with app.running(Settings(**given)) as gateway, client_of(gateway) as client:
        assert (await client.get("/v1/templates/fox")).status_code == 404
        living.write(tmp_path / "workflows", "fox.json", living.graph(1))
        await living.until(living.asking(client, "/v1/templates/fox"), lambda answer: "version" in answer)


async def test_the_last_good_version_outlives_a_restart(folder: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"port": 0, "data_dir": tmp_path / "data", "look_for": None, "workflows": (folder,)}
    settings = Settings(**given)
    living.write(folder, "fox.json", living.graph(1))
    async with app.running(settings) as gateway, client_of(gateway) as client:
        good = (await client.get("/v1/templates/fox")).json()["version"]
    living.write(folder, "fox.json", "{")
    async with app.running(settings) as gateway, client_of(gateway) as client:
        assert (await client.get("/v1/templates/fox")).json()["version"] == good
        (broken,) = (await client.get("/v1/templates")).json()["broken"]
        assert broken["serving"] == good


async def test_what_the_editor_saved_waits_for_a_worker_and_is_kept(start_gateway: Start, folder: Path) -> None:
    living.write(folder, "early.json", living.saved(1))
    living.write(folder, "strange.json", living.saved(1, kind="NodeOfNobody"))
    alone = await start_gateway(workers=0, workflows=(folder,))
    async with client_of(alone) as client:
        waiting = (await client.get("/v1/templates")).json()["waiting"]
        assert [item["name"] for item in waiting] == ["early", "strange"]
        assert "no worker is known" in waiting[0]["reason"]
        for answer in (await client.get("/v1/templates/early"), await client.post("/v1/templates/early/jobs", json={})):
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "template_waiting")
            assert "Export (API)" in answer.json()["error"]["message"]
            assert answer.headers["retry-after"] == "10"

    known = await start_gateway(workers=1, workflows=(folder,), data_dir=folder.parent / "known")
    async with client_of(known) as client:
        await living.until(living.asking(client, "/v1/templates/early"), lambda answer: "version" in answer)
        assert (await living.ran(client, "early"))["status"] == "succeeded"
        strange = await living.until(
            living.asking(client, "/v1/templates"), lambda answer: bool(answer["waiting"][0]["faults"])
        )
        (waits,) = strange["waiting"]
        assert [(fault["reason"], fault["class_type"]) for fault in waits["faults"]] == [
            ("missing_node_type", "NodeOfNobody")
        ]
        refused = await client.post("/v1/templates/strange/jobs", json={})
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_template")


async def test_a_conversion_is_kept_for_a_life_without_workers(folder: Path, tmp_path: Path) -> None:
    living.write(folder, "early.json", living.saved(1))
    given: dict[str, Any] = {"port": 0, "data_dir": tmp_path / "data", "look_for": None, "workflows": (folder,)}
    async with (
        simulator.running() as worker,
        app.running(Settings(**given, workers=(worker.url,))) as gateway,
        client_of(gateway) as client,
    ):
        ask = living.asking(client, "/v1/templates/early")
        version = (await living.until(ask, lambda answer: "version" in answer))["version"]
    async with app.running(Settings(**given)) as gateway, client_of(gateway) as client:
        assert (await client.get("/v1/templates/early")).json()["version"] == version


async def test_a_picture_that_carries_a_workflow_is_a_template(start_gateway: Start, folder: Path) -> None:
    living.write(folder, "dropped.png", living.picture(prompt=living.graph(5)))
    living.write(folder, "edited.png", living.picture(workflow=living.saved(6)))
    living.write(folder, "blank.png", living.picture())
    living.write(folder, "sketch.png", living.picture(prompt=living.graph(7)))
    living.write(folder, "both.json", living.graph(8))
    living.write(folder, "both.png", living.picture(prompt=living.graph(9)))
    loading = {**living.graph(), "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}
    living.write(folder, "draw.json", loading)
    shown = '[parameters.image]\ntype = "image"\ntarget = "1.image"\ndefault_file = "sketch.png"\n'
    living.write(folder, "draw.toml", shown)
    gateway = await start_gateway(workers=1, workflows=(folder,))
    async with client_of(gateway) as client:
        answer = await living.until(living.asking(client, "/v1/templates"), lambda answer: not answer["waiting"])
        own = {"both", "draw", "dropped", "edited", "sketch"} & {item["name"] for item in answer["templates"]}
        assert own == {"both", "draw", "dropped", "edited"}  # a default file is no template
        (blank,) = answer["broken"]
        assert (blank["name"], blank["source"]) == ("blank", "blank.png")
        assert "without a workflow" in blank["reason"]
        for name in ("dropped", "edited", "both"):
            assert (await living.ran(client, name))["status"] == "succeeded"


async def test_a_workflow_and_its_sidecar_are_taken_together(start_gateway: Start, folder: Path) -> None:
    """Whatever is seen of two files that are saved one after the other, no answer mixes old and new."""
    living.write(folder, "fox.json", living.graph(1))
    gateway = await start_gateway(workers=0, workflows=(folder,))
    async with client_of(gateway) as client:
        seen: list[tuple[Any, ...]] = []

        async def ask() -> Any:
            answer = (await client.get("/v1/templates/fox")).json()
            seen.append(tuple((item["title"], item["default"]) for item in answer["parameters"]))
            return answer

        before = await ask()
        living.write(folder, "fox.json", living.graph(2))
        living.write(folder, "fox.toml", TITLED.format(title="Hue"))
        await living.until(ask, lambda answer: answer["version"] != before["version"])
        assert len(set(seen)) == 2
        assert seen[-1] == (("Hue", 2),)


async def test_a_file_whose_name_is_no_text_is_told_as_well_as_it_can(start_gateway: Start, folder: Path) -> None:
    living.write(folder, os.fsdecode(b"fox\xff.json"), {})
    gateway = await start_gateway(workflows=(folder,))
    async with client_of(gateway) as client:
        answer = await client.get("/v1/templates")
        assert answer.status_code == 200, answer.text
        (broken,) = answer.json()["broken"]
        assert broken["name"] == r"fox\udcff"
