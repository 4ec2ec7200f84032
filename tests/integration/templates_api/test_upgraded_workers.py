"""A worker's ComfyUI is another version from now on: what the editor saved is converted again where that matters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import app, simulator
from gateway.settings import Settings
from tests.integration.templates_api import living

OLD, NEW = "0.3.64", "0.33.0"  # the newer one's ImageScaleToTotalPixels has a third widget, `resolution_steps`


def saved(*values: Any) -> dict[str, Any]:
    """The editor's file of a picture that is scaled; `values` are those of the scaling node's widgets."""
    made = living.saved(3)
    scaling = {
        "id": 3,
        "type": "ImageScaleToTotalPixels",
        "inputs": [{"name": "image", "type": "IMAGE", "link": 7}],
        "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [8]}],
        "widgets_values": list(values),
    }
    made["nodes"][1]["inputs"][0]["link"] = 8
    made["nodes"].append(scaling)
    made["links"] = [[7, 1, 0, 3, 0, "IMAGE"], [8, 3, 0, 2, 0, "IMAGE"]]
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "workflows"
    living.write(made, "scaled.json", saved("bilinear", 0.01))
    living.write(made, "torn.json", saved("bilinear", 0.01, "of another pack", 1))
    living.write(made, "plain.json", living.saved(1))
    return made


@pytest.fixture
async def port() -> int:
    async with simulator.running() as worker:
        taken = httpx.URL(worker.url).port
    assert taken is not None
    return taken


def version_of(listed: Any, name: str) -> str | None:
    found = living.named(listed["templates"], name)
    return None if found is None else found["version"]


async def test_what_the_editor_saved_follows_the_workers(folder: Path, tmp_path: Path, port: int) -> None:
    settings = Settings(  # pyright: ignore[reportCallIssue]
        port=0,
        data_dir=tmp_path / "data",
        look_for=None,
        workflows=(folder,),
        workers=(f"http://127.0.0.1:{port}",),
    )
    async with app.running(settings) as gateway, httpx.AsyncClient(base_url=gateway.url, timeout=30) as client:
        listed = living.asking(client, "/v1/templates")
        async with simulator.running(simulator.Options(port=port, version=OLD)):
            old = await living.until(listed, lambda answer: bool(version_of(answer, "scaled")))
            added = (await client.put("/v1/templates/added", json={"workflow": saved("bilinear", 0.01)})).json()
            assert (await living.ran(client, "added"))["status"] == "succeeded"

        async with simulator.running(simulator.Options(port=port, version=NEW)):
            new = await living.until(
                listed, lambda answer: version_of(answer, "scaled") != version_of(old, "scaled") and answer["broken"]
            )
            # The one that does not fit any more goes on as it was, and what has no part in the change stays.
            (torn,) = new["broken"]
            assert (torn["name"], torn["serving"]) == ("torn", version_of(old, "torn"))
            assert [fault["field"] for fault in torn["faults"]] == ["resolution_steps"]
            assert version_of(new, "torn") == version_of(old, "torn")
            assert version_of(new, "plain") == version_of(old, "plain")
            assert version_of(new, "added") not in {None, added["version"]}
            for name in ("scaled", "added"):
                assert (await living.ran(client, name))["status"] == "succeeded"
            refused = await client.post(f"/v1/templates/added@{added['version']}/jobs", json={})
            assert "The input 'resolution_steps' is required." in refused.json()["error"]["message"]
            versions = (await client.get("/v1/templates/added/versions")).json()["versions"]
            assert [each["origin"] for each in versions] == ["api", "api"]

    async with app.running(settings) as gateway, httpx.AsyncClient(base_url=gateway.url, timeout=30) as client:
        listed = living.asking(client, "/v1/templates")
        again = await listed()
        assert {name: version_of(again, name) for name in ("scaled", "added", "plain")} == {
            name: version_of(new, name) for name in ("scaled", "added", "plain")
        }
        async with simulator.running(simulator.Options(port=port, version=OLD)):
            back = await living.until(listed, lambda answer: version_of(answer, "scaled") == version_of(old, "scaled"))
            assert back["broken"] == []
            assert version_of(back, "added") == added["version"]
