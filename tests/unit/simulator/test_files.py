"""Where files go and what they are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.simulator.files import Files, OutsideDirectory


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Make a worker's directories."""
    made = Files(tmp_path)
    made.create()
    return made


def save(files: Files, prefix: str) -> str:
    """Save one file; return its path below the output directory."""
    place = files.place(prefix, "output")
    name = f"{place.name}_{place.counter:05}_.png"
    Path(place.path(name)).write_bytes(b"x")
    files.wrote(place, 1)
    return f"{place.subfolder}/{name}".lstrip("/")


def test_numbers_go_on_for_each_prefix(files: Files) -> None:
    """In each folder."""
    names = [save(files, prefix) for prefix in ("a", "a", "b", "sub/a", "sub/a", "a")]
    assert names == [
        "a_00001_.png",
        "a_00002_.png",
        "b_00001_.png",
        "sub/a_00001_.png",
        "sub/a_00002_.png",
        "a_00003_.png",
    ]


def test_numbers_begin_again_when_the_files_are_gone(files: Files, tmp_path: Path) -> None:
    """As in recording 03."""
    save(files, "a")
    (tmp_path / "output" / "a_00001_.png").unlink()
    assert save(files, "a") == "a_00001_.png"


def test_files_of_others_count(files: Files, tmp_path: Path) -> None:
    """Whoever wrote them, in whatever case."""
    (tmp_path / "output" / "A_00041_.png").write_bytes(b"")
    (tmp_path / "output" / "a_note_.png").write_bytes(b"")
    (tmp_path / "output" / "ab_00099_.png").write_bytes(b"")
    assert save(files, "a") == "a_00042_.png"


def test_the_size_is_filled_in(files: Files) -> None:
    """And the date, too."""
    place = files.place("x_%width%x%height%_%year%", "output", (640, 480))
    assert place.name.startswith("x_640x480_20")


@pytest.mark.parametrize("prefix", ["../escape", "a/../../escape", "/etc/escape", "../output2/x"])
def test_nothing_is_saved_outside(files: Files, prefix: str) -> None:
    """Not even in a neighbour whose name begins alike."""
    with pytest.raises(OutsideDirectory):
        files.place(prefix, "output")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "x\0y", "", 5, None, "missing.png"])
def test_what_is_no_upload(files: Files, name: object) -> None:
    """Anything may be asked for."""
    assert not files.exists(name)


def test_annotations_name_the_directory(files: Files, tmp_path: Path) -> None:
    """`[temp]` and the like."""
    (tmp_path / "temp" / "x.png").write_bytes(b"1")
    assert files.exists("x.png [temp]")
    assert not files.exists("x.png")


def test_the_content_counts_not_the_time(files: Files, tmp_path: Path) -> None:
    """The same bytes again have the same hash (33)."""
    path = tmp_path / "input" / "x.png"
    path.write_bytes(b"1")
    first = files.content_hash("x.png")
    path.write_bytes(b"1")
    assert files.content_hash("x.png") == first
    path.write_bytes(b"22")
    assert files.content_hash("x.png") != first


def test_temp_is_emptied_at_the_start(files: Files, tmp_path: Path) -> None:
    """Output and input stay."""
    for kind in ("temp", "output", "input"):
        (tmp_path / kind / "x").write_bytes(b"")
    Files(tmp_path).create()
    assert [kind for kind in ("temp", "output", "input") if (tmp_path / kind / "x").exists()] == ["output", "input"]
