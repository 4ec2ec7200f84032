"""What a workflow says about files: references, names of uploads, and what is neither."""

from __future__ import annotations

from typing import Any

import httpx

from gateway.domain.comfy import object_info
from tests.integration.assets import made as kit
from tests.integration.templates_api.conftest import Site

RED = kit.picture("red")
GONE = "0198c3b2-7d1e-7c3a-9a55-2f6d1b0c4e11"


def reference(asset_id: str) -> dict[str, Any]:
    return {"__type": "core/ASSET", "info": {"id": asset_id, "hash": "blake3:whatever", "file_path": "x.png"}}


def workflow(*images: Any) -> dict[str, Any]:
    """One loader and one output for each image."""
    nodes: dict[str, Any] = {}
    for index, image in enumerate(images):
        nodes[f"l{index}"] = {"class_type": "LoadImage", "inputs": {"image": image}}
        inputs = {"images": [f"l{index}", 0], "filename_prefix": "x"}
        nodes[f"s{index}"] = {"class_type": "SaveImage", "inputs": inputs}
    return nodes


async def submit(site: Site, graph: dict[str, Any], **more: Any) -> httpx.Response:
    return await site.alice.post("/api/v2/jobs", json={"workflow": graph, **more})


async def test_references_stay_references(site: Site) -> None:
    asset_id = await site.upload(RED)
    answer = await submit(site, workflow(reference(asset_id)))
    assert answer.status_code == 201, answer.text
    assert (await site.graph(answer.json()))["l0"]["inputs"]["image"] == reference(asset_id)


async def test_a_name_that_was_uploaded_becomes_a_reference_to_the_newest(site: Site) -> None:
    await site.upload(kit.picture("blue"), path="shots/a.png")
    newest = await site.upload(RED, path="shots/a.png")
    answer = await submit(site, workflow("shots/a.png", "example.png"))
    graph = await site.graph(answer.json())
    assert graph["l0"]["inputs"]["image"] == {"__type": "core/ASSET", "info": {"id": newest}}
    assert graph["l1"]["inputs"]["image"] == "example.png"
    assert (await site.alice.delete(f"/api/v2/assets/{newest}")).json()["error"]["code"] == "asset_in_use"


async def test_only_fields_that_name_files_are_looked_at(site: Site) -> None:
    await site.upload(RED, path="a fox")
    graph = workflow("example.png") | {"p": {"class_type": "PreviewAny", "inputs": {"source": "a fox"}}}
    answer = await submit(site, graph)
    assert (await site.graph(answer.json()))["p"]["inputs"]["source"] == "a fox"


async def test_fields_that_only_a_worker_knows_are_looked_at_too(site: Site) -> None:
    upload = {"input": {"required": {"pic": [["a.png"], {"image_upload": True}]}}, "output": [], "output_node": True}
    site.made.known.catalogs = (object_info.NodeCatalog.parse({"PackLoader": upload}),)
    asset_id = await site.upload(RED, path="mine.png")
    answer = await submit(site, {"1": {"class_type": "PackLoader", "inputs": {"pic": "mine.png"}}})
    assert (await site.graph(answer.json()))["1"]["inputs"]["pic"]["info"]["id"] == asset_id
    refused = await submit(site, {"1": {"class_type": "PackLoader", "inputs": {"pic": "../mine.png"}}})
    assert refused.json()["error"]["details"]["node_errors"]["1"][0]["reason"] == "invalid_file_name"


async def test_missing_references_are_all_told_with_their_places(site: Site) -> None:
    foreign = await site.upload(RED, client=site.bob)
    answer = await submit(site, workflow(reference(GONE), reference(foreign), reference("x" * 300), reference(GONE)))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "missing_asset")
    assert error["details"]["missing_ids"] == [GONE, foreign, "x" * 300]
    assert [(fault["node"], fault["field"]) for fault in error["details"]["faults"]] == [
        (f"l{index}", "image") for index in range(4)
    ]


async def test_an_expired_asset_is_missing(site: Site) -> None:
    asset_id = await site.upload(RED)
    site.made.clock.ahead = 3601
    assert (await submit(site, workflow(reference(asset_id)))).json()["error"]["code"] == "missing_asset"
    answer = await submit(site, workflow("photo.png"))
    assert (await site.graph(answer.json()))["l0"]["inputs"]["image"] == "photo.png"


MALFORMED: list[Any] = [
    {"__type": "core/ASSET"},
    {"__type": "core/ASSET", "info": None},
    {"__type": "core/ASSET", "info": {}},
    {"__type": "core/ASSET", "info": {"id": None}},
    {"__type": "core/ASSET", "info": {"id": ""}},
    {"__type": "core/ASSET", "info": []},
]


async def test_malformed_references_are_missing_assets(site: Site) -> None:
    for broken in MALFORMED:
        answer = await submit(site, workflow(broken))
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "missing_asset"), broken


LEAVING_NAMES: list[str] = [
    "../x.png",
    "/etc/passwd",
    "C:/x.png",
    "a/../../x",
    "..\\x.png",
    "x\0.png",
]


async def test_names_that_leave_the_input_folder_are_refused(site: Site) -> None:
    for name in LEAVING_NAMES:
        answer = await submit(site, workflow(name))
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_workflow"), name


async def test_many_references_are_resolved_at_once(site: Site) -> None:
    ids = [await site.upload(kit.picture("red", size=(8, 6 + index)), path=f"{index}.png") for index in range(30)]
    answer = await submit(site, workflow(*(reference(asset_id) for asset_id in ids)))
    assert answer.status_code == 201


async def test_pictures_that_would_fill_a_workers_memory_are_refused(site: Site) -> None:
    bomb = await site.upload(kit.png(60000, 60000, b""), path="bomb.png")
    frames = await site.upload(kit.animation(400, size=(900, 900)), path="frames.gif")
    graph = workflow(reference(bomb), "bomb.png", reference(frames))
    graph["l2"]["class_type"] = "LoadImageMask"
    answer = await submit(site, graph)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_workflow")
    faults = answer.json()["error"]["details"]["faults"]
    assert {(fault["node"], fault["field"], fault["reason"]) for fault in faults} == {
        (f"l{index}", "image", "image_too_large") for index in range(3)
    }


async def test_what_we_cannot_open_is_left_to_the_worker(site: Site) -> None:
    """Workers know more kinds of pictures than we do, and tell well what they do not know."""
    odd = await site.upload(b"a picture of tomorrow's format", path="odd.hxr")
    torn = await site.upload(RED[:40], path="torn.png")
    fine = await site.upload(RED, path="fine.png")
    assert (await submit(site, workflow(*(reference(each) for each in (odd, torn, fine))))).status_code == 201


async def test_other_files_are_not_looked_at_as_pictures(site: Site) -> None:
    bomb = await site.upload(kit.png(60000, 60000, b""), path="bomb.png")
    graph = workflow("example.png") | {"a": {"class_type": "LoadAudio", "inputs": {"audio": reference(bomb)}}}
    assert (await submit(site, graph)).status_code == 201
