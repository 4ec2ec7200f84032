"""Which workers are out of the question for a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.domain import fitting, memory, model

GB = 2**30


def candidate(name: str, **more: Any) -> model.Candidate:
    return model.Candidate(
        job_id=model.JobId(name), tenant=model.DEFAULT_TENANT, requirements_key="r", priority=0, created_at=0, **more
    )


def slot(worker: str, *, connections: int = 0) -> model.Slot:
    return model.Slot(worker=model.WorkerId(worker), epoch=1, accepts=frozenset({"r"}), connections=connections)


def place(*, card: str, vram: int | None = 12 * GB, quiet: bool = True, accepts: str = "r") -> fitting.Place:
    return fitting.Place(card=card, vram=vram, accepts=frozenset({accepts}), quiet=quiet)


def first_fit(candidates: Sequence[model.Candidate], slots: Sequence[model.Slot]) -> Sequence[model.Assignment]:
    """The simplest placement that honours what a candidate refuses."""
    free = list(slots)
    made: list[model.Assignment] = []
    for one in candidates:
        fit = next((slot for slot in free if slot.worker not in one.refuses), None)
        if fit is not None:
            free.remove(fit)
            made.append(model.Assignment(job_id=one.job_id, worker=fit.worker, reason="first fit"))
    return made


def run(
    candidates: Sequence[model.Candidate],
    slots: Sequence[model.Slot],
    places: dict[str, fitting.Place],
    *,
    learned: memory.Memory | None = None,
    now: float = 0.0,
) -> tuple[dict[str, str], set[str]]:
    round_ = fitting.Fitting(
        choose=first_fit,
        places=lambda: {model.WorkerId(worker): place for worker, place in places.items()},
        demand=(learned or memory.Memory()).demand,
        now=now,
    )
    made = round_(candidates, slots)
    return {one.job_id: one.worker for one in made}, set(map(str, round_.alone))


def test_jobs_without_a_past_go_straight_through() -> None:
    def refuse() -> fitting.Places:
        raise AssertionError("nobody needs them")

    round_ = fitting.Fitting(choose=first_fit, places=refuse, demand=memory.Memory().demand, now=0)
    assert [one.worker for one in round_([candidate("a"), candidate("b")], [slot("w0"), slot("w1")])] == ["w0", "w1"]


def test_a_lost_job_waits_for_another_worker_for_a_while() -> None:
    lost = candidate("a", avoid=frozenset({model.WorkerId("w0")}), since=100.0)
    places = {"w0": place(card="0"), "w1": place(card="1", quiet=False)}
    assert run([lost], [slot("w0")], places, now=101) == ({}, set())
    assert run([lost], [slot("w0"), slot("w1")], places, now=101) == ({"a": "w1"}, set())
    assert run([lost], [slot("w0")], places, now=131) == ({"a": "w0"}, set())


def test_a_lost_job_does_not_wait_for_a_worker_that_cannot_run_it() -> None:
    lost = candidate("a", avoid=frozenset({model.WorkerId("w0")}), since=100.0)
    places = {"w0": place(card="0"), "w1": place(card="1", accepts="other")}
    assert run([lost], [slot("w0")], places, now=101) == ({"a": "w0"}, set())


def test_a_job_that_was_too_large_goes_to_a_larger_card() -> None:
    big = candidate("a", room=model.Room(more_than=12 * GB))
    places = {"w0": place(card="0"), "w1": place(card="1", vram=24 * GB), "w2": place(card="2", vram=None)}
    assert run([big], [slot("w0")], places) == ({}, set())
    assert run([big], [slot("w0"), slot("w1")], places) == ({"a": "w1"}, set())
    assert run([big], [slot("w0"), slot("w2")], places) == ({"a": "w2"}, set())


def test_without_a_larger_card_any_will_do() -> None:
    big = candidate("a", room=model.Room(more_than=24 * GB))
    assert run([big], [slot("w0")], {"w0": place(card="0")}) == ({"a": "w0"}, set())


def test_what_was_learned_places_the_next_one_right_at_first() -> None:
    learned = memory.Memory()
    learned.ran_out("portrait", 1000, vram=12 * GB, alone=True)
    places = {"w0": place(card="0"), "w1": place(card="1", vram=24 * GB)}
    slots = [slot("w0"), slot("w1")]
    large = candidate("large", template="portrait", size=2000)
    small = candidate("small", template="portrait", size=10)
    assert run([large, small], slots, places, learned=learned) == ({"large": "w1", "small": "w0"}, set())


def test_alone_means_nothing_else_on_the_card() -> None:
    alone = candidate("a", room=model.Room(alone_on=model.WorkerId("w0"), until=100.0))
    shared = {"w0": place(card="0"), "w0b": place(card="0"), "w1": place(card="1")}
    slots = [slot("w0"), slot("w0b"), slot("w1")]
    assert run([alone, candidate("b"), candidate("c")], slots, shared) == ({"a": "w0", "b": "w1"}, {"a"})


def test_a_card_that_is_not_quiet_is_kept_free_until_it_is() -> None:
    alone = candidate("a", room=model.Room(alone_on=model.WorkerId("w0"), until=100.0))
    shared = {"w0": place(card="0", quiet=False), "w0b": place(card="0", quiet=False), "w1": place(card="1")}
    slots = [slot("w0"), slot("w1")]
    assert run([alone, candidate("b"), candidate("c")], slots, shared) == ({"b": "w1"}, set())
    assert run([alone, candidate("b")], slots, shared, now=101) == ({"a": "w0", "b": "w1"}, set())


def test_those_before_it_choose_before_it() -> None:
    alone = candidate("a", room=model.Room(alone_on=model.WorkerId("w0"), until=100.0))
    places = {"w0": place(card="0"), "w1": place(card="1")}
    assert run([candidate("b"), alone], [slot("w0"), slot("w1")], places) == ({"b": "w0"}, set())


def test_where_it_is_tight_a_job_runs_alone() -> None:
    learned = memory.Memory()
    learned.ran_out("portrait", 1000, vram=12 * GB, alone=False)
    tight = candidate("a", template="portrait", size=1000)
    places = {"w0": place(card="0"), "w1": place(card="1", vram=24 * GB)}
    assert run([tight], [slot("w0"), slot("w1")], places, learned=learned) == ({"a": "w1"}, set())
    assert run([tight], [slot("w0")], places, learned=learned) == ({"a": "w0"}, {"a"})
    assert run([tight], [slot("w0", connections=1)], places, learned=learned) == ({}, set())
