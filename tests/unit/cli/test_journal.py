"""The state of a batch on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli import failures, journal


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    with journal.opened(path) as kept:
        kept.write("a", "ordering", number=1)
        kept.write("a", "ordered", number=1, job="j1")
        kept.write("a", "done", number=1, job="j1", files=["a.png"])
        kept.write("b", "failed", number=2, reason="no")
        key = kept.order_key("a", 1)
    with journal.opened(path) as kept:
        assert kept.of("a") == journal.Entry(state="done", number=1, job="j1", files=("a.png",))
        assert kept.of("b") == journal.Entry(state="failed", number=2)
        assert kept.of("c") is None
        assert kept.order_key("a", 1) == key
        assert kept.order_key("a", 2) != key


def test_a_record_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    with journal.opened(path) as kept:
        kept.write("a", "ordering", number=1)
    with path.open("ab") as file:
        file.write(b'{"line":"a","state":"or')
    with journal.opened(path) as kept:
        assert kept.of("a") == journal.Entry(state="ordering")
        kept.write("a", "ordered", number=1, job="j1")
    with journal.opened(path) as kept:
        assert kept.of("a") == journal.Entry(state="ordered", job="j1")


def test_two_batches_do_not_share_one(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    with journal.opened(path), pytest.raises(failures.Wrong, match="another batch"), journal.opened(path):
        pass


@pytest.mark.parametrize("content", [b"hello\n", b"[1]\n", b'{"no": "batch"}\n', b"\x00\xff"])
def test_another_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.jsonl"
    path.write_bytes(content)
    with pytest.raises(failures.Wrong, match="is not the state of a batch"), journal.opened(path):
        pass
    assert path.read_bytes().startswith(content)
