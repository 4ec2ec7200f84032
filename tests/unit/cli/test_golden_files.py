"""The stored pictures of an example."""

from __future__ import annotations

from pathlib import Path

from gateway.cli import golden_files


def test_pictures_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "golden" / "fox"
    folder.mkdir(parents=True)
    for name in ("defaults-100.png", "defaults-11.png", "defaults-02.png", "other-01.png", "defaults-x.png"):
        (folder / name).touch()
    stored = golden_files.Stored(path=tmp_path / "fox.json", example="defaults")
    assert [path.name for path in stored.files()] == ["defaults-02.png", "defaults-11.png", "defaults-100.png"]
