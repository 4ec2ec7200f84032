"""Each thing that an editor saves and a graph does not have, alone."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.workflow import conversion
from tests.unit.workflow.canvas import INFO, converted, node, slot, subgraph, workflow

SAVE = {"filename_prefix": "ComfyUI"}


def saved(link: int = 9, node_id: int = 99) -> dict[str, Any]:
    return node(node_id, "Save", ["ComfyUI"], inputs=[slot("images", link)])


class TestWidgets:
    @pytest.mark.parametrize(
        ("kind", "values", "expected"),
        [
            pytest.param("Make", [8, "good"], {"width": 8, "mode": "good"}, id="in order"),
            pytest.param("Make", [8], {"width": 8, "mode": "fast"}, id="a missing one has its default"),
            pytest.param("Make", None, {"width": 64, "mode": "fast"}, id="none saved"),
            pytest.param("Make", [8, "good", "x", 1], {"width": 8, "mode": "good"}, id="more than there are"),
            pytest.param("Make", {"mode": "good"}, {"width": 64, "mode": "good"}, id="by name"),
            pytest.param(
                "Sample",
                [7, "randomize", 30, "heun", "hi"],
                {"seed": 7, "steps": 30, "sampler": "heun", "text": "hi"},
                id="what happens to a seed afterwards is not sent",
            ),
            pytest.param("Forced", [1, 2], {"a": 1, "c": 2}, id="a forced input has no widget"),
            pytest.param("Forced", [1, "old", 2], {"a": 1, "c": 2}, id="a forced input whose value is still there"),
            pytest.param("Choose", ["none", "z"], {"kind": "none", "last": "z"}, id="dynamic: nothing added"),
            pytest.param(
                "Choose",
                ["size", 9, "on", 0.5, "z"],
                {"kind": "size", "kind.width": 9, "kind.crop": "on", "kind.crop.edge": 0.5, "last": "z"},
                id="dynamic: nested",
            ),
            pytest.param(
                "Choose",
                ["size"],
                {"kind": "size", "kind.width": 5, "kind.crop": "off", "last": "end"},
                id="dynamic: defaults",
            ),
            pytest.param("Colors", [["#fff", "#000"]], {"palette": {"__value__": ["#fff", "#000"]}}, id="a list"),
            pytest.param(
                "Upload",
                ["b.png", 5, "image", 6],
                {"image": "b.png", "size": 5, "after": 6},
                id="a button behind the required ones is saved and not sent",
            ),
        ],
    )
    def test_values_by_name(self, kind: str, values: Any, expected: dict[str, Any]) -> None:
        assert converted(workflow([node(1, kind, values)])) == {"1": expected}

    def test_a_connected_widget_sends_its_link(self) -> None:
        file = workflow(
            [
                node(1, "Number", [5], outputs=["INT"]),
                node(2, "Make", [8, "good"], inputs=[slot("width", 4, "INT", widget=True)]),
            ],
            [[4, 1, 0, 2, 0, "INT"]],
        )
        assert converted(file)["2"] == {"width": ["1", 0], "mode": "good"}

    def test_titles(self) -> None:
        graph = conversion.convert(workflow([node(1, "Make", title="Mine"), node(2, "Make")]), INFO).graph
        assert [each["_meta"]["title"] for each in graph.values()] == ["Mine", "Make Image"]

    def test_grown_inputs_keep_their_names(self) -> None:
        file = workflow(
            [node(1, "Make"), node(2, "Blend", inputs=[slot("images.image0", 4), slot("images.image1", None)])],
            [[4, 1, 0, 2, 0, "IMAGE"]],
        )
        assert converted(file)["2"] == {"amount": 0.5, "images.image0": ["1", 0]}


class TestShapes:
    @pytest.mark.parametrize(
        "links",
        [
            pytest.param([[9, 1, 0, 99, 0, "IMAGE"]], id="lists"),
            pytest.param([[9, "1", "0", "99", 0, "IMAGE"]], id="numbers as text"),
            pytest.param(
                [{"id": 9, "origin_id": 1, "origin_slot": 0, "target_id": 99, "target_slot": 0}], id="objects"
            ),
            pytest.param(
                [{"id": 9, "origin_id": 1, "origin_slot": 0, "target_id": 99, "target_slot": 0, "parentId": 3}],
                id="native reroutes",
            ),
            pytest.param(
                {"9": {"id": 9, "origin_id": 1, "origin_slot": 0, "target_id": 99, "target_slot": 0}}, id="by id"
            ),
        ],
    )
    def test_links(self, links: Any) -> None:
        file = workflow([node(1, "Make", [8, "fast"], outputs=["IMAGE"]), saved()], version=1)
        file |= {"links": links, "reroutes": [{"id": 3, "parentId": None, "linkIds": [9], "pos": [0, 0]}]}
        assert converted(file)["99"] == {**SAVE, "images": ["1", 0]}

    def test_decoration_is_left_out(self) -> None:
        file = workflow(
            [
                node(1, "Make", outputs=["IMAGE"]),
                saved(),
                node(2, "Note", ["read me"]),
                node(3, "MarkdownNote", ["# read me"]),
                node(4, "Label (somebody's pack)", ["big"]),
            ],
            [[9, 1, 0, 99, 0, "IMAGE"]],
            groups=[{"title": "All", "bounding": [0, 0, 1, 1]}],
        )
        assert converted(file).keys() == {"1", "99"}


class TestEditorNodes:
    def test_reroutes(self) -> None:
        file = workflow(
            [
                node(1, "Make", outputs=["IMAGE", "MASK"]),
                node(2, "Reroute", inputs=[slot("", 5, "*")], outputs=["*"]),
                node(3, "Reroute", inputs=[slot("", 6, "*")], outputs=["*"]),
                node(4, "Blend", [0.1], inputs=[slot("image"), slot("mask", 7, "MASK")]),
            ],
            [[5, 1, 1, 2, 0, "MASK"], [6, 2, 0, 3, 0, "MASK"], [7, 3, 0, 4, 1, "MASK"]],
        )
        assert converted(file)["4"] == {"amount": 0.1, "mask": ["1", 1]}

    def test_a_primitive_writes_into_the_widgets_it_is_connected_to(self) -> None:
        file = workflow(
            [
                node(1, "PrimitiveNode", [7, "fixed"], outputs=["INT"], mode=2),
                node(2, "Make", [8, "fast"], inputs=[slot("width", 5, "INT", widget=True)]),
                node(3, "Reroute", inputs=[slot("", 6, "*")]),
                node(4, "Sample", [1], inputs=[slot("steps", 7, "INT", widget=True)]),
            ],
            [[5, 1, 0, 2, 0, "INT"], [6, 1, 0, 3, 0, "INT"], [7, 3, 0, 4, 0, "INT"]],
        )
        made = converted(file)
        assert made["2"]["width"] == 7
        assert made["4"]["steps"] == 20, "a reroute ends it, as in the editor"
        assert "1" not in made

    def test_get_and_set(self) -> None:
        inner = subgraph(
            "s", [node(7, "GetNode", ["pic"]), node(8, "Save", ["x"], inputs=[slot("images", 1)])], [(1, 7, 0, 8, 0)]
        )
        file = workflow(
            [
                node(1, "Make", outputs=["IMAGE"]),
                node(2, "SetNode", ["pic"], inputs=[slot("IMAGE", 5)]),
                node(3, "GetNode", ["pic"]),
                saved(),
                node(6, "s"),
            ],
            [[5, 1, 0, 2, 0, "IMAGE"], [9, 3, 0, 99, 0, "IMAGE"]],
            [inner],
        )
        made = converted(file)
        assert made["99"]["images"] == ["1", 0]
        assert made["6:8"]["images"] == ["1", 0]


class TestModes:
    def test_a_muted_node_is_gone_with_its_links(self) -> None:
        file = workflow([node(1, "Make", mode=2), saved()], [[9, 1, 0, 99, 0, "IMAGE"]])
        assert converted(file) == {"99": SAVE}

    def test_what_a_muted_node_fed_keeps_its_own_value(self) -> None:
        file = workflow(
            [node(1, "Number", [5], mode=2), node(2, "Make", [8], inputs=[slot("width", 4, "INT", widget=True)])],
            [[4, 1, 0, 2, 0, "INT"]],
        )
        assert converted(file) == {"2": {"width": 8, "mode": "fast"}}

    @pytest.mark.parametrize(
        ("inputs", "outputs", "expected"),
        [
            pytest.param([("image", 1, "IMAGE"), ("other", 2, "IMAGE")], ["IMAGE"], "1", id="the same place"),
            pytest.param([("mask", 2, "MASK"), ("image", 1, "IMAGE")], ["IMAGE"], "1", id="the first of its type"),
            pytest.param([("any", 2, "*"), ("image", 1, "IMAGE")], ["IMAGE"], "1", id="its very type before any"),
            pytest.param([("any", 1, "*")], ["IMAGE"], "1", id="any"),
            pytest.param([("mask", 2, "MASK")], ["IMAGE"], None, id="none of its type"),
            pytest.param([("image", None, "IMAGE"), ("other", 2, "IMAGE")], ["IMAGE"], None, id="not connected"),
        ],
    )
    def test_a_bypassed_node_hands_on(
        self, inputs: list[tuple[str, int | None, str]], outputs: list[str], expected: str | None
    ) -> None:
        file = workflow(
            [
                node(1, "Make"),
                node(2, "Make"),
                node(3, "Blend", mode=4, inputs=[slot(*each) for each in inputs], outputs=outputs),
                saved(),
            ],
            [[1, 1, 0, 3, 0, "*"], [2, 2, 0, 3, 0, "*"], [9, 3, 0, 99, 0, "IMAGE"]],
        )
        assert converted(file)["99"] == (SAVE if expected is None else {**SAVE, "images": [expected, 0]})

    @pytest.mark.parametrize("outputs", [[], ["IMAGE"]])
    @pytest.mark.parametrize(("inputs", "expected"), [([], None), ([("image", 1, "IMAGE")], "1")])
    def test_a_bypassed_node_hands_on_for_an_output_before_its_first(
        self, inputs: list[tuple[str, int | None, str]], outputs: list[str], expected: str | None
    ) -> None:
        bypassed = node(3, "Blend", mode=4, inputs=[slot(*each) for each in inputs], outputs=outputs)
        links = [[1, 1, 0, 3, 0, "*"], [9, 3, -1, 99, 0, "IMAGE"]]
        file = workflow([node(1, "Make"), bypassed, saved()], links)
        assert converted(file)["99"] == (SAVE if expected is None else {**SAVE, "images": [expected, 0]})

    def test_a_row_of_bypassed_nodes(self) -> None:
        blends = [
            node(10 + each, "Blend", mode=4, inputs=[slot("image", 10 + each)], outputs=["IMAGE"]) for each in range(5)
        ]
        links = [[10 + each, 9 + each if each else 1, 0, 10 + each, 0, "IMAGE"] for each in range(5)]
        file = workflow([node(1, "Make"), *blends, saved()], [*links, [9, 14, 0, 99, 0, "IMAGE"]])
        assert converted(file) == {"1": {"width": 64, "mode": "fast"}, "99": {**SAVE, "images": ["1", 0]}}


def inner(**more: Any) -> dict[str, Any]:
    """A subgraph: an image and a width come in, what is made of them goes out."""
    return subgraph(
        "s",
        [
            node(5, "Blend", [0.1], inputs=[slot("image", 1), slot("other", 3)], outputs=["IMAGE"]),
            node(6, "Make", [8, "fast"], inputs=[slot("width", 2, "INT", widget=True)], outputs=["IMAGE"]),
        ],
        [(1, -10, 0, 5, 0), (2, -10, 1, 6, 0), (3, 6, 0, 5, 1), (4, 5, 0, -20, 0)],
        inputs={"image": "IMAGE", "width": "INT"},
        outputs={"image": "IMAGE"},
        **more,
    )


class TestSubgraphs:
    def test_links_cross_both_borders(self) -> None:
        file = workflow(
            [node(1, "Make"), node(2, "s", inputs=[slot("image", 7)], outputs=["IMAGE"]), saved()],
            [[7, 1, 0, 2, 0, "IMAGE"], [9, 2, 0, 99, 0, "IMAGE"]],
            [inner()],
        )
        assert converted(file) == {
            "1": {"width": 64, "mode": "fast"},
            "99": {**SAVE, "images": ["2:5", 0]},
            "2:5": {"amount": 0.1, "image": ["1", 0], "other": ["2:6", 0]},
            "2:6": {"width": 8, "mode": "fast"},
        }

    @pytest.mark.parametrize(
        ("host", "width"),
        [
            pytest.param({}, 8, id="the widget's own"),
            pytest.param({"values": [16]}, 16, id="the node's"),
            pytest.param({"values": [16], "properties": {"proxyWidgets": []}}, 16, id="no proxies"),
            pytest.param({"values": [], "properties": {"proxyWidgets": [["6", "width"]]}}, 8, id="a proxy"),
            pytest.param(
                {"values": ["x", 16], "properties": {"proxyWidgets": [["6", "mode"], ["6", "width"]]}}, 16, id="proxies"
            ),
            pytest.param({"values": [16], "properties": {"proxyWidgets": [["-1", "width"]]}}, 16, id="its own input"),
            pytest.param({"values": {"width": 16}}, 16, id="by name"),
        ],
    )
    def test_promoted_widgets(self, host: dict[str, Any], width: int) -> None:
        file = workflow([node(2, "s", **host)], (), [inner()])
        assert converted(file)["2:6"]["width"] == width

    @pytest.mark.parametrize("inputs", [{}, {"image": "IMAGE"}])
    def test_nothing_comes_in_by_an_input_before_the_first(self, inputs: dict[str, str]) -> None:
        made = subgraph("s", [node(5, "Save", inputs=[slot("images", 1)])], [(1, -10, -1, 5, 0)], inputs=inputs)
        host = node(2, "s", inputs=[slot(name, 7) for name in inputs])
        file = workflow([node(1, "Make"), host], [[7, 1, 0, 2, 0, "IMAGE"]], [made])
        assert converted(file)["2:5"] == SAVE

    def test_a_promoted_widget_feeds_a_plain_input_too(self) -> None:
        made = subgraph(
            "s",
            [
                node(6, "Make", [8, "fast"], inputs=[slot("width", 2, "INT", widget=True)]),
                node(7, "Show", inputs=[slot("value", 3, "*")]),
            ],
            [(2, -10, 0, 6, 0), (3, -10, 0, 7, 0)],
            inputs={"width": "INT"},
        )
        assert converted(workflow([node(2, "s")], (), [made]))["2:7"] == {"value": 8}
        assert converted(workflow([node(2, "s", [5])], (), [made]))["2:7"] == {"value": 5}

    def test_nested_the_outermost_value_counts(self) -> None:
        outer = subgraph(
            "o",
            [node(3, "s", [16], inputs=[slot("width", 1, "INT", widget=True)])],
            [(1, -10, 0, 3, 0)],
            inputs={"w": "INT"},
        )
        assert converted(workflow([node(2, "o")], (), [outer, inner()]))["2:3:6"]["width"] == 16
        assert converted(workflow([node(2, "o", [32])], (), [outer, inner()]))["2:3:6"]["width"] == 32

    def test_used_twice(self) -> None:
        file = workflow([node(2, "s", [1]), node(3, "s", [2])], (), [inner()])
        made = converted(file)
        assert (made["2:6"]["width"], made["3:6"]["width"]) == (1, 2)

    def test_a_primitive_outside_does_not_reach_in(self) -> None:
        file = workflow(
            [node(1, "PrimitiveNode", [5]), node(2, "s", inputs=[slot("width", 7, "INT", widget=True)])],
            [[7, 1, 0, 2, 0, "INT"]],
            [inner()],
        )
        assert converted(file)["2:6"]["width"] == 8

    def test_straight_through(self) -> None:
        through = subgraph("t", [], [(1, -10, 0, -20, 0)], inputs={"a": "IMAGE"}, outputs={"a": "IMAGE"})
        file = workflow(
            [node(1, "Make"), node(2, "t", inputs=[slot("a", 7)]), saved()],
            [[7, 1, 0, 2, 0, "IMAGE"], [9, 2, 0, 99, 0, "IMAGE"]],
            [through],
        )
        assert converted(file)["99"]["images"] == ["1", 0]

    @pytest.mark.parametrize(("mode", "images"), [(2, None), (4, ["1", 0])])
    def test_muted_and_bypassed(self, mode: int, images: Any) -> None:
        file = workflow(
            [node(1, "Make"), node(2, "s", mode=mode, inputs=[slot("image", 7)], outputs=["IMAGE"]), saved()],
            [[7, 1, 0, 2, 0, "IMAGE"], [9, 2, 0, 99, 0, "IMAGE"]],
            [inner()],
        )
        made = converted(file)
        assert made.keys() == {"1", "99"}
        assert made["99"].get("images") == images

    def test_numbers_that_are_taken_are_given_anew(self) -> None:
        file = workflow([node(5, "s"), node(6, "Make")], (), [inner()], last_node_id=6)
        assert converted(file).keys() == {"6", "5:7", "5:8"}
        assert converted(file)["5:7"]["other"] == ["5:8", 0]

    def test_proxies_name_the_numbers_of_the_file(self) -> None:
        host = node(6, "s", [16], properties={"proxyWidgets": [["6", "width"]]})
        assert converted(workflow([host], (), [inner()], last_node_id=6))["6:7"]["width"] == 16


class TestUnknownClasses:
    FILE = workflow(
        [
            node(1, "Make"),
            node(
                2,
                "Theirs",
                ["x", 3],
                inputs=[slot("image", 7), slot("a", None, "STRING", widget=True), slot("b", None, "INT", widget=True)],
            ),
            saved(),
        ],
        [[7, 1, 0, 2, 0, "IMAGE"], [9, 2, 0, 99, 0, "IMAGE"]],
    )

    def test_kept_as_far_as_the_file_tells(self) -> None:
        result = conversion.convert(self.FILE, INFO, allow_unknown=True)
        assert [fault.reason for fault in result.unknown] == ["missing_node_type"]
        assert result.graph["2"]["class_type"] == "Theirs"
        assert result.graph["2"]["inputs"] == {"a": "x", "b": 3, "image": ["1", 0]}

    def test_muted_ones_do_not_matter(self) -> None:
        assert converted(workflow([node(1, "Make"), node(2, "Theirs", mode=2), node(3, "Theirs", mode=4)])).keys() == {
            "1"
        }
