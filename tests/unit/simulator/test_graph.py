"""Order of execution and cache keys."""

from __future__ import annotations

import functools
from collections.abc import Set
from pathlib import Path
from typing import Any

import pytest

from gateway.simulator import Options, catalog
from gateway.simulator.graph import Order, Signatures, is_link

Prompt = dict[str, Any]


@functools.cache
def classes() -> catalog.Catalog:
    """Read the catalog once."""
    return catalog.load(Options(), Path("/nowhere"))


def order(prompt: Prompt, outputs: list[str], cached: Set[str] = frozenset()) -> list[str]:
    """List the nodes as they would run."""
    todo = Order(prompt, classes(), cached.__contains__, frozenset())
    for output in outputs:
        todo.add(output)
    done: list[str] = []
    while todo:
        name = todo.next()
        assert name is not None
        done.append(name)
        todo.done(name)
    return done


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """Write a node."""
    return {"class_type": class_type, "inputs": inputs}


TEXT_TO_IMAGE: Prompt = {
    "3": node("KSampler", model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0]),
    "4": node("CheckpointLoaderSimple"),
    "5": node("EmptyLatentImage"),
    "6": node("CLIPTextEncode", clip=["4", 1]),
    "7": node("CLIPTextEncode", clip=["4", 1]),
    "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
    "9": node("SaveImage", images=["8", 0]),
}


def test_the_recorded_order_of_a_text_to_image_job() -> None:
    """As in recording 24."""
    assert order(TEXT_TO_IMAGE, ["9"]) == ["4", "5", "7", "6", "3", "8", "9"]


def test_outputs_come_as_soon_as_they_can() -> None:
    """As in recording 04."""
    prompt = {
        "load": node("LoadImage"),
        "scale": node("ImageScale", image=["load", 0]),
        "invert": node("ImageInvert", image=["scale", 0]),
        "save": node("SaveImage", images=["invert", 0]),
        "preview": node("PreviewImage", images=["load", 0]),
        "text": node("PreviewAny", source=["scale", 0]),
        "unused": node("ImageInvert", image=["load", 0]),
    }
    expected = ["load", "preview", "scale", "text", "invert", "save"]
    assert order(prompt, ["save", "preview", "text"]) == expected


def test_cached_nodes_are_not_visited_but_as_outputs() -> None:
    """What feeds them is not visited at all."""
    assert order(TEXT_TO_IMAGE, ["9"], {"3", "4", "5", "6", "7"}) == ["8", "9"]
    assert order(TEXT_TO_IMAGE, ["9"], set(TEXT_TO_IMAGE)) == ["9"]


def keys(prompt: Prompt) -> dict[str, bytes]:
    """Return all keys."""
    return Signatures(prompt, lambda name, inputs: "" if name == "always" else None).all()


def test_keys_do_not_depend_on_ids_order_or_titles() -> None:
    """As in recording 33."""
    first = {"1": node("LoadImage", image="a"), "2": node("SaveImage", images=["1", 0], filename_prefix="x")}
    other = {
        "b": {
            "class_type": "SaveImage",
            "inputs": {"filename_prefix": "x", "images": ["a", 0]},
            "_meta": {"title": "t"},
        },
        "a": node("LoadImage", image="a"),
    }
    assert keys(first)["2"] == keys(other)["b"]


def test_keys_follow_the_ancestors() -> None:
    """A change far up changes all below."""
    changed = {**TEXT_TO_IMAGE, "4": node("CheckpointLoaderSimple", ckpt_name="other")}
    before, after = keys(TEXT_TO_IMAGE), keys(changed)
    assert {name for name in before if before[name] == after[name]} == {"5"}


def test_what_always_changes_is_never_the_same() -> None:
    """Nor is what depends on it."""
    prompt = {"1": node("always"), "2": node("ImageInvert", image=["1", 0])}
    assert not set(keys(prompt).values()) & set(keys(prompt).values())


@pytest.mark.parametrize(
    "broken", [{"class_type": "x"}, {"class_type": "x", "inputs": None}, {"class_type": "x", "inputs": []}]
)
def test_unusable_inputs_raise(broken: dict[str, Any]) -> None:
    """That is what kills a real server's thread (26b, 26g, 26i)."""
    with pytest.raises((KeyError, AttributeError)):
        keys({"1": broken})


def test_cycles_and_dangling_links_have_keys() -> None:
    """Unconnected nodes may hold them (26c, 26d)."""
    assert len(keys({"a": node("x", i=["b", 0]), "b": node("x", i=["a", 0]), "c": node("x", i=["404", 0])})) == 3


@pytest.mark.parametrize(
    ("value", "expected"),
    [(["1", 0], True), (["1", 0.0], True), ([1, 0], False), (["1"], False), (["1", "0"], False), ("1", False),
     (["1", True], False)],
)  # fmt: skip
def test_links(value: Any, expected: bool) -> None:
    """Two items: an id and a number."""
    assert is_link(value) is expected
