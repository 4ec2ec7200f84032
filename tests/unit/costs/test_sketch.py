"""Sketches: keys as ComfyUI's, and how much work a graph is."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.comfy import graph as graphs
from gateway.domain.costs import sketch as sketches


def graph(*, checkpoint: str = "xl.safetensors", text: str = "a cat", seed: int = 1, steps: int = 20) -> graphs.Graph:
    return graphs.parse_graph({
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": text, "clip": ["4", 1]}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 1024, "height": 512, "batch_size": 2}},
        "3": {
            "class_type": "KSampler",
            "inputs": {"seed": seed, "steps": steps, "model": ["4", 0], "positive": ["6", 0], "latent_image": ["5", 0]},
        },
        "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
    })  # fmt: skip


def shared(one: graphs.Graph, other: graphs.Graph) -> list[str]:
    """The nodes whose results the second graph could take from the first."""
    held = sketches.sketch(one).held
    return [node for node, key in zip(other, sketches.sketch(other).keys, strict=True) if key in held]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (graph(), ["4", "6", "5", "3", "9"]),
        (graph(seed=2), ["4", "6", "5"]),
        (graph(text="a dog"), ["4", "5"]),
        (graph(checkpoint="other.safetensors"), ["5"]),
    ],
    ids=["the same", "another seed", "another text", "another model"],
)
def test_keys_are_equal_as_far_as_graphs_begin_alike(other: graphs.Graph, expected: list[str]) -> None:
    assert shared(graph(), other) == expected


def test_the_ids_of_nodes_and_the_order_of_inputs_mean_nothing() -> None:
    renamed: dict[str, Any] = {
        "a": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "xl.safetensors"}},
        "b": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["a", 1], "text": "a cat"}},
    }
    assert shared(graph(), graphs.parse_graph(renamed)) == ["a", "b"]


def test_a_sketch_survives_its_packing() -> None:
    made = sketches.sketch(graph())
    assert sketches.Sketch.unpack(made.pack()) == made
    assert sketches.Sketch.unpack(made.pack()).held == made.held
    assert sketches.Sketch.unpack(None) == sketches.UNKNOWN
    assert sketches.Sketch.unpack(b"") == sketches.UNKNOWN


def test_work_grows_with_steps_pixels_and_pictures() -> None:
    assert sketches.work(graph()) == 20 * 2 * 2
    assert sketches.work(graph(steps=40)) == 2 * sketches.work(graph())


@pytest.mark.parametrize("value", [0, -1, True, "many", None, ["4", 0], 1e300])
def test_work_ignores_what_is_no_amount(value: object) -> None:
    whole = graphs.Graph({"1": {"class_type": "KSampler", "inputs": {"steps": value}}})
    assert sketches.work(whole) == 1.0


def test_a_deep_graph_is_read_without_recursion() -> None:
    deep = {"0": {"class_type": "EmptyImage", "inputs": {}}} | {
        str(n): {"class_type": "ImageInvert", "inputs": {"image": [str(n - 1), 0]}} for n in range(1, 240)
    }
    whole = graphs.Graph(dict(reversed(deep.items())))
    assert len(set(sketches.sketch(whole).keys)) == 240


def test_keys_of_a_huge_graph_are_not_kept() -> None:
    huge = graphs.Graph({str(n): {"class_type": "EmptyImage", "inputs": {"width": n}} for n in range(300)})
    assert sketches.sketch(huge).keys == ()
