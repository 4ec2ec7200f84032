"""Batch files: JSON Lines and CSV."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli import failures, manifest


def lines(tmp_path: Path, name: str, text: str, template: str | None = "sdxl") -> list[manifest.Line]:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return manifest.read(path, template)


def refused(tmp_path: Path, name: str, text: str, template: str | None = "sdxl") -> failures.Wrong:
    with pytest.raises(failures.Wrong) as caught:
        lines(tmp_path, name, text, template)
    return caught.value


def test_json_lines_in_both_forms(tmp_path: Path) -> None:
    about = '"metadata": {"who": "me"}, "priority": 3'
    text = '{"prompt": "a", "seed": 1}\n\n{"template": "edit", "inputs": {"tone": "x"}, ' + about + "}"
    short, long = lines(tmp_path, "a.jsonl", text)
    assert (short.number, short.template, short.inputs, short.texts) == (1, "sdxl", {"prompt": "a", "seed": 1}, False)
    assert (long.number, long.template, long.inputs) == (3, "edit", {"tone": "x"})
    assert (long.metadata, long.priority) == ({"who": "me"}, 3)
    assert short.priority is None
    assert manifest.read(tmp_path / "a.jsonl", "sdxl")[1].as_dict() == {
        "template": "edit",
        "inputs": {"tone": "x"},
        "metadata": {"who": "me"},
        "priority": 3,
    }


def test_the_short_form_may_name_a_template(tmp_path: Path) -> None:
    first, second = lines(tmp_path, "a.jsonl", '{"template": "edit", "tone": "x"}\n{"tone": "y"}')
    assert (first.template, first.inputs) == ("edit", {"tone": "x"})
    assert (second.template, second.inputs) == ("sdxl", {"tone": "y"})
    assert lines(tmp_path, "b.jsonl", '{"template": "edit", "inputs": {"tone": "x"}}')[0].key == first.key
    assert "--template" in refused(tmp_path, "a.jsonl", '{"template": 7, "tone": "x"}').message


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, "a.csv", f"prompt\n{'x' * (1 << 18)}\n")
    assert len(line.inputs["prompt"]) == 1 << 18


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_with_a_header(tmp_path: Path, delimiter: str) -> None:
    text = '\ufeffprompt|template|seed\r\n"a fox, red\nin snow"|edit|7\r\n\r\nb||\r\n'.replace("|", delimiter)
    first, second = lines(tmp_path, "a.csv", text)
    assert (first.template, first.inputs, first.texts) == ("edit", {"prompt": "a fox, red\nin snow", "seed": "7"}, True)
    assert (second.template, second.inputs) == ("sdxl", {"prompt": "b"})


def test_keys_are_of_the_content(tmp_path: Path) -> None:
    one = lines(tmp_path, "a.csv", "prompt,seed\nx,1\ny,2\nx,1\n")
    moved = lines(tmp_path, "b.csv", "seed,prompt\n2,y\n1,x\n1,x\n3,z\n")
    assert len({line.key for line in one}) == 3
    assert {line.key for line in one} < {line.key for line in moved}
    assert lines(tmp_path, "c.csv", "prompt,seed\nx,1\n", "sd15")[0].key not in {line.key for line in one}


def test_a_priority_of_nothing_is_said_but_makes_no_other_order(tmp_path: Path) -> None:
    said, not_said = lines(tmp_path, "a.jsonl", '{"inputs": {"seed": 1}, "priority": 0}\n{"inputs": {"seed": 1}}')
    assert (said.priority, said.as_dict()["priority"], not_said.priority) == (0, 0, None)
    assert said.key.rpartition("-")[0] == not_said.key.rpartition("-")[0]


def test_every_bad_line_is_told(tmp_path: Path) -> None:
    bad = (
        "not json",
        "[1]",
        '{"inputs": {}, "n": 3}',
        '{"inputs": {}, "priority": "high"}',
        '{"inputs": {}, "metadata": 1}',
    )
    text = "\n".join(('{"prompt": "fine"}', *bad))
    error = refused(tmp_path, "a.jsonl", text)
    assert [fault.index for fault in error.faults] == [2, 3, 4, 5, 6]
    assert error.counted == "line"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "prompt,seed\nx,1,more\n"),
        ("a.csv", "prompt,prompt\nx,y\n"),
        ("a.csv", "prompt,\nx,y\n"),
        ("a.csv", ""),
        ("a.csv", "prompt\n"),
        ("a.jsonl", "\n"),
        ("a.txt", "prompt\nx\n"),
    ],
)
def test_files_that_are_no_batch(tmp_path: Path, name: str, text: str) -> None:
    refused(tmp_path, name, text)


def test_a_missing_template_is_told_once(tmp_path: Path) -> None:
    error = refused(tmp_path, "a.csv", "prompt\nx\ny\n", None)
    assert "--template" in error.message
    assert not error.faults


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(failures.Wrong):
        manifest.read(tmp_path / "none.csv", "sdxl")
    (tmp_path / "b.csv").write_bytes(b"prompt\n\xff\xfe\n")
    with pytest.raises(failures.Wrong, match="UTF-8"):
        manifest.read(tmp_path / "b.csv", "sdxl")
