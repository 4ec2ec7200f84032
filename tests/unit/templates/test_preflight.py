"""A template against one worker: every kind of fault, its place, and the nearest that the worker takes."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import joining, object_info, structure
from gateway.domain.templates import building, choices, describe, model, preflight, sidecar

INFO: dict[str, Any] = {
    "Load": {
        "input": {"required": {"ckpt": [["sd15.safetensors", "xl/base.safetensors"], {}]}},
        "output": ["MODEL"],
        "python_module": "nodes",
    },
    "Draw": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "steps": ["INT", {"default": 20, "min": 1, "max": 100}],
                "cfg": ["FLOAT", {"default": 7.0, "min": 0.0, "max": 30.0}],
                "sampler": ["COMBO", {"options": ["euler", "heun"]}],
                "level": [[1, 2, 3], {}],
            }
        },
        "output": ["IMAGE"],
        "python_module": "nodes",
    },
    "LoadImage": {
        "input": {"required": {"image": [["a.png"], {"image_upload": True}]}},
        "output": ["IMAGE", "MASK"],
        "python_module": "nodes",
    },
    "PackLoader": {
        "input": {"required": {"lora": [["one.safetensors"], {}]}},
        "output": ["MODEL"],
        "python_module": "custom_nodes.pack",
    },
    "SaveImage": {
        "input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "x"}]}},
        "output": [],
        "output_node": True,
        "python_module": "nodes",
    },
}
CATALOG = object_info.NodeCatalog.parse(INFO)
GRAPH: dict[str, Any] = {
    "1": {"class_type": "Load", "inputs": {"ckpt": "sd15.safetensors"}},
    "2": {
        "class_type": "Draw",
        "inputs": {"model": ["1", 0], "steps": 20, "cfg": 7.0, "sampler": "euler", "level": 1},
    },
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "fox"}},
}


def changed(node: str, **inputs: Any) -> dict[str, Any]:
    """The graph with other inputs; one that is None is left out."""
    merged = {**GRAPH[node]["inputs"], **inputs}
    kept = {name: value for name, value in merged.items() if value is not None}
    return {**GRAPH, node: {**GRAPH[node], "inputs": kept}}


def template(graph: dict[str, Any], about: str = "") -> model.Template:
    described = sidecar.read_sidecar(about, "t.toml") if about else None
    return building.build("t", graphs.parse_graph(graph), described, text=about)


def test_what_fits() -> None:
    assert preflight.check(template(GRAPH), CATALOG) == ()


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (changed("1", ckpt="sd15_v2.safetensors"), ("1", "ckpt", "value_not_in_list", "sd15.safetensors")),
        (changed("1", ckpt="quite/other.safetensors"), ("1", "ckpt", "value_not_in_list", "xl/base.safetensors")),
        (changed("2", sampler="huen"), ("2", "sampler", "value_not_in_list", "heun")),
        (changed("2", level=7), ("2", "level", "value_not_in_list", 1)),
        (changed("2", steps=0), ("2", "steps", "value_smaller_than_min", 1)),
        (changed("2", steps=1000), ("2", "steps", "value_bigger_than_max", 100)),
        (changed("2", cfg=99.5), ("2", "cfg", "value_bigger_than_max", 30.0)),
        (changed("2", cfg="much"), ("2", "cfg", "invalid_input_type", 7.0)),
        (changed("2", steps=None), ("2", "steps", "required_input_missing", 20)),
        (changed("3", images=["1", 0]), ("3", "images", "return_type_mismatch", None)),
        (changed("3", images=["2", 4]), ("3", "images", "bad_link_slot", None)),
        ({**GRAPH, "2": {**GRAPH["2"], "class_type": "Drw"}}, ("2", None, "missing_node_type", "Draw")),
        (
            {**GRAPH, "1": {"class_type": "PackLoader", "inputs": {"lora": "two.safetensors"}}},
            ("1", "lora", "missing_model", "one.safetensors"),
        ),
    ],
)
def test_each_kind_of_fault(graph: dict[str, Any], expected: tuple[Any, ...]) -> None:
    # Nothing that nobody described: the file's own values are what is checked.
    (found,) = preflight.check(template(graph, '[outputs.a]\nnode = "3"\n'), CATALOG)
    fault = found.fault
    assert (fault.node, fault.field, fault.reason, found.nearest) == expected
    assert found.as_dict().get("nearest") == expected[3]


def test_everything_is_told_at_once() -> None:
    graph = {**changed("2", steps=0, sampler="x"), "1": {"class_type": "Load", "inputs": {"ckpt": "n.safetensors"}}}
    found = preflight.check(template(graph), CATALOG)
    assert {(each.fault.node, each.fault.field) for each in found} == {("1", "ckpt"), ("2", "steps"), ("2", "sampler")}


def test_defaults_count_and_what_callers_must_give_does_not() -> None:
    text = '[parameters.{0}]\ntype = "{1}"\ntarget = "{2}"\n{3}\n'
    model_ = text.format("checkpoint", "model", "1.ckpt", 'default = "gone.safetensors"')
    (found,) = preflight.check(template(GRAPH, model_), CATALOG)
    assert (found.fault.parameter, found.fault.reason) == ("checkpoint", "value_not_in_list")
    graph = changed("1", ckpt="choose one")
    assert preflight.check(template(graph, text.format("a", "string", "1.ckpt", "required = true")), CATALOG) == ()
    assert preflight.check(template(graph), CATALOG) != ()


def test_a_pack_is_named_with_where_to_get_it() -> None:
    graph = {**GRAPH, "2": {**GRAPH["2"], "class_type": "Rare"}}
    about = '[[requirements.packs]]\nname = "Pack"\nurl = "https://x"\nclasses = ["Rare"]\n'
    (found,) = preflight.check(template(graph, about), CATALOG)
    assert "it comes with the node pack Pack (https://x)" in found.fault.message


def test_verdicts() -> None:
    finding = preflight.check(template(changed("2", steps=0)), CATALOG)
    assert preflight.Verdict(worker="a", findings=None).passes is None
    assert preflight.Verdict(worker="a", findings=()).passes is True
    assert preflight.Verdict(worker="a", findings=finding).passes is False


# Choices.


def catalog(*files: Any, **more: Any) -> object_info.NodeCatalog:
    loader = {**INFO["Load"], "input": {"required": {"ckpt": [list(files), {}]}}}
    return object_info.NodeCatalog.parse({**INFO, "Load": loader, **more})


MODEL = '[parameters.m]\ntype = "model"\ntarget = "1.ckpt"\n'


@pytest.mark.parametrize(
    ("about", "catalogs", "offered"),
    [
        (MODEL, [], ()),
        (MODEL, [catalog("a.pt", "b.pt")], ("a.pt", "b.pt")),
        (MODEL, [catalog("a.pt"), catalog("b.pt", "a.pt")], ("a.pt", "b.pt")),
        (MODEL, [catalog()], ()),
        (MODEL + 'choices = ["sd15.safetensors", "b.pt"]\n', [], ("sd15.safetensors", "b.pt")),
        (MODEL + 'choices = ["sd15.safetensors", "b.pt"]\n', [catalog("b.pt", "c.pt")], ("b.pt",)),
        (MODEL + 'choices = ["sd15.safetensors", "b.pt"]\n', [catalog("c.pt")], ()),
        (MODEL, [object_info.NodeCatalog.parse({"SaveImage": INFO["SaveImage"]})], ()),
        ('[parameters.m]\ntype = "string"\ntarget = "1.ckpt"\n', [catalog("a.pt")], ()),
    ],
)
def test_model_files_that_callers_are_told(
    about: str, catalogs: list[object_info.NodeCatalog], offered: tuple[str, ...]
) -> None:
    told = choices.offered(template(GRAPH, about), catalogs)
    assert told.parameters[0].choices == offered
    schema = describe.detail(told)["schema"]["properties"]["m"]
    assert schema.get("enum") == (list(offered) or None)


def test_workers_joined() -> None:
    one, two = catalog("a.pt"), catalog("b.pt", Extra=INFO["Draw"])
    assert joining.joined([]) is None
    assert joining.joined([one]) is one
    both = joining.joined([one, two])
    assert both is not None
    assert both.choices("Load", "ckpt") == ("a.pt", "b.pt")
    assert "Extra" in both
    assert both.choices("Draw", "level") == (1, 2, 3)


def test_a_report_has_an_end_and_near_names_are_looked_for_a_few_times() -> None:
    strange = {f"x{each}": {"class_type": f"Drwa{each}", "inputs": {}} for each in range(1_000)}
    found = preflight.check(template({**GRAPH, **strange}), CATALOG)
    assert len(found) == structure.MAX_FAULTS
    assert len(CATALOG.lacks(graphs.Requirements(classes=frozenset(map(str, range(1_000)))))) == 1_000

    graph = dict(GRAPH)
    for each in range(1_000):
        graph[f"x{each}"] = {**GRAPH["2"], "inputs": {**GRAPH["2"]["inputs"], "steps": 0, "sampler": "huen"}}
        graph[f"y{each}"] = {**GRAPH["3"], "inputs": {**GRAPH["3"]["inputs"], "images": [f"x{each}", 0]}}
    found = preflight.check(template(graph), CATALOG)
    assert len(found) == structure.MAX_FAULTS
    assert [each.nearest is None for each in found] == [False] * 50 + [True] * 450
    assert sum("Did you mean" in each.fault.message for each in found) == 20
