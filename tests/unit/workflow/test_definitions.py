"""The shape of a node class: what a saved file's meaning depends on, and what it does not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from gateway.domain.workflow import conversion, definitions

ENTRY: dict[str, Any] = {
    "input": {
        "required": {
            "model": [["a.safetensors", "b.safetensors"], {"tooltip": "Which."}],
            "seed": ["INT", {"default": 0, "min": 0, "max": 10}],
            "size": [
                "COMFY_DYNAMICCOMBO_V3",
                {"options": [{"key": "own", "inputs": {"required": {"width": ["INT", {"default": 8}]}}}]},
            ],
        },
        "optional": {"mask": ["MASK"]},
    },
    "input_order": {"required": ["model", "seed", "size"], "optional": ["mask"]},
    "output": ["IMAGE"],
    "display_name": "A node",
}


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    entry = copy.deepcopy(ENTRY)
    change(entry)
    return definitions.shape(entry)


def required(entry: dict[str, Any]) -> dict[str, Any]:
    return entry["input"]["required"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda it: required(it)["model"][0].append("c.safetensors"), id="a file more"),
        pytest.param(lambda it: required(it)["model"].pop(), id="no words"),
        pytest.param(lambda it: required(it)["seed"][1].update(max=20), id="another bound"),
        pytest.param(lambda it: it.update(display_name="Another name"), id="another name"),
        pytest.param(lambda it: it.update(description="Words"), id="a description"),
    ],
)
def test_what_comes_and_goes_is_no_other_shape(change: Callable[[dict[str, Any]], object]) -> None:
    assert changed(change) == definitions.shape(ENTRY)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda it: it["input_order"]["required"].reverse(), id="another order"),
        pytest.param(lambda it: required(it).update(steps=["INT", {}]), id="an input more"),
        pytest.param(lambda it: required(it)["seed"][1].update(control_after_generate=False), id="a widget less"),
        pytest.param(lambda it: required(it)["seed"][1].update(forceInput=True), id="a socket"),
        pytest.param(lambda it: required(it)["seed"][1].update(default=1), id="another default"),
        pytest.param(lambda it: required(it)["seed"].__setitem__(0, "FLOAT"), id="another type"),
        pytest.param(
            lambda it: required(it)["size"][1]["options"][0]["inputs"]["required"].update(height=["INT", {}]),
            id="an input more in a variant",
        ),
        pytest.param(lambda it: it["output"].append("MASK"), id="an output more"),
    ],
)
def test_what_a_file_means_is_another_shape(change: Callable[[dict[str, Any]], object]) -> None:
    assert changed(change) not in {definitions.shape(ENTRY), ""}


@pytest.mark.parametrize("entry", [None, "words", 3, []])
def test_what_is_no_description_has_no_shape(entry: object) -> None:
    assert definitions.shape(entry) == ""


def test_a_conversion_tells_which_classes_counted() -> None:
    info = {"Loner": {"input": {}, "output": []}, "Other": {"input": {}, "output": []}}
    file = {"nodes": [{"id": 1, "type": "Loner"}, {"id": 2, "type": "Note"}], "links": [], "version": 0.4}
    made = conversion.convert(file, info)
    assert made.shapes == {"Loner": definitions.shape(info["Loner"])}


def test_a_worker_may_nest_as_deep_as_it_likes() -> None:
    def nested(depth: int) -> Any:
        value: Any = "end"
        for number in range(depth):
            value = {"a": value} if number % 2 else [value]
        return value

    def shape(value: Any) -> str:
        return changed(lambda it: required(it)["seed"][1].update(default=value))

    assert shape(nested(5)) != shape(nested(6))
    entry = {"input": {"required": {"x": ["INT", {"default": nested(100_000)}]}}}
    assert definitions.shape(entry)
    combo: Any = ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": nested(100_000), "inputs": {}}]}]
    for _ in range(2000):
        combo = ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "a", "inputs": {"required": {"x": combo}}}]}]
    assert definitions.shape({"input": {"required": {"x": combo}}})
