"""What docs/reliability.md names as proof is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")


def test_every_test_that_it_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 20
    for file, test in named:
        source = (ROOT / file).read_text(encoding="utf-8")
        assert not test or re.search(rf"^(async )?def {test}\(", source, re.MULTILINE), f"{file}::{test}"


def test_it_counts_the_machines_invariants_right() -> None:
    machine = (ROOT / "tests/contract/test_store_machine.py").read_text(encoding="utf-8")
    listed = re.findall(r"^(\d+)\. ", machine, re.MULTILINE)
    assert listed == [str(number) for number in range(1, 12)]
    assert "eleven invariants" in PAGE


def test_every_make_target_that_it_names_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake (\w+)", PAGE)) - {"it"}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
