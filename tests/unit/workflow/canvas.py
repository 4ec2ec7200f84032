"""Small workflows written by hand, as an editor would save them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.domain.workflow import conversion

#: A few classes that are enough to say everything with.
INFO: dict[str, Any] = {
    "Make": {
        "input": {"required": {"width": ["INT", {"default": 64}], "mode": [["fast", "good"], {}]}},
        "output": ["IMAGE", "MASK"],
        "display_name": "Make Image",
    },
    "Blend": {
        "input": {
            "required": {"image": ["IMAGE"], "amount": ["FLOAT", {"default": 0.5}]},
            "optional": {"other": ["IMAGE"], "mask": ["MASK"]},
        },
        "output": ["IMAGE"],
    },
    "Number": {"input": {"required": {"value": ["INT", {"default": 1}]}}, "output": ["INT"]},
    "Sample": {
        "input": {
            "required": {
                "seed": ["INT", {"default": 0, "control_after_generate": True}],
                "steps": ["INT", {"default": 20}],
                "sampler": ["COMBO", {"options": ["euler", "heun"]}],
            },
            "optional": {"text": ["STRING", {"default": "hello"}]},
        },
        "output": ["LATENT"],
    },
    "Forced": {
        "input": {
            "required": {"a": ["INT", {"default": 1}], "b": ["STRING", {"forceInput": True}], "c": ["INT", {}]},
            "hidden": {"unique_id": "UNIQUE_ID"},
        },
        "output": ["INT"],
    },
    "Choose": {
        "input": {
            "required": {
                "kind": [
                    "COMFY_DYNAMICCOMBO_V3",
                    {
                        "options": [
                            {"key": "none", "inputs": {}},
                            {
                                "key": "size",
                                "inputs": {
                                    "required": {
                                        "width": ["INT", {"default": 5}],
                                        "crop": [
                                            "COMFY_DYNAMICCOMBO_V3",
                                            {
                                                "options": [
                                                    {"key": "off", "inputs": {}},
                                                    {
                                                        "key": "on",
                                                        "inputs": {"required": {"edge": ["FLOAT", {"default": 0.1}]}},
                                                    },
                                                ]
                                            },
                                        ],
                                    }
                                },
                            },
                        ]
                    },
                ],
                "last": ["STRING", {"default": "end"}],
            }
        },
        "output": ["IMAGE"],
    },
    "Colors": {"input": {"required": {"palette": ["COLORS", {"default": []}]}}, "output": ["IMAGE"]},
    "Upload": {
        "input": {
            "required": {"image": [["a.png"], {"image_upload": True}], "size": ["INT", {"default": 3}]},
            "optional": {"after": ["INT", {"default": 4}]},
        },
        "output": ["IMAGE"],
    },
    "Save": {
        "input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "ComfyUI"}]}},
        "output": [],
        "output_node": True,
    },
    "Show": {"input": {"required": {"value": ["*"]}}, "output": [], "output_node": True},
}


def node(
    node_id: int | str,
    kind: str,
    values: Any = None,
    *,
    inputs: Sequence[dict[str, Any]] = (),
    outputs: Sequence[str] = (),
    **more: Any,
) -> dict[str, Any]:
    """A node; `outputs` are types."""
    made = {"id": node_id, "type": kind, "mode": 0, "inputs": list(inputs), "pos": [0, 0], "properties": {}, **more}
    made["outputs"] = [{"name": each.lower(), "type": each, "links": []} for each in outputs]
    return made if values is None else {**made, "widgets_values": values}


def slot(name: str, link: int | None = None, kind: str = "IMAGE", *, widget: bool = False) -> dict[str, Any]:
    """An input; `widget`: one that stands for a widget."""
    made = {"name": name, "type": kind, "link": link}
    return {**made, "widget": {"name": name}} if widget else made


def workflow(
    nodes: Sequence[Any], links: Sequence[Any] = (), subgraphs: Sequence[Any] = (), **more: Any
) -> dict[str, Any]:
    """A file."""
    made = {"version": 0.4, "nodes": list(nodes), "links": list(links), "groups": [], "extra": {}, **more}
    return {**made, "definitions": {"subgraphs": list(subgraphs)}} if subgraphs else made


def subgraph(
    identity: str,
    nodes: Sequence[Any],
    links: Sequence[tuple[int, Any, int, Any, int]],
    *,
    inputs: Mapping[str, str] | None = None,
    outputs: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A definition; links are written as a canvas writes them, and kept as a subgraph keeps them."""
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
    kept: list[dict[str, Any]] = [dict(zip(keys, link, strict=True)) for link in links]

    def slots(side: Mapping[str, str] | None, end: str, border: int) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "type": kind,
                "linkIds": [
                    link["id"] for link in kept if link[f"{end}_id"] == border and link[f"{end}_slot"] == place
                ],
            }
            for place, (name, kind) in enumerate((side or {}).items())
        ]

    return {
        "id": identity,
        "name": f"My {identity}",
        "nodes": list(nodes),
        "links": kept,
        "inputs": slots(inputs, "origin", -10),
        "outputs": slots(outputs, "target", -20),
    }


def converted(made: Any, *, allow_unknown: bool = False) -> dict[str, dict[str, Any]]:
    """Inputs of each node of the graph that this file becomes."""
    result = conversion.convert(made, INFO, allow_unknown=allow_unknown)
    return {node_id: each["inputs"] for node_id, each in result.graph.items()}
