"""Small workflows, one for each rule, against what ComfyUI's own editor was seen to make of them.

Recorded by tests/conformance/tools/record_editor.py with frontend 1.49.6.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.domain import errors
from gateway.domain.workflow import conversion
from tests.conformance import official

FOLDER = Path(__file__).parents[2] / "fixtures" / "workflows"
INFO = orjson.loads((FOLDER / "object_info.json").read_bytes())
CASES: dict[str, dict[str, Any]] = orjson.loads((FOLDER / "recorded.json").read_bytes())
REFUSED = {name for name, case in CASES.items() if "error" in case["graph"]}
#: The editor sends what is in a muted subgraph inside a subgraph; nothing depends on it.
MORE = {"nested_muted"}


@pytest.mark.parametrize("name", sorted(CASES.keys() - REFUSED))
def test_as_the_editor_does(name: str) -> None:
    real = CASES[name]["graph"]
    made = conversion.convert(CASES[name]["workflow"], INFO).graph
    assert official.differences(real, made, INFO) == []
    if name not in MORE:
        assert contents(made) == contents(real)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_the_editor_cannot_post_is_told(name: str) -> None:
    with pytest.raises(errors.InvalidWorkflow) as told:
        conversion.convert(CASES[name]["workflow"], INFO)
    assert [fault.reason for fault in told.value.faults] == ["dangling_link"]


def contents(graph: Any) -> dict[str, Any]:
    """What counts of a graph."""
    return {key: (node["class_type"], node["inputs"]) for key, node in graph.items()}
