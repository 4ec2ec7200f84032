"""`[[examples]]` of a template: read, checked, written, and what they order."""

from __future__ import annotations

import pytest

from gateway.domain import errors
from gateway.domain.comfy import graph
from gateway.domain.templates import building, examples, model, sidecar

GRAPH = graph.parse_graph(
    {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 20, "latent_image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
    }
)
PARAMETERS = """
[parameters.image]
type = "image"
target = "1.image"
[parameters.seed]
type = "seed"
target = "2.seed"
min = 10
[parameters.steps]
type = "integer"
target = "2.steps"
max = 50
"""
TWO = """
[[examples]]
name = "harbour"
tolerance = 5
inputs = { image = "assets/harbour.png", steps = 4 }
[[examples]]
name = "hills-2"
[examples.inputs]
seed = 77
"""


def built(text: str) -> model.Template:
    text = PARAMETERS + text
    return building.build("portrait", GRAPH, sidecar.read_sidecar(text, "portrait.toml"), text=text)


def test_they_are_read_and_written_again() -> None:
    template = built(TWO)
    assert template.examples == (
        model.Example(name="harbour", inputs={"image": "assets/harbour.png", "steps": 4}, tolerance=5),
        model.Example(name="hills-2", inputs={"seed": 77}),
    )
    text = sidecar.write_sidecar(template)
    again = building.build("portrait", GRAPH, sidecar.read_sidecar(text, "portrait.toml"), text=text)
    assert again.examples == template.examples


def test_two_of_a_name_are_told_and_not_more_than_anybody_reads() -> None:
    with pytest.raises(errors.TemplateError) as caught:
        built('[[examples]]\nname = "hills"\n[[examples]]\nname = "HILLS"\n')
    assert [fault.field for fault in caught.value.faults] == ["examples.1.name"]
    misfits = [model.Example(name=f"e{n}", inputs={"no": 1}) for n in range(2000)]
    assert len(list(examples.faults(misfits, ()))) == 500


def test_a_seed_is_never_drawn() -> None:
    template = built(TWO)
    given = [examples.inputs_of(example, template.parameters) for example in (examples.DEFAULTS, *template.examples)]
    assert [each["seed"] for each in given] == [10, 10, 77]
    assert examples.DEFAULTS.inputs == {}


@pytest.mark.parametrize(
    ("text", "reason", "place"),
    [
        ("inputs = { stepps = 3 }", "unknown_parameter", "examples.0.inputs.stepps"),
        ("inputs = { steps = 51 }", "value_bigger_than_max", "examples.0.inputs.steps"),
        ('inputs = { steps = "4" }', "wrong_type", "examples.0.inputs.steps"),
        ("inputs = { seed = -1 }", "value_smaller_than_min", "examples.0.inputs.seed"),
        ('inputs = { image = "../secret.png" }', "invalid_value", "examples.0.inputs.image"),
        ("inputs = { image = 3 }", "invalid_value", "examples.0.inputs.image"),
        ("tolerence = 3", "unknown_key", "examples.0.tolerence"),
        ("tolerance = -1", "invalid_value", "examples.0.tolerance"),
        ('[[examples]]\nname = "A"', "invalid_value", "examples.1.name"),
        ('[[examples]]\nname = "a b"', "invalid_value", "examples.1.name"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, reason: str, place: str) -> None:
    with pytest.raises(errors.TemplateError) as caught:
        built(f'[[examples]]\nname = "a"\n{text}')
    assert [(fault.reason, fault.field) for fault in caught.value.faults] == [(reason, place)]


def test_the_nearest_name_is_told() -> None:
    with pytest.raises(errors.TemplateError, match="Did you mean 'steps'"):
        built('[[examples]]\nname = "a"\ninputs = { stepps = 3 }')
