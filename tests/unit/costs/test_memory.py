"""What a worker is believed to hold, and how its depth is learned."""

from __future__ import annotations

from gateway.domain.costs import memory

A, B, C = (frozenset({name}) for name in ("a", "b", "c"))


def ran(*sets: frozenset[str], depth: int = 1) -> memory.Memory:
    """After graphs with these models; a loader's key is the number of its file."""
    held = memory.Memory(depth=depth)
    for models in sets:
        held = held.after(models, frozenset(map(key, models)))
    return held


def key(file: str) -> int:
    return ord(file)


def test_the_classic_cache_holds_what_the_last_graph_used() -> None:
    assert ran().files == frozenset()
    assert ran(A, B).files == B
    assert ran(A, B).keys == {key("b")}


def test_deeper_memories_hold_more() -> None:
    assert ran(A, B, C, depth=2).files == B | C
    assert ran(A, B, A, depth=2).files == A | B
    assert ran(A, B, depth=9).files == A | B


def test_depth_grows_when_a_loader_is_still_held() -> None:
    before = ran(A, B)
    assert before.told({key("a"): True}).depth == 2
    assert before.told({key("b"): True}).depth == 1


def test_depth_shrinks_when_a_loader_is_gone() -> None:
    before = ran(A, B, C, depth=3)
    assert before.told({key("a"): False}).depth == 2
    assert before.told({key("c"): False}).depth == 0  # it caches nothing
    assert ran(A, depth=0).told({key("a"): True}).depth == 1


def test_what_was_never_there_tells_nothing() -> None:
    assert ran(A, depth=2).told({key("x"): False}).depth == 2


def test_emptied_it_holds_nothing_but_stays_as_deep() -> None:
    held = ran(A, B, depth=2).emptied()
    assert (held.files, held.keys, held.depth) == (frozenset(), frozenset(), 2)


def test_only_some_graphs_are_remembered() -> None:
    held = ran(*(frozenset({chr(97 + n)}) for n in range(20)), depth=50)
    assert len(held.files) == 12


def test_what_a_run_had_to_load() -> None:
    done = memory.Ran(keys=(1, 2, 3), files={0: A, 2: B | C}, cached=(0, 1))
    assert done.missing == B | C
    assert done.loaders == {1: True, 3: False}
