"""A small `make chaos`, so that every change meets it; the plans themselves."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import orjson
import pytest

from tests.chaos import plan, running


def test_a_seed_makes_the_same_plan_again() -> None:
    drawn = plan.draw(7, jobs=500, workers=6, faults=60)
    assert drawn == plan.draw(7, jobs=500, workers=6, faults=60)
    assert drawn != plan.draw(8, jobs=500, workers=6, faults=60)
    assert drawn.jobs == 500


def test_a_deck_holds_every_kind_of_fault() -> None:
    cards = sum(fault.cards for fault in plan.FAULTS.values())
    drawn = plan.draw(1, jobs=2000, workers=6, faults=cards)
    assert Counter(strike.kind for strike in drawn.strikes) == {kind: one.cards for kind, one in plan.FAULTS.items()}
    assert all(0 < strike.due < 2000 for strike in drawn.strikes)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_nothing_is_lost_and_nothing_ends_twice(tmp_path: Path) -> None:
    size = running.Size(jobs=120, faults=10, local=1, remote=2)
    found = await running.run(11, size, tmp_path, lambda _: None)
    assert found.jobs == 120
    assert (found.lost, found.ended_twice, found.wrong) == ((), (), ())
    assert sum(found.faults.values()) > 0
    assert orjson.loads(orjson.dumps(dataclasses.asdict(found)))["faults"] == found.faults
