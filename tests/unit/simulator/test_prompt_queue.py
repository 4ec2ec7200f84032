"""The order, the ties and the history of the prompt queue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.prompt_queue import Entry, PromptQueue


def entry(number: float, prompt_id: str) -> Entry:
    """Make an entry."""
    return Entry(number=number, prompt_id=prompt_id, prompt={}, extra_data={}, outputs=[])


def queue(changes: list[int] | None = None, history_size: int = 100) -> PromptQueue:
    """Make a queue that notes its length at each change."""
    noted = changes if changes is not None else []
    made = PromptQueue(history_size=history_size, on_change=lambda: noted.append(len(made)))
    return made


def drain(source: PromptQueue) -> list[str]:
    """Take all."""
    taken: list[str] = []
    while (found := source.take()) is not None:
        taken.append(found.prompt_id)
        source.finish(found, {"id": found.prompt_id})
    return taken


@given(st.lists(st.tuples(st.integers(-5, 5), st.uuids().map(str)), unique_by=lambda item: item[1], max_size=30))
def test_order_is_by_number_then_id(items: list[tuple[int, str]]) -> None:
    """Whatever the order of arrival."""
    source = queue()
    for number, prompt_id in items:
        source.put(entry(number, prompt_id))
    assert drain(source) == [prompt_id for _, prompt_id in sorted(items)]


def test_a_full_tie_is_stored_and_then_fails() -> None:
    """As on a real server: the POST answers 500, and both run."""
    changes: list[int] = []
    source = queue(changes)
    source.put(entry(5, "a"))
    with pytest.raises(TypeError):
        source.put(entry(5, "a"))
    assert (len(source), changes) == (2, [1])


def test_deleting_the_last_one_is_told_twice() -> None:
    """The others once, unknown ones never."""
    changes: list[int] = []
    source = queue(changes)
    for name in "ab":
        source.put(entry(1, name))
    changes.clear()
    assert source.delete("a")
    assert not source.delete("a")
    assert source.delete("b")
    assert changes == [1, 0, 0]


def test_running_entries_are_not_deleted() -> None:
    """Delete and clear touch only what waits."""
    source = queue()
    source.put(entry(1, "a"))
    source.take()
    source.clear()
    assert not source.delete("a")
    assert source.find_running("a") is not None
    assert len(source) == 1


def test_history_pages() -> None:
    """Offset and limit as recorded (15)."""
    source = queue()
    for name in "abcde":
        source.put(entry(1, name))
    drain(source)
    pages = {
        (None, -1): "abcde", (2, -1): "de", (2, 0): "ab", (2, 1): "bc", (None, 3): "de", (0, -1): "", (-1, -1): "",
        (99, 99): "",
    }  # fmt: skip
    for (limit, offset), expected in pages.items():
        assert "".join(key for key, _ in source.page(limit, offset)) == expected


def test_history_drops_the_oldest() -> None:
    """It keeps one more than its size, as a real one does."""
    source = queue(history_size=2)
    for name in "abcde":
        source.put(entry(1, name))
    drain(source)
    assert list(source.history) == ["c", "d", "e"]
