"""The page on templates names all that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.domain.templates import model, roles, sidecar

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/templates.md").read_text(encoding="utf-8")
SOURCES = [
    *(ROOT / "gateway/domain/templates").glob("*.py"),
    ROOT / "gateway/domain/comfy/structure.py",
    ROOT / "gateway/domain/comfy/object_info.py",
    ROOT / "gateway/adapters/images.py",
]
REASON = re.compile(
    r'(?:Refused|Unreadable|fault|_fault|_refusal)\(\s*(?:name, "\w+", )?"([a-z_]+)"|reason ?= ?"([a-z_]+)"'
)


def written(word: str) -> bool:
    return re.search(rf"`[^`]*\b{re.escape(word)}\b[^`]*`", PAGE) is not None


def keys() -> set[str]:
    tables = [
        sidecar.Sidecar,
        sidecar.ParameterTable,
        sidecar.OutputTable,
        sidecar.PackTable,
        sidecar.ModelTable,
        sidecar.LimitsTable,
        sidecar.ExampleTable,
    ]
    return {key for table in tables for key in table.model_fields}


def reasons() -> set[str]:
    found = (REASON.findall(path.read_text(encoding="utf-8")) for path in SOURCES)
    return {first or second for matches in found for first, second in matches}


@pytest.mark.parametrize(
    "words", [set(model.ParameterType), set(roles.ALL), keys(), reasons()], ids=["types", "roles", "keys", "reasons"]
)
def test_the_page_names_them_all(words: set[str]) -> None:
    assert len(words) > 10
    assert {word for word in words if not written(word)} == set()
