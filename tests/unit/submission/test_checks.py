"""What no known worker would run, told in the words of the one that comes nearest."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info
from gateway.submission import checks

SAVE = {
    "input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {}]}},
    "output": [],
    "output_node": True,
}


def info(*files: str, size: int = 4096, **more: Any) -> object_info.NodeCatalog:
    loader = {"input": {"required": {"ckpt_name": [[*files]]}}, "output": ["MODEL"], "python_module": "nodes"}
    paint = {
        "input": {"required": {"model": ["MODEL"], "width": ["INT", {"min": 16, "max": size}]}},
        "output": ["IMAGE"],
        "python_module": "nodes",
    }
    pack = {"input": {"required": {"file": [[*files]]}}, "output": ["IMAGE"], "python_module": "custom_nodes.pack"}
    save = {**SAVE, "python_module": "nodes"}
    return object_info.NodeCatalog.parse({"Load": loader, "Paint": paint, "Save": save, "Pack": pack, **more})


def graph(file: str = "a.safetensors", width: int = 64, **more: Any) -> graphs.Graph:
    return graphs.parse_graph(
        {
            "1": {"class_type": "Load", "inputs": {"ckpt_name": file}},
            "2": {"class_type": "Paint", "inputs": {"model": ["1", 0], "width": width}},
            "3": {"class_type": "Save", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
            **more,
        }
    )


def refusals(item: graphs.Graph, *catalogs: object_info.NodeCatalog) -> list[tuple[str, str | None, str | None]]:
    needs = graphs.requirements(item, checks.Facts(catalogs))
    return [(fault.reason, fault.node, fault.field) for fault in checks.refusals(item, needs, catalogs)]


def test_while_no_worker_is_known_everything_sound_may_wait() -> None:
    assert refusals(graph()) == []


def test_one_worker_that_can_is_enough() -> None:
    assert refusals(graph(), info("b.safetensors"), info("a.safetensors")) == []


def test_a_model_that_nobody_has_is_told_with_its_place() -> None:
    assert refusals(graph(), info("b.safetensors")) == [("value_not_in_list", "1", "ckpt_name")]


def test_the_nearest_worker_is_the_one_that_tells() -> None:
    far = object_info.NodeCatalog.parse({"Save": SAVE})
    near = info("a.safetensors", size=32)
    assert refusals(graph(), far, near) == [("value_bigger_than_max", "2", "width")]


def test_a_missing_class_is_told_once_for_each_node() -> None:
    more: dict[str, Any] = {"4": {"class_type": "Nowhere", "inputs": {}}, "5": {"class_type": "Nowhere", "inputs": {}}}
    assert refusals(graph(**more), info("a.safetensors")) == [
        ("missing_node_type", "4", None),
        ("missing_node_type", "5", None),
    ]


def test_a_model_that_only_a_pack_knows_is_told_with_its_place() -> None:
    more: dict[str, Any] = {
        "4": {"class_type": "Pack", "inputs": {"file": "z.safetensors"}},
        "5": {"class_type": "Save", "inputs": {"images": ["4", 0], "filename_prefix": "y"}},
        "6": {"class_type": "Pack", "inputs": {"file": "a.safetensors"}},
        "7": {"class_type": "Save", "inputs": {"images": ["6", 0], "filename_prefix": "y"}},
    }
    assert refusals(graph(**more), info("a.safetensors")) == [("missing_model", "4", "file")]


def test_what_could_never_be_placed_is_refused_although_comfyui_would_take_it() -> None:
    """ComfyUI drops an output that cannot run; placement would wait for the model of that output for ever."""
    more: dict[str, Any] = {
        "4": {"class_type": "Load", "inputs": {"ckpt_name": "z.safetensors"}},
        "5": {"class_type": "Paint", "inputs": {"model": ["4", 0], "width": 64}},
        "6": {"class_type": "Save", "inputs": {"images": ["5", 0], "filename_prefix": "y"}},
    }
    assert refusals(graph(**more), info("a.safetensors")) == [("missing_model", "4", "ckpt_name")]


@pytest.mark.parametrize("name", ["../x.png", "/etc/passwd", "a\\..\\b"])
def test_upload_fields_that_only_a_worker_knows_are_held_to_the_rules_too(name: str) -> None:
    upload = {"input": {"required": {"pic": [["a.png"], {"image_upload": True}]}}, "output": ["IMAGE"]}
    catalog = object_info.NodeCatalog.parse({"PackLoader": upload, "Save": SAVE})
    item = graphs.parse_graph({"1": {"class_type": "PackLoader", "inputs": {"pic": name}}})
    fields = graphs.upload_fields(item, checks.Facts([catalog]))
    assert [(fault.reason, fault.node, fault.field) for fault in checks.file_name_faults(fields)] == [
        ("invalid_file_name", "1", "pic")
    ]
    assert graphs.upload_fields(item, checks.Facts([])) == ()


def test_facts_are_of_the_first_worker_that_knows() -> None:
    silent = object_info.NodeCatalog.parse({"Load": SAVE})
    facts = checks.Facts([silent, info("a.safetensors")])
    assert facts.is_output("Save") is True
    assert facts.is_output("Paint") is False
    assert facts.is_output("Nowhere") is None


def test_what_workers_lack_is_told_beside_what_is_unsound() -> None:
    """One answer tells all: the dangling link is the graph's, the class and the model are the workers'."""
    workflow = {
        "1": {"class_type": "Load", "inputs": {"ckpt_name": "a.safetensors"}},
        "2": {"class_type": "Nope", "inputs": {"image": ["9", 0]}},
        "3": "not a node",
        "4": {"class_type": "Save"},
    }
    faults = checks.lacking_besides(workflow, [info("b.safetensors")])
    assert [(fault.node, fault.reason, fault.class_type) for fault in faults] == [
        ("2", "missing_node_type", "Nope"),
        ("1", "missing_model", "Load"),
    ]
    assert checks.lacking_besides(workflow, []) == ()
    assert checks.lacking_besides([workflow], [info()]) == ()
