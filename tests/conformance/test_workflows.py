"""The workflows that ship run on the simulator, whatever card it plays."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from tests.conformance.living import Client, living

WORKFLOWS = sorted((Path(__file__).parents[2] / "workflows").glob("*.json"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
async def test_workflow(path: Path) -> None:
    """Its pictures are there, and the same when it is run again elsewhere."""
    prompt: dict[str, Any] = json.loads(path.read_text())
    made = [await _pictures(prompt, name) for name in ("one", "two")]
    assert made[0]
    assert made[0] == made[1]


async def _pictures(prompt: dict[str, Any], name: str) -> list[bytes]:
    async with living(name=name, node_packs=frozenset({"ipadapter"})) as (_, client):
        await _upload_inputs(client, prompt)
        record = await client.run(_smaller(prompt))
        assert record["status"]["status_str"] == "success", record["status"]
        items = [item for shown in record["outputs"].values() for item in shown["images"]]
        return [await client.bytes_of(item) for item in items]


def _smaller(prompt: dict[str, Any]) -> dict[str, Any]:
    """Make latents small, so that drawing is quick."""
    small = json.loads(json.dumps(prompt))
    for node in small.values():
        if node["class_type"].startswith("Empty") and "width" in node["inputs"]:
            node["inputs"] |= {"width": 128, "height": 128}
    return small


async def _upload_inputs(client: Client, prompt: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (96, 64), (200, 120, 40, 200)).save(buffer, "PNG")
    for node in prompt.values():
        if node["class_type"] in ("LoadImage", "LoadImageMask"):
            form = aiohttp.FormData()
            form.add_field("image", buffer.getvalue(), filename=node["inputs"]["image"])
            async with client.session.post(f"{client.url}/upload/image", data=form) as answer:
                assert answer.status == 200
