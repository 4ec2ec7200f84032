"""Official templates, mutated: a graph or `InvalidWorkflow`, never anything else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.workflow import conversion
from tests.conformance import official

FOLDER = Path(__file__).parents[2] / "fixtures" / "workflows"
INFO = orjson.loads((FOLDER / "object_info.json").read_bytes())
FILES = {
    path.stem: orjson.loads(path.read_bytes())["workflow"]
    for path in sorted(FOLDER.glob("*.json"))
    if path.stem not in {"object_info", "recorded"}
}

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-30, 200),
    st.sampled_from([2**63, 2**64, -(2**70), 1e300, float("inf"), float("nan"), 0.5]),
    st.text(max_size=6),
    st.sampled_from(["Reroute", "PrimitiveNode", "GetNode", "SetNode", "Note", "KSampler", "-10", "\ud800", "\0", "*"]),
    st.lists(st.integers(-20, 20), max_size=6),
    st.dictionaries(st.sampled_from(["id", "name", "link", "type", "nodes"]), st.integers(0, 9), max_size=3),
    st.sampled_from([[], {}, [[]], [{}], [None], ["id", 0], {"__type": "core/ASSET"}]),
)
#: Fields that decide what happens; the rest is text that is carried along.
TELLING = ("link", "links", "mode", "type", "id", "widgets_values", "inputs", "outputs", "nodes", "linkIds", "name",
           "origin_id", "origin_slot", "target_id", "target_slot", "proxyWidgets", "widget", "definitions")  # fmt: skip

CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.large_base_example]

Place = tuple[Any, Any]


def places(data: Any) -> list[Place]:
    """Every container in this value with each of its keys."""
    found: list[Place] = []
    todo = [data]
    while todo:
        held = todo.pop()
        keys = list(held) if isinstance(held, dict) else range(len(held))
        for key in keys:
            found.append((held, key))
            if isinstance(held[key], (dict, list)):
                todo.append(held[key])
    return found


def mutate(data: st.DataObject, file: Any, subgraph_ids: list[str]) -> None:
    """Change one thing."""
    everywhere = places(file)
    telling = [place for place in everywhere if place[1] in TELLING]
    held, key = data.draw(st.sampled_from(telling if data.draw(st.booleans()) and telling else everywhere))
    match data.draw(st.sampled_from(["odd", "remove", "copy", "swap", "nest"])):
        case "odd":
            held[key] = data.draw(ODD)
        case "remove":
            del held[key]
        case "copy" if isinstance(held, list):
            held.append(copy.deepcopy(held[key]))
        case "nest":
            held[key] = data.draw(st.sampled_from(subgraph_ids)) if subgraph_ids else [held[key]]
        case _:
            other, place = data.draw(st.sampled_from(everywhere))
            held[key] = copy.deepcopy(other[place])


def check(file: Any, info: Any) -> None:
    """What a conversion may do."""
    try:
        made = conversion.convert(file, info, allow_unknown=True)
    except errors.InvalidWorkflow:
        return
    assert graphs.parse_graph(made.graph) == made.graph


@settings(max_examples=150, deadline=None, suppress_health_check=CHECKS)
@given(data=st.data())
def test_mutated_templates(data: st.DataObject) -> None:
    file = copy.deepcopy(FILES[data.draw(st.sampled_from(sorted(FILES)))])
    ids = [each["id"] for each in file.get("definitions", {}).get("subgraphs", [])]
    for _ in range(data.draw(st.integers(1, 6))):
        mutate(data, file, ids)
    check(file, INFO)


@settings(max_examples=100, deadline=None, suppress_health_check=CHECKS)
@given(data=st.data())
def test_mutated_node_classes(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FILES)))
    info = copy.deepcopy({kind: INFO[kind] for kind in kinds(FILES[name]) & INFO.keys()})
    for _ in range(data.draw(st.integers(1, 6))):
        everywhere = places(info)
        if not everywhere:
            break
        held, key = data.draw(st.sampled_from(everywhere))
        held[key] = data.draw(ODD)
    check(FILES[name], info)


def kinds(file: Any) -> set[str]:
    """The classes that a file uses."""
    scopes = [file, *file.get("definitions", {}).get("subgraphs", [])]
    return {node["type"] for scope in scopes for node in scope["nodes"]}


@pytest.mark.skipif(
    official.corpus() is None or not official.TEMPLATES.is_dir(),
    reason="needs what a real ComfyUI made of the official templates: see `make templates-report`",
)
@settings(max_examples=100, deadline=None, suppress_health_check=CHECKS)
@given(data=st.data())
def test_the_whole_corpus_mutated(data: st.DataObject) -> None:
    corpus = official.corpus()
    assert corpus is not None
    path = data.draw(st.sampled_from(sorted(official.TEMPLATES.glob("*.json"))))
    file = orjson.loads(path.read_bytes())
    if not isinstance(file, dict):
        return
    ids = [each["id"] for each in file.get("definitions", {}).get("subgraphs", [])]
    for _ in range(data.draw(st.integers(1, 6))):
        mutate(data, file, ids)
    check(file, INFO)
