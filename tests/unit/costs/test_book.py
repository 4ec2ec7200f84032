"""Costs are learned from runs: robustly, from cold ones too, for each worker's speed."""

from __future__ import annotations

import random

import pytest

from gateway.domain.comfy.graph import Requirements
from gateway.domain.costs import book, estimate
from gateway.domain.costs.sketch import Sketch

NONE = frozenset[str]()


def needs(*files: str, key: str | None = None, classes: str = "Sampler") -> book.Needs:
    wanted = Requirements(classes=frozenset({classes}), models=frozenset(("Loader", "name", file) for file in files))
    return book.Needs.of(key or wanted.key, wanted)


def kind(*files: str, work: float = 1.0, classes: str = "Sampler") -> book.Kind:
    return book.Kind.of(needs(*files, classes=classes), Sketch(work=work))


def cost(costs: book.Costs, of: book.Kind, missing: frozenset[str] = NONE, **more: object) -> book.Cost:
    factor = costs.factor(str(more.get("worker", "w0")))
    found = costs.cost(of, missing, factor=factor, cached=int(str(more.get("cached", 0))))
    assert found is not None
    return found


def test_nothing_learned_is_no_estimate() -> None:
    costs = book.Costs()
    assert not costs
    assert costs.cost(kind("a"), NONE) is None
    costs.observe(kind(classes="Other"), NONE, 1.0, worker="w0")
    assert costs.cost(kind("a"), NONE) is None


def test_warm_and_cold_runs_are_told_apart() -> None:
    costs = book.Costs()
    for _ in range(4):
        costs.observe(kind("a"), frozenset("a"), 4.0, worker="w0")
        costs.observe(kind("a"), NONE, 1.0, worker="w0")
    assert cost(costs, kind("a")).seconds == pytest.approx(1.0, rel=0.01)
    assert cost(costs, kind("a"), frozenset("a")).load == pytest.approx(3.0, rel=0.01)


def test_a_load_is_known_from_the_first_warm_run_after_a_cold_one() -> None:
    costs = book.Costs()
    costs.observe(kind("a"), frozenset("a"), 4.0, worker="w0")
    assert cost(costs, kind("a"), frozenset("a")).load == pytest.approx(2.0)  # half of it, while nothing tells
    costs.observe(kind("a"), NONE, 1.0, worker="w0")
    assert cost(costs, kind("a"), frozenset("a")).load == pytest.approx(3.0)


def test_a_new_model_is_guessed_from_the_others() -> None:
    costs = book.Costs()
    for _ in range(3):
        costs.observe(kind("a"), NONE, 1.0, worker="w0")
        costs.observe(kind("a"), frozenset("a"), 6.0, worker="w0")
    guessed = cost(costs, kind("b"), frozenset("b"))
    assert guessed.run == pytest.approx(1.0, rel=0.01)
    assert guessed.load == pytest.approx(5.0, rel=0.01)


def test_loads_of_single_files_add_up_to_those_of_a_set_never_seen() -> None:
    costs = book.Costs()
    for file, seconds in (("a", 3.0), ("b", 2.0)):
        costs.observe(kind(file), NONE, 1.0, worker="w0")
        costs.observe(kind(file), frozenset(file), 1.0 + seconds, worker="w0")
    assert cost(costs, kind("a", "b"), frozenset("ab")).load == pytest.approx(5.0, rel=0.01)


def test_time_grows_with_work_also_where_none_was_seen() -> None:
    costs = book.Costs()
    costs.observe(kind("a", work=4.0), NONE, 2.0, worker="w0")
    assert cost(costs, kind("a", work=40.0)).run == pytest.approx(20.0)
    for _ in range(3):
        costs.observe(kind("a", work=40.0), NONE, 12.0, worker="w0")  # it does not quite
    assert cost(costs, kind("a", work=40.0)).run == pytest.approx(12.0, rel=0.05)


def test_runs_with_cached_results_are_learned_apart() -> None:
    costs = book.Costs()
    costs.observe(kind("a"), NONE, 3.0, worker="w0")
    costs.observe(kind("a"), NONE, 0.5, worker="w0", cached=0b110)
    assert cost(costs, kind("a")).run == pytest.approx(3.0)
    assert cost(costs, kind("a"), cached=0b110).run == pytest.approx(0.5)
    assert cost(costs, kind("a"), cached=0b010).run == pytest.approx(3.0)


def test_the_speed_of_workers_is_learned_whoever_runs_first() -> None:
    costs = book.Costs()
    draw = random.Random(1)
    for _ in range(60):
        slow = draw.random() < 0.4
        seconds = (3.0 if slow else 1.0) * draw.uniform(0.9, 1.1)
        costs.observe(kind("a"), NONE, seconds, worker="slow" if slow else "fast")
    slow, fast = (cost(costs, kind("a"), worker=name).run for name in ("slow", "fast"))
    assert slow / fast == pytest.approx(3.0, rel=0.15)
    assert fast == pytest.approx(1.0, rel=0.15)
    assert cost(costs, kind("a"), worker="new").run == pytest.approx(fast, rel=0.2)


def test_workers_that_hardly_differ_count_as_equal() -> None:
    costs = book.Costs()
    draw = random.Random(1)
    for number in range(200):
        costs.observe(kind("a"), NONE, draw.lognormvariate(0, 1.0), worker=f"w{number % 4}")
    assert len({cost(costs, kind("a"), worker=f"w{number}").run for number in range(4)}) == 1


def test_a_strange_run_changes_little_but_a_real_change_is_followed() -> None:
    known = estimate.Estimate()
    for _ in range(30):
        known.observe(1.0)
    known.observe(100.0)
    assert known.seconds < 1.1
    for _ in range(25):
        known.observe(5.0)
    assert known.seconds == pytest.approx(5.0, rel=0.2)


def test_what_was_learned_is_kept_and_restored() -> None:
    costs = book.Costs()
    for _ in range(5):
        costs.observe(kind("a"), NONE, 1.0, worker="w0")
        costs.observe(kind("a"), frozenset("a"), 4.0, worker="w0")
        costs.observe(kind("a"), NONE, 3.0, worker="w1")
        costs.observe_place(2.0)
    kept = {name: table.take_changed() for name, table in costs.tables()}
    assert all(kept.values())
    assert not any(table.take_changed() for _, table in costs.tables())
    again = book.Costs()
    again.restore(kept)
    for worker in ("w0", "w1", "w2"):
        before, after = (one.cost(kind("a"), frozenset("a"), factor=one.factor(worker)) for one in (costs, again))
        assert before is not None
        assert after is not None
        assert after.seconds == pytest.approx(before.seconds, rel=0.001)


def test_what_was_kept_wrongly_is_left_out() -> None:
    costs = book.Costs()
    costs.restore({"cost_run": {"x": {}, "y": {"e": "?"}, "z": {"e": [1, 2]}}})
    assert not costs


def test_tables_do_not_grow_for_ever() -> None:
    table = book.Table(estimate.Estimate)
    for number in range(6000):
        table.observe(str(number), 1.0)
    assert len(table.entries) == 5000
    assert "5999" in table.entries


def average_of(costs: book.Costs) -> float:
    found = costs.average
    assert found is not None
    return found.mean


def test_an_average_counts_the_few_long_ones_and_does_not_wander() -> None:
    costs = book.Costs()
    for number in range(200):
        costs.observe_place(20.0 if number % 10 == 0 else 1.0)
    assert average_of(costs) == pytest.approx(2.9, rel=0.15)


def test_one_stuck_run_moves_an_average_little_and_a_real_change_is_followed() -> None:
    costs = book.Costs()
    for _ in range(200):
        costs.observe_place(2.0)
    costs.observe_place(3600.0)
    assert average_of(costs) < 3.0
    for _ in range(40):
        costs.observe_place(60.0)
    assert average_of(costs) == pytest.approx(60.0, rel=0.25)


def test_a_clock_that_was_set_back_teaches_nothing() -> None:
    costs = book.Costs()
    for _ in range(60):
        costs.observe_place(2.4)
    costs.observe_place(-3600.0)
    costs.observe_place(0.0)
    assert average_of(costs) == pytest.approx(2.4)


def test_an_average_is_kept_and_what_an_older_gateway_kept_will_do() -> None:
    costs = book.Costs()
    for number in range(50):
        costs.observe_place(1.0 + number % 3)
    kept = {name: table.take_changed() for name, table in costs.tables()}
    again = book.Costs()
    again.restore(kept)
    assert average_of(again) == pytest.approx(average_of(costs), rel=1e-3)
    old = book.Costs()
    old.restore({name: bodies for name, bodies in kept.items() if name != "cost_place"})
    assert average_of(old) == pytest.approx(2.0, rel=0.3)
    assert book.Costs().average is None
