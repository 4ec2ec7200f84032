"""JSON Schema of a template's inputs: it agrees with binding about what is taken."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.templates import binding, model, schema

Kind = model.ParameterType
ASSET = "0190a1b2-0000-7000-8000-000000000001"


def template() -> model.Template:
    def parameter(name: str, kind: Kind, **changes: Any) -> model.Parameter:
        return model.Parameter(name=name, type=kind, targets=(model.Target("1", name),), **changes)

    return model.Template(
        name="t",
        version="0",
        description="All there is.",
        graph=graphs.parse_graph({"1": {"class_type": "A", "inputs": {}}}),
        parameters=(
            parameter("prompt", Kind.STRING, role="prompt", required=True, multiline=True, title="Prompt"),
            parameter("steps", Kind.INTEGER, minimum=1, maximum=50, default=20, step=1),
            parameter("cfg", Kind.FLOAT, minimum=0.0),
            parameter("hires", Kind.BOOLEAN),
            parameter("sampler", Kind.CHOICE, choices=("euler", 5)),
            parameter("lora", Kind.MODEL),
            parameter("vae", Kind.MODEL, choices=("a.safetensors",)),
            parameter("seed", Kind.SEED),
            parameter("image", Kind.IMAGE),
        ),
        outputs=(),
        requirements=graphs.Requirements(),
    )


def test_the_schema_is_a_schema() -> None:
    told = schema.json_schema(template())
    jsonschema_rs.meta.validate(told)
    assert told["required"] == ["prompt"]
    assert told["description"] == "All there is."
    assert told["properties"]["prompt"] == {
        "type": "string",
        "title": "Prompt",
        "x-type": "string",
        "x-role": "prompt",
        "x-targets": ["1.prompt"],
        "x-multiline": True,
    }
    assert told["properties"]["steps"]["maximum"] == 50
    assert told["properties"]["seed"]["minimum"] == -1


VALUES: list[dict[str, Any]] = [
    {"steps": 5},
    {"steps": 0},
    {"steps": 51},
    {"steps": 5.0},
    {"steps": 5.5},
    {"steps": "5"},
    {"steps": True},
    {"cfg": 5},
    {"cfg": -0.1},
    {"hires": True},
    {"hires": 1},
    {"sampler": "euler"},
    {"sampler": 5},
    {"sampler": "heun"},
    {"lora": "x.safetensors"},
    {"vae": "a.safetensors"},
    {"vae": "x.safetensors"},
    {"seed": -1},
    {"seed": -2},
    {"seed": 2**64 - 1},
    {"seed": 2**64},
    {"image": ASSET},
    {"image": {"asset_id": ASSET}},
    {"image": {"__type": "core/ASSET", "info": {"id": ASSET}}},
    {"image": {"__type": "core/ASSET"}},
    {"image": 5},
    {"unknown": 5},
]


@pytest.mark.parametrize("values", VALUES, ids=str)
def test_schema_and_binding_agree(values: dict[str, Any]) -> None:
    inputs = {"prompt": "a fox", **values}
    valid = jsonschema_rs.Draft202012Validator(schema.json_schema(template())).is_valid(inputs)
    try:
        binding.bind(template(), inputs, draw_seed=lambda: 0)
    except errors.InvalidInputs:
        assert not valid
    else:
        assert valid
