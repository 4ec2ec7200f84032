"""`comfy-gateway templates test`: the shipped templates make what is stored; what differs, lacks or fails is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.acceptance.program import Running, call, up

WORKFLOWS = Path(__file__).parents[2] / "workflows"
SHIPPED = {
    ("compose", "oval"),
    ("contact-sheet", "four"),
    ("edit", "narrow"),
    ("edit", "soft"),
    ("postcard", "banner"),
    ("postcard", "defaults"),
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("gateway")
    with up(folder, "--simulate", "1", "--simulate-args", "--card instant") as running:
        running.workers("idle", 1)
        yield running
        running.stop()


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder in which somebody has a copy of a shipped template."""
    folder = tmp_path / "workflows"
    for part in ("edit.json", "edit.toml", "assets", "golden/edit"):
        source, target = WORKFLOWS / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    return folder


def told(folder: Path, *words: str, more: Mapping[str, str] | None = None, status: int = 0) -> dict[str, Any]:
    done = call(folder, "templates", "test", *words, "--json", more=more)
    assert done.returncode == status, done.stderr
    return {f"{each['template']} {each['example']}": each for each in json.loads(done.stdout)["examples"]}


@pytest.mark.slow
def test_shipped_templates_make_what_is_stored(tmp_path: Path) -> None:
    found = told(tmp_path, "--simulate", "--folder", str(WORKFLOWS))

    assert {(each["template"], each["example"]) for each in found.values()} >= SHIPPED
    assert {each["status"] for each in found.values()} == {"same"}
    assert list(tmp_path.iterdir()) == []


def test_what_differs_is_drawn(mine: Path, there: Mapping[str, str]) -> None:
    stored = mine / "golden" / "edit" / "narrow-01.png"
    with Image.open(stored) as picture:
        picture.convert("L").save(stored, pnginfo=None)
    about = (mine / "edit.toml").read_text().replace("width = 256, height", "width = 384, height")
    (mine / "edit.toml").write_text(about)

    found = told(mine.parent, "edit", "-o", "differ", more=there, status=1)

    assert found["edit soft"]["status"] == "same"
    narrow = found["edit narrow"]
    assert (narrow["status"], narrow["message"]) == ("different", "it is 384x384, and 256x384 was expected")
    assert narrow["differences"] == ["differ/edit-narrow-01.png"]
    with Image.open(mine.parent / "differ" / "edit-narrow-01.png") as sheet:
        assert sheet.width > 256 + 384


def test_a_tolerance_counts(mine: Path, there: Mapping[str, str]) -> None:
    about = (mine / "edit.toml").read_text().replace("amount = 0.8", "amount = 0.75")
    (mine / "edit.toml").write_text(about.replace('name = "soft"', 'name = "soft"\ntolerance = 0.1'))

    strict = told(mine.parent, "edit", more=there, status=1)["edit soft"]
    asked = told(mine.parent, "edit", "--tolerance", "3", more=there)["edit soft"]

    assert (strict["status"], strict["tolerance"], asked["status"]) == ("different", 0.1, "same")
    assert 0.1 < strict["distance"] == asked["distance"] < 3


def test_pictures_are_stored_and_those_too_many_go(mine: Path, there: Mapping[str, str]) -> None:
    folder = mine / "golden" / "edit"
    shutil.copy(folder / "soft-01.png", folder / "soft-02.png")
    (folder / "narrow-01.png").unlink()

    before = told(mine.parent, "edit", more=there, status=1)
    stored = told(mine.parent, "edit", "--update", more=there)

    assert before["edit soft"]["message"] == "it made 1 pictures, and 2 are stored"
    assert before["edit narrow"]["status"] == "not stored"
    assert {each["status"] for each in stored.values()} == {"stored"}
    assert sorted(path.name for path in folder.iterdir()) == ["narrow-01.png", "soft-01.png"]
    assert {each["status"] for each in told(mine.parent, more=there).values()} == {"same"}


def test_a_template_without_examples_has_its_defaults(tmp_path: Path, there: Mapping[str, str]) -> None:
    folder = tmp_path / "workflows"
    folder.mkdir()
    shutil.copy(WORKFLOWS / "sdxl-turbo.json", folder)

    assert told(tmp_path, "sdxl-turbo", "--update", more=there)["sdxl-turbo defaults"]["status"] == "stored"
    found = told(tmp_path, more=there)  # what has stored pictures has an example
    assert found["sdxl-turbo defaults"]["distance"] == 0


def test_a_pipelines_examples_are_run(tmp_path: Path, there: Mapping[str, str]) -> None:
    folder = tmp_path / "workflows"
    shutil.copytree(WORKFLOWS / "golden" / "postcard", folder / "golden" / "postcard")
    about = (WORKFLOWS / "postcard.pipeline.toml").read_text()
    (folder / "postcard.pipeline.toml").write_text(about.replace('tone = "multiply"', 'tone = "screen"'))

    found = told(tmp_path, more=there, status=1)

    assert {name: each["status"] for name, each in found.items() if name.startswith("postcard")} == {
        "postcard banner": "different",
        "postcard defaults": "same",
    }


def test_what_fails_is_told_and_does_not_stop_the_others(mine: Path, there: Mapping[str, str]) -> None:
    about = (mine / "edit.toml").read_text().replace("assets/hills.png", "assets/gone.png")
    (mine / "edit.toml").write_text(about)
    (mine / "broken.json").write_text("{")
    (mine / "broken.toml").write_text('title = "Broken"')

    found = told(mine.parent, "--folder", "workflows", more=there, status=1)

    assert {name: each["status"] for name, each in found.items()} == {
        "broken defaults": "failed",
        "edit narrow": "failed",
        "edit soft": "same",
    }
    assert "assets/gone.png" in found["edit narrow"]["message"]


def test_names_that_are_none(mine: Path, there: Mapping[str, str]) -> None:
    done = call(mine.parent, "templates", "test", "edti", more=there)

    assert done.returncode == 2
    assert "Did you mean 'edit'?" in done.stderr
