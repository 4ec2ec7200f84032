"""What saved files are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.cli import client, failures, files, shapes

ID = "01a1fde9-37cb-72d1-b2e9-51d7b311338d"


def job(*outputs: dict[str, Any], **more: Any) -> shapes.Job:
    raw = [{"id": f"a{number}", "type": "image", **each} for number, each in enumerate(outputs)]
    return shapes.Job.of({"id": ID, "status": "succeeded", "outputs": raw, **more})


def test_stems() -> None:
    assert files.stem("sdxl", job(), 7) == "sdxl-7"
    assert files.stem("sdxl", job(), None) == "sdxl-b311338d"
    assert files.stem("my flow (1)", job(), None) == "my-flow-1-b311338d"
    assert files.stem("../..", job(), "../x") == "job-x"


@pytest.mark.parametrize(
    ("output", "suffix"),
    [
        ({"name": "a.PNG", "content_type": "image/png"}, ".png"),
        ({"name": "a", "content_type": "image/webp"}, ".webp"),
        ({"name": "a./../x", "content_type": "video/mp4"}, ".mp4"),
        ({"name": "", "content_type": "text/plain; charset=utf-8", "type": "text"}, ".txt"),
        ({"name": "x", "content_type": "application/x-who-knows"}, ".bin"),
    ],
)
def test_suffixes(output: dict[str, Any], suffix: str) -> None:
    assert files.suffix(job(output).outputs[0]) == suffix


async def content(request: web.Request) -> web.Response:
    if request.match_info["id"] == "gone":
        return web.json_response({"error": {"code": "output_unavailable", "message": "gone"}}, status=404)
    return web.Response(body=request.match_info["id"].encode())


@pytest.fixture
async def gateway(aiohttp_app: Any) -> Any:
    app = web.Application()
    app.router.add_get("/api/v2/assets/{id}/content", content)
    async with client.connect(await aiohttp_app(app)) as found:
        yield found


async def test_nothing_is_overwritten(gateway: client.Gateway, tmp_path: Path) -> None:
    two = job({"name": "x.png"}, {"name": "y.txt"})
    (tmp_path / "sdxl-7-1.png").write_text("mine")
    first = await files.save(gateway, two, tmp_path, "sdxl-7")
    second = await files.save(gateway, two, tmp_path, "sdxl-7")
    assert [path.name for path in first] == ["sdxl-7-1-2.png", "sdxl-7-2.txt"]
    assert [path.name for path in second] == ["sdxl-7-1-3.png", "sdxl-7-2-2.txt"]
    assert (tmp_path / "sdxl-7-1.png").read_text() == "mine"
    assert first[1].read_text() == "a1"
    assert len(list(tmp_path.iterdir())) == 5  # nothing half done is left


async def test_unless_asked_for(gateway: client.Gateway, tmp_path: Path) -> None:
    for _ in range(2):
        await files.save(gateway, job({"name": "x.png"}), tmp_path, "sdxl-7", replace=True)
    assert [each.name for each in tmp_path.iterdir()] == ["sdxl-7-1.png"]


async def test_a_file_that_cannot_be_had_leaves_nothing(gateway: client.Gateway, tmp_path: Path) -> None:
    with pytest.raises(failures.Refused, match="gone"):
        await files.save(gateway, job({"id": "gone", "name": "x.png"}), tmp_path, "sdxl-7")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(failures.Wrong):
        files.usable_folder(tmp_path / "file" / "out")
