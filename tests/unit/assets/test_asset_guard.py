"""What may be deleted, and what is just coming back into use."""

from gateway.assets.guard import FRESH_SECONDS, Guard


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_nobody_is_about_to_use_may_go() -> None:
    assert Guard(Clock()).may_delete("a")


def test_what_is_held_stays_until_the_last_one_lets_go() -> None:
    guard = Guard(Clock())
    with guard.hold("a"):
        with guard.hold("a"):
            assert not guard.may_delete("a")
        assert not guard.may_delete("a")
        assert guard.may_delete("b")
    assert guard.may_delete("a")


def test_a_put_under_way_learns_what_was_deleted() -> None:
    guard = Guard(Clock())
    with guard.putting() as first, guard.putting() as second:
        assert guard.may_delete("a")
        assert first == second == {"a"}
    with guard.putting() as third:
        assert third == set()


def test_two_puts_at_once_end_in_any_order() -> None:
    guard = Guard(Clock())
    first = guard.putting()
    second = guard.putting()
    first.__enter__()
    later = second.__enter__()
    first.__exit__(None, None, None)
    guard.may_delete("a")
    assert later == {"a"}
    second.__exit__(None, None, None)


def test_what_is_remembered_stays_for_a_while_and_not_for_ever() -> None:
    clock = Clock()
    guard = Guard(clock)
    guard.remember("a")
    clock.now = FRESH_SECONDS + 1
    assert not guard.may_delete("a")
    guard.remember("b")
    clock.now = 2 * FRESH_SECONDS + 2
    assert guard.may_delete("a")
    assert not guard.may_delete("b")
    clock.now = 10 * FRESH_SECONDS
    assert guard.may_delete("b")
