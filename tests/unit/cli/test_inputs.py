"""From words to inputs."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import failures, inputs
from gateway.domain.templates import model as templates
from gateway.domain.templates import values

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def parameter(name: str, kind: str, **more: Any) -> templates.Parameter:
    return templates.Parameter(
        name=name, type=templates.ParameterType(kind), targets=(templates.Target("1", name),), **more
    )


PARAMETERS = (
    parameter("prompt", "string", required=True),
    parameter("steps", "integer", minimum=1, maximum=50),
    parameter("cfg", "float"),
    parameter("seed", "seed"),
    parameter("hires", "boolean"),
    parameter("sampler", "choice", choices=("euler", "heun")),
    parameter("image", "image"),
    parameter("lora", "model"),
)


def read(*words: str, stdin: bytes = b"") -> dict[str, Any]:
    return inputs.from_words(words, PARAMETERS, piped=stdin)


def faults(*words: str, stdin: bytes = b"") -> set[tuple[str | None, str]]:
    with pytest.raises(failures.Wrong) as caught:
        read(*words, stdin=stdin)
    return {(fault.parameter, fault.reason) for fault in caught.value.faults}


def test_words_get_their_parameters_types() -> None:
    words = ("prompt=a = b, 7", "steps=7", "cfg=1.5", "seed=-1", "hires=yes", "sampler=heun", "lora=x.safetensors")
    assert read(*words) == {
        "prompt": "a = b, 7",
        "steps": 7,
        "cfg": 1.5,
        "seed": -1,
        "hires": True,
        "sampler": "heun",
        "lora": "x.safetensors",
    }


def test_text_comes_from_files_and_from_stdin(tmp_path: Path) -> None:
    (tmp_path / "fox.txt").write_text("a red fox\nin snow\n")
    assert read(f"prompt=@{tmp_path}/fox.txt") == {"prompt": "a red fox\nin snow"}
    assert read("prompt=-", stdin="größer\n".encode()) == {"prompt": "größer"}
    assert read("prompt=@@home") == {"prompt": "@home"}


def test_file_values(tmp_path: Path) -> None:
    path = tmp_path / "fox.png"
    path.write_bytes(PNG)
    asset = "01a1fde9-37cb-72d1-b2e9-51d7b311338d"
    assert read("prompt=x", f"image={path}")["image"] == inputs.Upload(path)
    assert read("prompt=x", f"image=@{path}")["image"] == inputs.Upload(path)
    assert read("prompt=x", f"image={asset}")["image"] == asset
    assert read("prompt=x", "image=asset:a/fox.png")["image"] == "a/fox.png"
    assert read("prompt=x", "image=-", stdin=PNG)["image"].startswith("data:image/png;base64,")


def test_all_that_is_wrong_comes_at_once() -> None:
    assert faults("promt=x", "seed", "image=nofile.png", "steps=99", "steps=1", "cfg=much") == {
        ("promt", "unknown_parameter"),
        (None, "not_a_value"),
        ("image", "no_such_file"),
        ("steps", "given_twice"),
        ("cfg", "wrong_type"),
        ("prompt", "missing_input"),
    }


def test_what_stdin_cannot_be() -> None:
    assert faults("prompt=-", "image=-", stdin=b"\xff") >= {(None, "stdin_twice"), ("prompt", "not_text")}
    assert faults("prompt=x", "image=-", stdin=b"no picture at all") == {("image", "not_image")}
    assert faults("prompt=x", "image=-") == {("image", "empty")}


def test_stdin_that_was_the_workflow_is_no_value_too() -> None:
    with pytest.raises(failures.Wrong) as caught:
        inputs.from_words(["prompt=-"], PARAMETERS, taken=True)
    assert [fault.reason for fault in caught.value.faults] == ["stdin_twice"]


@pytest.mark.parametrize("name", ["~nosuchuser/x.png", "x" * 400, "a\0b.png", "none.png"])
def test_names_that_no_file_has(name: str) -> None:
    assert faults("prompt=x", f"image={name}") == {("image", "no_such_file")}


def test_near_misses_are_suggested() -> None:
    with pytest.raises(failures.Wrong) as caught:
        read("promt=x", "prompt=y")
    assert caught.value.faults[0].message == "There is no such parameter. Did you mean prompt?"


def test_absent_values_and_drawn_seeds_pass_the_check() -> None:
    inputs.check(PARAMETERS[3], -1)
    inputs.check(PARAMETERS[0], None)
    with pytest.raises(values.Refused):
        inputs.check(PARAMETERS[1], 0)


@pytest.mark.parametrize("name", ["photo.png", "a b.png"])
def test_a_good_name_is_kept(name: str) -> None:
    assert inputs.upload_name(Path("somewhere") / name) == name


@pytest.mark.parametrize("name", ["größe.png", "a\nb.png", "c:d.png", "x\\y.png", f"{'x' * 300}.png"])
def test_an_odd_name_becomes_a_plain_one(name: str) -> None:
    plain = inputs.upload_name(Path(name))
    assert plain.endswith(".png")
    assert plain.isascii()
    assert len(plain) < 30
    assert plain == inputs.upload_name(Path("elsewhere") / name)
