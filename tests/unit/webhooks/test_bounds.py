"""Who may be told now: a slow receiver slows no other."""

from __future__ import annotations

from gateway.delivery import Bounds


def test_places_are_bounded_over_all_and_at_each_host() -> None:
    bounds = Bounds(at_once=4, per_host=2)
    assert bounds.choose(["a", "a", "a", "b", "c", "d"]) == [0, 1, 3, 4]
    for host in ("a", "a", "b"):
        bounds.take(host)
    assert (bounds.room, bounds.full) == (1, ["a"])
    assert bounds.choose(["a", "b", "c"]) == [1]
    bounds.leave("a")
    assert (bounds.room, bounds.full) == (2, [])
    for host in ("a", "b"):
        bounds.take(host)
    assert (bounds.room, bounds.choose(["c"])) == (0, [])


def test_a_slow_host_gets_one_at_a_time_until_it_is_quick() -> None:
    bounds = Bounds(at_once=8, per_host=4)
    bounds.was_slow("a")
    assert bounds.choose(["a", "a", "b", "b"]) == [0, 2, 3]
    bounds.take("a")
    assert bounds.full == ["a"]
    bounds.was_quick("a")
    assert bounds.full == []
    assert bounds.choose(["a", "a", "a", "a"]) == [0, 1, 2]


def test_slow_hosts_together_leave_half_of_the_places() -> None:
    bounds = Bounds(at_once=6, per_host=4)
    slow = [f"slow{number}" for number in range(9)]
    for host in slow:
        bounds.was_slow(host)
    assert bounds.choose([*slow, "a"]) == [0, 1, 2, 9]
    for host in slow[:3]:
        bounds.take(host)
    assert bounds.full == slow
    assert bounds.choose([*slow, "a", "a", "a", "a"]) == [9, 10, 11]


def test_slow_hosts_are_not_remembered_without_end() -> None:
    bounds = Bounds(at_once=2, per_host=2)
    for number in range(3000):
        bounds.was_slow(f"host{number}")
    bounds.take("host2999")
    assert len(bounds.full) == 1000
