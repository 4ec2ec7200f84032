"""`templates convert`: files on disk, a real worker to ask, and what is said when it cannot be done."""

from __future__ import annotations

import gzip
from pathlib import Path

import orjson
import pytest

from gateway import app, simulator
from gateway.cli import failures, output, template_convert
from gateway.domain import errors
from tests.unit.workflow import canvas

FILE = canvas.workflow(
    [
        canvas.node(1, "EmptyImage", [64, 32, 1, 255], outputs=["IMAGE"]),
        canvas.node(2, "SaveImage", ["mine"], inputs=[canvas.slot("images", 7)]),
        canvas.node(3, "Note", ["for you"]),
    ],
    [[7, 1, 0, 2, 0, "IMAGE"]],
)
GRAPH = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 32, "batch_size": 1, "color": 255},
        "_meta": {"title": "EmptyImage"},
    },
    "2": {
        "class_type": "SaveImage",
        "inputs": {"filename_prefix": "mine", "images": ["1", 0]},
        "_meta": {"title": "Save Image"},
    },
}
INFO = {
    "EmptyImage": {
        "input": {"required": {name: ["INT", {"default": 1}] for name in ("width", "height", "batch_size", "color")}},
        "output": ["IMAGE"],
        "display_name": "EmptyImage",
    },
    "SaveImage": {
        "input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {}]}},
        "output": [],
        "display_name": "Save Image",
    },
}


def written(path: Path, value: object) -> Path:
    """A JSON file."""
    data = orjson.dumps(value)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


async def convert(
    path: Path, *, object_info: Path | None = None, url: str = "http://127.0.0.1:9", allow: bool = False
) -> None:
    """The command, without its flags."""
    screen = output.Screen()
    await template_convert.convert(path, screen, object_info=object_info, place=(url, None), allow_unknown=allow)


@pytest.mark.parametrize("name", ["info.json", "info.json.gz"])
async def test_with_a_saved_object_info(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await convert(written(tmp_path / "w.json", FILE), object_info=written(tmp_path / name, INFO))
    assert orjson.loads(capsys.readouterr().out) == GRAPH


async def test_asking_a_worker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with simulator.running() as worker:
        await convert(written(tmp_path / "w.json", FILE), url=worker.url)
    made = orjson.loads(capsys.readouterr().out)
    assert {key: node["inputs"] for key, node in made.items()} == {key: node["inputs"] for key, node in GRAPH.items()}


async def test_asking_the_workers_of_a_gateway(
    gateway: app.Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "w.json", FILE)
    capsys.readouterr()
    await convert(file, url=gateway.url)
    printed = capsys.readouterr().out
    assert orjson.loads(printed[printed.index("{") :]).keys() == GRAPH.keys()


async def test_a_graph_is_printed_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await convert(written(tmp_path / "w.json", GRAPH))
    assert orjson.loads(capsys.readouterr().out) == GRAPH


async def test_unknown_classes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "w.json", FILE)
    info = written(tmp_path / "info.json", {"SaveImage": INFO["SaveImage"]})
    with pytest.raises(errors.InvalidWorkflow, match="EmptyImage"):
        await convert(path, object_info=info)
    await convert(path, object_info=info, allow=True)
    told = capsys.readouterr()
    assert "EmptyImage" in told.err
    assert orjson.loads(told.out).keys() == {"1", "2"}


async def test_a_damaged_object_info_is_said(tmp_path: Path) -> None:
    path, info = written(tmp_path / "w.json", FILE), written(tmp_path / "info.json.gz", INFO)
    data = bytearray(info.read_bytes())
    data[12:20] = bytes(8)
    info.write_bytes(data)
    with pytest.raises(failures.Wrong, match="cannot be read"):
        await convert(path, object_info=info)


async def test_what_is_missing_is_said(tmp_path: Path) -> None:
    path = written(tmp_path / "w.json", FILE)
    with pytest.raises(failures.Unreachable, match="no gateway at") as told:
        await convert(path)
    assert told.value.way_out is not None
    assert "--object-info" in told.value.way_out
    with pytest.raises(failures.Wrong, match="cannot be read"):
        await convert(tmp_path / "none.json")
    with pytest.raises(failures.Wrong, match="not what a ComfyUI answers"):
        await convert(path, object_info=written(tmp_path / "info.json", [1]))
    with pytest.raises(failures.Wrong, match="cannot be read"):
        await convert(path, object_info=tmp_path / "none.json")
    with pytest.raises(failures.Wrong):
        await convert(path, url="not a url")
