"""Graphs: what is refused, what is made harmless, and what the functions over them find and change."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import structure


def sound() -> dict[str, Any]:
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "s"}},
    }


def with_node(node: Any, node_id: str = "9") -> dict[str, Any]:
    return {**sound(), node_id: node}


def invert(value: Any) -> dict[str, Any]:
    return {"class_type": "ImageInvert", "inputs": {"image": value}}


def saved_as(prefix: Any) -> dict[str, Any]:
    graph = sound()
    graph["2"]["inputs"]["filename_prefix"] = prefix
    return graph


@pytest.mark.parametrize(
    ("value", "levels"), [("x", 0), ([], 1), ({"a": 1}, 1), ([1, {"a": []}], 3), ([[[]], {"a": {"b": [{}]}}], 5)]
)
def test_how_deep_a_value_is_nested(value: Any, levels: int) -> None:
    assert [structure.is_deeper(value, least) for least in range(7)] == [least < levels for least in range(7)]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value, 0, 0]
    return value


REFUSED: list[tuple[str, Any, str, str | None, str | None]] = [
    # case, graph, reason, node, field
    ("unconnected node without inputs (26b)", with_node({"class_type": "A"}), "invalid_inputs", "9", "inputs"),
    ("inputs null (26g)", with_node({"class_type": "A", "inputs": None}), "invalid_inputs", "9", "inputs"),
    ("inputs a list (26i)", with_node({"class_type": "A", "inputs": []}), "invalid_inputs", "9", "inputs"),
    ("inputs a string (26j)", with_node({"class_type": "A", "inputs": "x"}), "invalid_inputs", "9", "inputs"),
    ("node a string", with_node("notadict"), "node_not_an_object", "9", None),
    ("node null", with_node(None), "node_not_an_object", "9", None),
    ("no class_type", with_node({"inputs": {}}), "invalid_class_type", "9", "class_type"),
    ("class_type null", with_node({"class_type": None, "inputs": {}}), "invalid_class_type", "9", "class_type"),
    ("class_type a list", with_node({"class_type": ["A"], "inputs": {}}), "invalid_class_type", "9", "class_type"),
    ("unconnected dangling link (26c)", with_node(invert(["404", 0])), "dangling_link", "9", "image"),
    ("dangling link in an unknown input", with_node(invert(["404", 0.5])), "dangling_link", "9", "image"),
    ("negative slot", with_node(invert(["1", -1])), "bad_link_slot", "9", "image"),
    ("fractional slot", with_node(invert(["1", 0.5])), "bad_link_slot", "9", "image"),
    ("boolean slot", with_node(invert(["1", True])), "bad_link_slot", "9", "image"),
    ("text slot", with_node(invert(["1", "0"])), "bad_link_slot", "9", "image"),
    ("null slot", with_node(invert(["1", None])), "bad_link_slot", "9", "image"),
    ("huge slot", with_node(invert(["1", 10**9])), "bad_link_slot", "9", "image"),
    ("link to itself", with_node(invert(["9", 0])), "dependency_cycle", "9", None),
    (
        "unconnected cycle (26d)",
        {**sound(), "8": invert(["9", 0]), "9": invert(["8", 0])},
        "dependency_cycle",
        "8",
        None,
    ),
    ("more nodes than anybody draws", {str(each): invert(1) for each in range(20_001)}, "too_many_nodes", None, None),
    ("NaN", with_node(invert(float("nan"))), "invalid_number", "9", "image"),
    ("infinity, nested", with_node(invert({"a": [float("-inf")]})), "invalid_number", "9", "image"),
    ("integer over 64 bits", with_node(invert(2**64)), "invalid_number", "9", "image"),
    ("a number over 64 bits", with_node(invert(2.0**64)), "invalid_number", "9", "image"),
    ("integer under 64 bits", with_node(invert(-(2**63) - 1)), "invalid_number", "9", "image"),
    ("lone surrogate", with_node(invert("\ud83d")), "invalid_text", "9", "image"),
    ("NUL", with_node(invert("a\0b")), "invalid_text", "9", "image"),
    ("NUL in a key", with_node(invert({"a\0": 1})), "invalid_text", "9", "image"),
    ("NUL in an id", {**sound(), "a\0": invert(1)}, "invalid_text", "'a\\x00'", None),
    ("NUL in a class", with_node({"class_type": "A\0", "inputs": {}}), "invalid_text", "9", "class_type"),
    ("not JSON", with_node(invert(b"x")), "not_json", "9", "image"),
    ("nested too deeply", with_node(invert(nested(70))), "nested_too_deeply", "9", "image"),
    ("nested 100,000 deep", with_node(invert(nested(100_000))), "nested_too_deeply", "9", "image"),
    ("absolute prefix", saved_as("/etc/x"), "invalid_filename_prefix", "2", "filename_prefix"),
    ("prefix with ..", saved_as("../../escape"), "invalid_filename_prefix", "2", "filename_prefix"),
    ("prefix with .. inside", saved_as("a/../../x"), "invalid_filename_prefix", "2", "filename_prefix"),
    ("prefix with ..\\", saved_as("..\\..\\x"), "invalid_filename_prefix", "2", "filename_prefix"),
    ("prefix on a drive", saved_as("C:\\x"), "invalid_filename_prefix", "2", "filename_prefix"),
    ("UNC prefix", saved_as("\\\\host\\x"), "invalid_filename_prefix", "2", "filename_prefix"),
    ("long prefix", saved_as("x" * 1025), "invalid_filename_prefix", "2", "filename_prefix"),
    (
        "upload field that leaves the input folder",
        with_node({"class_type": "LoadImage", "inputs": {"image": "../../../etc/passwd"}}),
        "invalid_file_name",
        "9",
        "image",
    ),
]


@pytest.mark.parametrize(("case", "graph", "reason", "node", "field"), REFUSED, ids=[row[0] for row in REFUSED])
def test_bad_graphs_are_refused_with_their_place(
    case: str, graph: Any, reason: str, node: str | None, field: str | None
) -> None:
    with pytest.raises(errors.InvalidWorkflow) as caught:
        graphs.parse_graph(graph)
    assert (reason, node, field) in {(fault.reason, fault.node, fault.field) for fault in caught.value.faults}


@pytest.mark.parametrize("data", [None, [], [1], "x", 1, True, {}])
def test_what_is_no_graph_at_all(data: Any) -> None:
    with pytest.raises(errors.InvalidWorkflow):
        graphs.parse_graph(data)


def test_other_json_is_told_as_that() -> None:
    with pytest.raises(errors.InvalidWorkflow, match="Nothing in it has one"):
        graphs.parse_graph({"workflow": {"1": {"class_type": "SaveImage"}}, "name": "fox"})


@pytest.mark.parametrize("data", [{"nodes": [], "links": []}, {"nodes": [{"id": 1, "type": "A"}], "version": 0.4}])
def test_the_editors_format_has_an_error_of_its_own(data: Any) -> None:
    with pytest.raises(errors.UiWorkflow, match="Export"):
        graphs.parse_graph(data)


def test_all_faults_come_at_once() -> None:
    graph = {"1": {"class_type": "A"}, "2": invert(["404", 0]), "3": invert("\0"), "4": invert(["4", 0])}
    with pytest.raises(errors.InvalidWorkflow) as caught:
        graphs.parse_graph(graph)
    assert {fault.node for fault in caught.value.faults} == {"1", "2", "3", "4"}
    assert set(caught.value.details or {}) == {"faults", "node_errors"}


def test_a_cycle_names_its_nodes_and_only_those() -> None:
    graph = {**sound(), "a": invert(["b", 0]), "b": invert(["c", 0]), "c": invert(["b", 0]), "d": invert(["a", 0])}
    with pytest.raises(errors.InvalidWorkflow) as caught:
        graphs.parse_graph(graph)
    assert [fault.message for fault in caught.value.faults] == ["These nodes wait for each other: b -> c -> b."]


def test_a_malformed_asset_reference_alone_is_a_missing_asset() -> None:
    for info in (None, {}, {"id": 5}, {"id": ""}, "x"):
        with pytest.raises(errors.MissingAsset) as caught:
            graphs.parse_graph(with_node(invert({"__type": "core/ASSET", "info": info})))
        assert caught.value.faults[0].node == "9"
    with pytest.raises(errors.InvalidWorkflow):
        graphs.parse_graph({**with_node(invert({"__type": "core/ASSET"})), "8": invert("\0")})


ACCEPTED: list[tuple[str, Any]] = [
    ("emoji", with_node(invert("a 🦊 in the snow"))),
    ("biggest seed", with_node(invert(2**64 - 1))),
    ("literal list", with_node(invert([1, 2, 3]))),
    ("wrapped list", with_node(invert({"__value__": ["a", 0]}))),
    ("object (26h)", with_node(invert({"a": [1, {"b": 2}]}))),
    ("no inputs needed", with_node({"class_type": "A", "inputs": {}})),
    ("dates in the prefix", saved_as("%date:yyyy-MM-dd%/%Empty Latent Image.width%")),
    ("dots in the prefix", saved_as("v1..2/a...b")),
    ("linked prefix", saved_as(["1", 0])),
    ("prefix of a Windows author", saved_as("video\\out")),
    ("annotated upload", with_node({"class_type": "LoadImage", "inputs": {"image": "clipspace/a.png [input]"}})),
    ("subgraph ids", {**sound(), "57:8": invert(["1", 0]), "57:9:1": invert(["57:8", 0])}),
]


@pytest.mark.parametrize(("case", "graph"), ACCEPTED, ids=[row[0] for row in ACCEPTED])
def test_odd_but_sound_graphs_pass_unchanged(case: str, graph: Any) -> None:
    before = copy.deepcopy(graph)
    assert graphs.parse_graph(graph) == before
    assert graph == before


def test_what_a_node_carries_besides_is_dropped() -> None:
    node = {**invert(1), "is_changed": ["x"], "_meta": {"title": "Mine", "x": 1}, "pos": [0, 0]}
    parsed = graphs.parse_graph(
        {"1": node, "2": {**invert(1), "_meta": None}, "3": {**invert(1), "_meta": {"title": 5}}}
    )
    assert parsed == {"1": {**invert(1), "_meta": {"title": "Mine"}}, "2": invert(1), "3": invert(1)}


def test_big_graphs() -> None:
    """5,000 nodes in one chain and 10 MB of text parse, and so does a chain that closes into one cycle."""
    chain = {str(i): invert([str(i - 1), 0]) | {"n": i} for i in range(1, 5000)}
    graph: dict[str, Any] = {**chain, "0": {"class_type": "A", "inputs": {"text": "é" * 5_000_000}}}
    before = time.process_time()
    parsed = graphs.parse_graph(graph)
    assert graphs.reached_nodes(parsed) == graph.keys()
    assert time.process_time() - before < 20  # a runaway algorithm would take minutes
    with pytest.raises(errors.InvalidWorkflow, match="…"):
        graphs.parse_graph({**chain, "0": invert(["4999", 0])})


def test_many_faults_are_cut() -> None:
    with pytest.raises(errors.InvalidWorkflow) as caught:
        graphs.parse_graph({str(i): None for i in range(5000)})
    assert len(caught.value.faults) == 500


# Requirements and what is reached.


def test_requirements() -> None:
    graph = graphs.parse_graph(
        {
            "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15/a.safetensors"}},
            "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "not_a.safetensors", "clip": ["1", 1]}},
            "3": {"class_type": "LoadLatent", "inputs": {"latent": "x.bin"}},
            "4": {
                "class_type": "SaveImage",
                "inputs": {"images": ["2", 0], "more": ["3", 0], "filename_prefix": "a.pt"},
            },
            "5": {"class_type": "VAELoader", "inputs": {"vae_name": "unused.PT"}},
            "6": {"class_type": "VAELoader", "inputs": {"vae_name": "pixel_space"}},
        }
    )
    needs = graphs.requirements(graph)
    assert needs.models == {("CheckpointLoaderSimple", "ckpt_name", "sd15/a.safetensors")}
    assert "VAELoader" in needs.classes
    assert graphs.Requirements.from_dict(needs.as_dict()) == needs


def test_the_key_of_requirements_is_stable() -> None:
    """The key groups jobs in the store: a release that changes it would orphan what is queued."""
    needs = graphs.Requirements(classes=frozenset({"A", "B"}), models=frozenset({("A", "x", "m.pt")}))
    assert needs.key == graphs.Requirements.from_dict(needs.as_dict()).key == "bf998d8e6ee5d8de"
    others = [
        graphs.Requirements(classes=frozenset({"AB"}), models=needs.models),
        graphs.Requirements(classes=needs.classes),
        graphs.Requirements(classes=needs.classes, models=frozenset({("A", "xm", ".pt")})),
    ]
    assert len({needs.key, *(other.key for other in others)}) == 4


def test_reached_nodes_leave_loose_ends_out() -> None:
    graph = graphs.parse_graph(
        {**sound(), "8": invert(["9", 0]), "9": invert(["1", 0]), "10": {"class_type": "L", "inputs": {}}}
    )
    assert graphs.output_nodes(graph) == ("2", "8")  # an unknown class that takes something and feeds nothing
    assert graphs.reached_nodes(graph) == {"1", "2", "8", "9"}


# Files.


PREFIXES = [
    ("ComfyUI", "gw/1/ComfyUI"),
    ("", "gw/1/ComfyUI"),
    (".", "gw/1/ComfyUI"),
    ("a/b/", "gw/1/a/b"),
    ("./a", "gw/1/a"),
    ("a\\b", "gw/1/a/b"),
    ("%date:yyyy%/x", "gw/1/%date:yyyy%/x"),
]


@pytest.mark.parametrize(("prefix", "expected"), PREFIXES)
def test_prefixes_move_below_the_jobs_folder(prefix: str, expected: str) -> None:
    graph = graphs.parse_graph(saved_as(prefix))
    moved = graphs.rewrite_prefixes(graph, "gw/1")
    assert moved["2"]["inputs"]["filename_prefix"] == expected
    assert graph["2"]["inputs"]["filename_prefix"] == prefix
    assert moved["1"] is graph["1"]


def test_a_linked_prefix_stays() -> None:
    graph = graphs.parse_graph(saved_as(["1", 0]))
    assert graphs.rewrite_prefixes(graph, "gw/1") == graph


@pytest.mark.parametrize(
    ("path", "expected"),
    [("gw/1/a/b.png", "a/b.png"), ("gw/1", ""), ("gw\\1\\a", "a"), ("gw/11/a", "gw/11/a"), ("x", "x")],
)
def test_own_name(path: str, expected: str) -> None:
    assert graphs.own_name(path, "gw/1") == expected


def asset(identity: str, **info: Any) -> dict[str, Any]:
    return {"__type": "core/ASSET", "info": {"id": identity, **info}}


def test_asset_references_are_found_and_replaced_wherever_they_stand() -> None:
    graph = graphs.parse_graph(
        {
            "1": {"class_type": "LoadImage", "inputs": {"image": asset("a", hash="blake3:0", file_path="p.png")}},
            "2": {"class_type": "X", "inputs": {"list": [1, {"deep": asset("b")}], "n": 5}},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
        }
    )
    found = graphs.asset_references(graph)
    assert [(ref.node, ref.field, ref.asset_id, ref.hash, ref.file_path) for ref in found] == [
        ("1", "image", "a", "blake3:0", "p.png"),
        ("2", "list", "b", None, None),
    ]
    replaced = graphs.replace_assets(graph, {"a": "gw/a.png", "b": "gw/b.png"})
    assert replaced["1"]["inputs"]["image"] == "gw/a.png"
    assert replaced["2"]["inputs"]["list"] == [1, {"deep": "gw/b.png"}]
    assert replaced["3"] is graph["3"]
    assert graphs.asset_references(replaced) == ()
    assert graphs.asset_references(graphs.replace_assets(graph, {"a": "x"}))[0].asset_id == "b"


def test_upload_fields_of_stock_nodes_are_known_without_a_worker() -> None:
    graph = graphs.parse_graph(
        {
            "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
            "2": {"class_type": "LoadImageMask", "inputs": {"image": "m.png", "channel": "red"}},
            "3": {"class_type": "LoadVideo", "inputs": {"file": asset("v")}},
            "4": {"class_type": "VHS_LoadVideo", "inputs": {"video": "v.mp4"}},
        }
    )
    assert [(field.node, field.kind, field.value) for field in graphs.upload_fields(graph)] == [
        ("1", "image", "a.png"),
        ("2", "mask", "m.png"),
        ("4", "video", "v.mp4"),
    ]


def test_replace_inputs_copies_what_it_touches_only() -> None:
    graph = graphs.parse_graph(sound())
    changed = graphs.replace_inputs(graph, {("1", "width"): 8, ("1", "height"): 9})
    assert changed["1"]["inputs"] == {"width": 8, "height": 9, "batch_size": 1, "color": 0}
    assert graph["1"]["inputs"]["width"] == 64
    assert changed["2"] is graph["2"]


# Properties.

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["1", "2", "core/ASSET"])
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(st.sampled_from("123"), st.integers(-1, 3)).map(list),
        st.dictionaries(st.sampled_from(["__type", "info", "id", "a"]), inner, max_size=3),
    ),
    max_leaves=8,
)
nodes = st.one_of(
    values,
    st.fixed_dictionaries(
        {"class_type": st.one_of(st.sampled_from(["LoadImage", "SaveImage", "X"]), values)},
        optional={
            "inputs": st.one_of(
                st.dictionaries(st.sampled_from(["image", "filename_prefix", "x"]), values, max_size=3), values
            ),
            "_meta": values,
        },
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(values, st.dictionaries(st.sampled_from(["1", "2", "3", "nodes"]), nodes, max_size=4)))
def test_parse_graph_raises_nothing_unexpected(data: Any) -> None:
    try:
        graph = graphs.parse_graph(data)
    except (errors.InvalidWorkflow, errors.UiWorkflow, errors.MissingAsset):
        return
    assert graphs.parse_graph(graph) == graph
    graphs.requirements(graph)
    graphs.upload_fields(graph)
    references = graphs.asset_references(graph)
    assert graphs.asset_references(graphs.replace_assets(graph, {ref.asset_id: "n" for ref in references})) == ()
    graphs.parse_graph(graphs.rewrite_prefixes(graph, "gw/1"))


def test_downstream_is_what_depends_on_a_node() -> None:
    chain = graphs.Graph(
        {
            "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
            "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
            "4": {"class_type": "EmptyImage", "inputs": {}},
            "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0]}},
        }
    )
    assert graphs.downstream(chain, {"1"}) == {"1", "2", "3"}
