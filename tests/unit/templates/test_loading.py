"""Folders of templates: what is broken is told and does not stop the rest; and the library over them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters import template_folders, templates
from gateway.domain import errors
from gateway.domain.templates import describe, library

GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16


def write(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def sidecar(default_file: str) -> bytes:
    return f'[parameters.image]\ntype = "image"\ntarget = "1.image"\ndefault_file = "{default_file}"'.encode()


def test_broken_files_are_told_by_name_and_the_others_load(tmp_path: Path) -> None:
    write(tmp_path, "good.json", GRAPH)
    write(tmp_path, "with.json", GRAPH)
    write(tmp_path, "with.toml", sidecar("assets/a.png"))
    write(tmp_path, "assets/a.png", PNG)
    write(tmp_path, "notes.txt", b"not ours")
    write(tmp_path, "sub/deeper.json", GRAPH)  # folders are not searched
    broken = {
        "not-json": (b"{not json", "is not JSON"),
        "deep": (b"[" * 100_000, "nested too deeply"),
        "latin": ("{é".encode("latin-1"), "not UTF-8"),
        "list": (b"[]", "this is a list"),
        "empty": (b"{}", "no nodes"),
        "dangling": (b'{"1": {"class_type": "A", "inputs": {"x": ["2", 0]}}}', "Linked to node '2'"),
        "bad name": (json.dumps(GRAPH).encode(), "letters, digits"),
    }
    for name, (content, _reason) in broken.items():
        write(tmp_path, f"{name}.json", content)
    write(tmp_path, "saved.json", b'{"nodes": [], "links": []}')
    write(tmp_path, "nan.json", b'{"1": {"class_type": "A", "inputs": {"x": NaN}}}')  # as Python writes it
    write(tmp_path, "blank.png", PNG)
    broken["blank"] = (PNG, "blank.png, PNG chunk")
    write(tmp_path, "alone.toml", b'title = "x"')
    write(tmp_path, "bad-sidecar.json", GRAPH)
    write(tmp_path, "bad-sidecar.toml", b'titel = "x"')
    write(tmp_path, "not-utf8.json", GRAPH)
    write(tmp_path, "not-utf8.toml", b"\xff")
    write(tmp_path, "no-file.json", GRAPH)
    write(tmp_path, "no-file.toml", sidecar("assets/none.png"))
    write(tmp_path, "escapes.json", GRAPH)
    write(tmp_path, "escapes.toml", sidecar("../a.png"))
    write(tmp_path, "directory.json/x", b"")

    loaded = templates.load(tmp_path)

    assert [template.name for template in loaded.templates] == ["good", "nan", "with"]
    assert [item.name for item in loaded.waiting] == ["saved"]
    assert loaded.get("with").files == {"assets/a.png": PNG}
    reasons = {item.name: item.reason for item in loaded.broken}
    expected = {name: reason for name, (_content, reason) in broken.items()} | {
        "alone": "alone.json cannot be read: No such file",
        "bad-sidecar": "Did you mean 'title'?",
        "not-utf8": "not UTF-8",
        "no-file": "none.png cannot be read",
        "escapes": 'contains ".."',
        "directory": "cannot be read",
    }
    assert reasons.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in reasons[name], name
    assert next(item for item in loaded.broken if item.name == "dangling").faults[0].node == "1"


def test_files_have_a_limit(tmp_path: Path) -> None:
    path = write(tmp_path, "huge.json", b"{")
    os.truncate(path, templates.MAX_GRAPH_BYTES + 1)
    with pytest.raises(errors.TemplateError, match="larger than 50 MiB"):
        templates.load_template(path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="does not exist"):
        templates.load(tmp_path / "none")


def test_the_suffix_of_a_workflow_may_be_written_large(tmp_path: Path) -> None:
    write(tmp_path, "FOX.JSON", GRAPH)
    write(tmp_path, "FOX.toml", b'title = "Fox"')
    write(tmp_path, "owl.JSON", b"no workflow")
    write(tmp_path, "owl.json", GRAPH)
    found = templates.load(tmp_path)
    assert [(each.name, each.title) for each in found.templates] == [("FOX", "Fox"), ("owl", None)]
    assert not found.broken


def test_a_folder_that_cannot_be_looked_into_keeps_its_templates(tmp_path: Path) -> None:
    folder, aside = tmp_path / "workflows", tmp_path / "aside"
    write(folder, "fox.json", GRAPH)
    files = template_folders.TemplateFolders((folder,))
    first = files.look().own
    assert first.keys() == {"fox"}
    folder.rename(aside)
    folder.symlink_to(folder)  # a link to itself cannot be followed
    assert files.look().own == first
    folder.unlink()
    aside.rename(folder)
    assert files.look().own == first
    folder.rename(aside)
    assert files.look().own == {}


def test_the_library(tmp_path: Path) -> None:
    for name in ("sdxl", "sd15", "both"):
        write(tmp_path / "shipped", f"{name}.json", GRAPH)
    write(tmp_path / "own", "both.json", GRAPH)
    write(tmp_path / "own", "both.toml", b'title = "Mine"')
    write(tmp_path / "own", "sd15.json", b"{")
    whole = templates.load(tmp_path / "shipped").with_over(templates.load(tmp_path / "own"))

    assert [(template.name, template.title) for template in whole.templates] == [("both", "Mine"), ("sdxl", None)]
    assert whole.get("both").title == "Mine"
    with pytest.raises(
        errors.TemplateError, match="sd15"
    ):  # a broken file of one's own does not bring back the shipped
        whole.get("sd15")
    with pytest.raises(errors.NotFound, match="Did you mean sdxl") as caught:
        whole.get("sdxxl")
    assert caught.value.details == {"suggestions": ["sdxl"]}
    assert library.Library().with_over(whole) == whole


def test_what_is_told_of_a_template_is_json(tmp_path: Path) -> None:
    write(tmp_path, "t.json", GRAPH)
    template = templates.load(tmp_path).get("t")
    told = json.loads(json.dumps(describe.detail(template)))
    assert told["name"] == "t"
    assert told["parameters"][0]["targets"] == [{"node": "1", "input": "image"}]
    assert told["requirements"]["classes"] == ["LoadImage", "SaveImage"]
    assert told["schema"]["required"] == ["image"]
    assert describe.summary(template)["parameters"] == ["image"]
