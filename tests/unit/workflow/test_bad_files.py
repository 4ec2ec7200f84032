"""Files that cannot be converted: told with the place, soon, and without anything else happening."""

from __future__ import annotations

import contextlib
import resource
from typing import Any

import orjson
import pytest

from gateway.domain import errors
from gateway.domain.embedded import reading
from gateway.domain.workflow import conversion, document, frames
from tests.unit.workflow.canvas import INFO, node, slot, subgraph, workflow


def refused(file: Any) -> errors.Fault:
    """The first fault of this file."""
    with pytest.raises(errors.InvalidWorkflow) as told:
        conversion.convert(file, INFO)
    assert told.value.faults
    return told.value.faults[0]


def deep(levels: int) -> list[Any]:
    """A list in a list in a list."""
    made: list[Any] = []
    for _ in range(levels):
        made = [made]
    return made


def nested(depth: int, fan: int = 1) -> dict[str, Any]:
    """Subgraphs in subgraphs, `fan` of them in each."""
    last = subgraph(f"s{depth}", [node(1, "Make")], [])
    levels = [subgraph(f"s{level}", [node(each, f"s{level + 1}") for each in range(fan)], []) for level in range(depth)]
    return workflow([node(1, "s0")], (), [*levels, last])


CYCLE = workflow(
    [node(1, "a", title="Start")],
    (),
    [subgraph("a", [node(2, "b")], []), subgraph("b", [node(3, "a", title="Again")], [])],
)
LOOP = workflow(
    [
        node(1, "Reroute", inputs=[slot("", 2)]),
        node(2, "Reroute", inputs=[slot("", 1)]),
        node(3, "Save", inputs=[slot("images", 3)]),
    ],
    [[1, 1, 0, 2, 0, "*"], [2, 2, 0, 1, 0, "*"], [3, 2, 0, 3, 0, "*"]],
)


@pytest.mark.parametrize(
    ("file", "reason", "place", "words"),
    [
        pytest.param(CYCLE, "cyclic_subgraph", ("1:2:3", "a", None), "'Again') in subgraph 'My b'", id="in itself"),
        pytest.param(LOOP, "link_cycle", ("1", "Reroute", ""), "circle", id="reroutes in a circle"),
        pytest.param(nested(1000), "nested_too_deeply", None, "100 deep", id="1000 deep"),
        pytest.param(nested(12, fan=8), "too_many_nodes", None, "more than 250000", id="8 to the 12th"),
        pytest.param(
            workflow([node(3, "Save", title="Out", inputs=[slot("images", 77)])]),
            "dangling_link",
            ("3", "Save", "images"),
            "Node 3 (Save 'Out'): its link 77 does not exist",
            id="a link that is not there",
        ),
        pytest.param(
            workflow([node(1, "s")], (), [subgraph("s", [node(5, "Save", inputs=[slot("images", 8)])], [])]),
            "dangling_link",
            ("1:5", "Save", "images"),
            "in subgraph 'My s'",
            id="a link that is not there, inside",
        ),
        pytest.param(
            workflow([node(3, "Sample", ["euler", 20])]),
            "widget_mismatch",
            ("3", "Sample", "seed"),
            "2 widget values",
            id="too few values, of other kinds",
        ),
        pytest.param(
            workflow([node(3, "Make", ["good", 8, 9])]),
            "widget_mismatch",
            ("3", "Make", "width"),
            "'good' is no value for 'width'",
            id="too many values, of other kinds",
        ),
        pytest.param(
            workflow([node(3, "Sampel", inputs=[slot("x", 1)]), node(4, "Make")], [[1, 4, 0, 3, 0, "*"]]),
            "missing_node_type",
            ("3", "Sampel", None),
            "Did you mean 'Sample'?",
            id="an unknown pack",
        ),
        pytest.param(
            workflow([node(3, "workflow>mine", inputs=[slot("x", 1)]), node(4, "Make")], [[1, 4, 0, 3, 0, "*"]]),
            "missing_node_type",
            ("3", "workflow>mine", None),
            "subgraph",
            id="a group node",
        ),
        pytest.param(
            workflow([node(1, "GetNode", ["a"]), node(2, "Save", inputs=[slot("images", 5)])], [[5, 1, 0, 2, 0, "*"]]),
            "no_set_node",
            ("1", "GetNode", None),
            "'a'",
            id="a Get without its Set",
        ),
        pytest.param(
            workflow(
                [node(1, "Blend", inputs=[slot("image", 6)]), node(2, "Blend", inputs=[slot("image", 5)])],
                [[5, 1, 0, 2, 0, "*"], [6, 2, 0, 1, 0, "*"]],
            ),
            "dependency_cycle",
            ("1", "Blend", None),
            "1 -> 2 -> 1",
            id="nodes in a circle",
        ),
        pytest.param(workflow([7]), "node_not_an_object", None, "Node 0", id="a number for a node"),
        pytest.param(workflow([{"type": "Make"}]), "invalid_node_id", None, "Node 0", id="no id"),
        pytest.param(workflow([{"id": 1}]), "invalid_class_type", ("1", None, None), "Node 1", id="no type"),
        pytest.param(
            workflow([node(1, "Make")] * 2), "duplicate_node", ("1", "Make", None), "another", id="an id twice"
        ),
        pytest.param(workflow([node(1, "Make")], [[1, 2]]), "invalid_link", None, "Link 0", id="half a link"),
        pytest.param(workflow([node(1, "Make")], [deep(900)]), "invalid_link", None, "Link 0", id="a deep link"),
        pytest.param(
            workflow([node(1, "Sample", [deep(900), 1])]),
            "widget_mismatch",
            ("1", "Sample", "seed"),
            "a list",
            id="deep",
        ),
        pytest.param(
            workflow([node(1, "Colors", [deep(900)])]),
            "nested_too_deeply",
            ("1", "Colors", "palette"),
            "64",
            id="deeper",
        ),
        pytest.param(workflow([], (), [{"nodes": []}]), "invalid_subgraph", None, "no id", id="a subgraph without id"),
        pytest.param(workflow([], (), [7]), "invalid_subgraph", None, "no list", id="a number for a subgraph"),
        pytest.param(
            workflow([], (), [subgraph("s", [], []), subgraph("s", [], [])]),
            "duplicate_subgraph",
            None,
            "id s.",
            id="twice",
        ),
        pytest.param(
            workflow([node(1, "Make", [0] * (document.MAX_VALUES + 1))]),
            "too_many_values",
            ("1", "Make", None),
            "widget values",
            id="too many values",
        ),
        pytest.param(
            workflow([node(1, "Make", inputs=[slot("x")] * (document.MAX_SLOTS + 1))]),
            "too_many_slots",
            ("1", "Make", None),
            "inputs or outputs",
            id="too many slots",
        ),
        pytest.param(
            workflow([{"id": each, "type": "Make"} for each in range(document.MAX_NODES + 1)]),
            "too_many_nodes",
            None,
            "nodes",
            id="too many nodes",
        ),
    ],
)
def test_is_told_with_its_place(
    file: Any, reason: str, place: tuple[str, str | None, str | None] | None, words: str
) -> None:
    fault = refused(file)
    assert fault.reason == reason
    assert words in fault.message
    if place is not None:
        assert (fault.node, fault.class_type, fault.field) == place


@pytest.mark.parametrize("data", [None, 7, "x", [], {}, {"nodes": {}}, {"nodes": None}, {"1": {"class_type": "Make"}}])
def test_no_workflow_at_all(data: Any) -> None:
    with pytest.raises(errors.InvalidWorkflow):
        conversion.convert(data, INFO)


def test_nothing_that_runs() -> None:
    with pytest.raises(errors.InvalidWorkflow, match="no nodes"):
        conversion.convert(workflow([node(1, "Note", ["x"])]), INFO)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    file = workflow(
        [
            node(1, "Save", inputs=[slot("images", 7)]),
            node(2, "Make", ["x"]),
            node(3, "Save", inputs=[slot("images", 8)]),
        ]
    )
    with pytest.raises(errors.InvalidWorkflow, match="and 2 more") as told:
        conversion.convert(file, INFO)
    assert [fault.node for fault in told.value.faults] == ["1", "2", "3"]


def test_deep_enough_for_anyone() -> None:
    assert len(conversion.convert(nested(frames.MAX_DEPTH - 1), INFO).graph) == 1


def rows(count: int) -> list[Any]:
    """Nodes that each have all that a node has."""
    return [
        node(each, "Sample", [1, "fixed", 2, "euler", "x"], inputs=[slot("a", each), slot("b"), slot("c")])
        for each in range(count)
    ]


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(workflow(rows(15_000), [[each, each - 1, 0, each, 0, "*"] for each in range(15_000)]), id="wide"),
        pytest.param(
            workflow(
                [node(each, "Reroute", inputs=[slot("", each)]) for each in range(18_000)]
                + [node(20_000 + each, "Save", inputs=[slot("images", 20_000 + each)]) for each in range(1_900)],
                [[each, each - 1, 0, each, 0, "*"] for each in range(18_000)]
                + [[20_000 + each, 17_000 + each % 999, 0, 20_000 + each, 0, "*"] for each in range(1_900)],
            ),
            id="a long row of reroutes, met by many",
        ),
        pytest.param(
            workflow(
                [node(each, f"Their{each}", inputs=[slot("x", 1)]) for each in range(19_000)], [[1, 2, 0, 3, 0, "*"]]
            ),
            id="as many unknown classes",
        ),
        pytest.param(
            workflow(
                [node(1, "Make")]
                + [node(10 + each, "SetNode", [f"v{each}"], inputs=[slot("x", 1)]) for each in range(9_000)]
                + [node(10_000 + each, "GetNode", [f"v{each}"]) for each in range(9_000)]
                + [node(20_000 + each, "Save", inputs=[slot("images", 10 + each)]) for each in range(1_900)],
                [[1, 1, 0, 0, 0, "*"]]
                + [[10 + each, 10_000 + each, 0, 20_000 + each, 0, "*"] for each in range(1_900)],
            ),
            id="get and set",
        ),
    ],
)
@pytest.mark.timeout(30)
def test_a_large_file_costs_little(file: Any) -> None:
    """Time: 30 s on a crowded machine, where 2 s are the aim. Memory: what the peak grew by."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(errors.InvalidWorkflow):
        conversion.convert(file, INFO)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 200


def test_50_megabytes_are_refused_before_they_are_read() -> None:
    data = orjson.dumps(workflow([node(1, "Note", ["x" * 50 * 2**20])]))
    with pytest.raises(errors.InvalidWorkflow) as told:
        reading.read_workflow(data)
    assert told.value.faults[0].reason == "too_large"
