"""A pipeline's file: what it may say, and what is told when it does not make sense."""

from __future__ import annotations

import json

import pytest

from gateway.domain import errors
from gateway.domain.pipelines import model, reading
from gateway.domain.templates import model as templates

DRAW = '[[steps]]\nname = "draw"\ntemplate = "sdxl"\n'


def test_a_whole_file() -> None:
    text = (
        'title = "Poster"\nretention = "2h"\noutputs = ["draw", "web"]\n'
        '[inputs]\nprompt = "draw.prompt"\nseed = ["draw.seed", "large.seed"]\n'
        + DRAW
        + '[[steps]]\nname = "large"\ntemplate = "upscale@stable"\ninputs = { image = "@draw[1]", scale = 2.0 }\n'
        '[[steps]]\nname = "web"\nof = "@large"\nfinish = { format = "webp", quality = 80 }\n'
        '[[steps]]\nname = "safe"\nof = "web"\ncheck = { url = "https://check.example/", seconds = 5 }\n'
    )
    made = reading.read_pipeline(text, "poster.pipeline.toml")
    assert [step.name for step in made.steps] == ["draw", "large", "web", "safe"]
    assert made.inputs["seed"] == (model.Target("draw", "seed"), model.Target("large", "seed"))
    assert made.outputs == ("draw", "web")
    assert made.retention == 7200
    assert [step.needs() for step in made.steps] == [set(), {"draw"}, {"large"}, {"web"}]
    assert made.steps[1].inputs == {"image": "@draw[1]", "scale": 2.0}
    assert made.steps[2].finish == model.Finish(format="webp", quality=80)
    assert made.is_sealed


def test_the_last_step_is_the_result_when_nothing_is_said() -> None:
    assert reading.read_pipeline(DRAW, "x").outputs == ("draw",)


def test_json_says_the_same() -> None:
    steps = [{"name": "draw", "template": "sdxl", "inputs": {"width": 64}}]
    examples = [{"name": "fox", "inputs": {"prompt": "a fox"}, "tolerance": 2}]
    made = reading.read_pipeline(json.dumps({"steps": steps, "examples": examples}), "the pipeline")
    toml = DRAW + 'inputs = { width = 64 }\n[[examples]]\nname = "fox"\ninputs = { prompt = "a fox" }\ntolerance = 2\n'
    assert made == reading.read_pipeline(toml, "x")
    assert made.examples == (templates.Example(name="fox", inputs={"prompt": "a fox"}, tolerance=2),)


@pytest.mark.parametrize(
    "text",
    [
        f"a = {'[' * 20_000}",
        '{"a":' * 20_000,
        f"a = {'1' * 10_000}",
        f"a{'.a' * 200_000} = 1",
        "a.a.a.a = 1\n" * 20_000,
        "{",
        "steps = 1979-05-27",
        "\x00",
        DRAW + "inputs = { n = nan }",
    ],
)
def test_what_nobody_would_write_is_refused(text: str) -> None:
    with pytest.raises(errors.TemplateError):
        reading.read_pipeline(text, "x.pipeline.toml")


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("steps = [", None, "is not TOML"),
        ('title = "x"', "steps", "steps"),
        (DRAW + 'colour = "red"\n', "steps.0.colour", "colour"),
        (DRAW + DRAW, "steps.1.name", "two steps called 'draw'"),
        ('[[steps]]\nname = "a"\n', "steps.0", "needs one of"),
        (DRAW + 'finish = { format = "webp" }\n', "steps.0", "needs one of"),
        (DRAW + 'of = "draw"\n', "steps.0.of", "through its `inputs`"),
        ('[[steps]]\nname = "a"\nfinish = { width = 10 }\n', "steps.0", "needs `of`"),
        (DRAW + 'inputs = { image = "@sketch" }\n', "steps.0", "'sketch', which is no step"),
        (DRAW + '[inputs]\nx = "other.prompt"\n', "inputs.x", "no step with a template"),
        (DRAW + "[inputs]\nx = []\n", "inputs.x", "goes nowhere"),
        (DRAW + '[[examples]]\nname = "x"\n' * 201, "examples", "at most 200 items"),
        (f'retention = "{11 * 365}d"\n{DRAW}', "retention", "must be at most 315360000"),
        ('{"steps": [{"name": "draw", "template": "\\ud800"}]}', None, "half of a surrogate pair"),
        (DRAW + 'inputs = { prompt = "a" }\n[inputs]\nx = "draw.prompt"\n', "inputs.x", "itself already"),
        ('outputs = ["end"]\n' + DRAW, "outputs.0", "'end' is no step"),
        ('outputs = ["draw", "draw"]\n' + DRAW, "outputs.1", "'draw' is there twice"),
        (DRAW + 'inputs = { image = "@draw" }\n', "steps", "draw → draw"),
        ('[[steps]]\nname = "a"\nof = "a"\nfinish = { quality = 200 }\n', "steps.0.finish.quality", "quality"),
    ],
)
def test_what_makes_no_sense_is_told_with_its_place(text: str, place: str | None, said: str) -> None:
    with pytest.raises(errors.TemplateError, match=r"x\.pipeline\.toml") as caught:
        reading.read_pipeline(text, "x.pipeline.toml")
    assert said in caught.value.message
    assert [fault.field for fault in caught.value.faults][:1] == ([] if place is None else [place])


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = (
        DRAW
        + '[[steps]]\nname = "tone"\ntemplate = "edit"\ninputs = { image = "@drow" }\n'
        + '[[steps]]\nname = "web"\nof = "tone"\nfinish = { format = "wbp", qualty = 90 }\n'
        + '[inputs]\nprompt = "dra.prompt"\n'
    )
    with pytest.raises(errors.TemplateError) as caught:
        reading.read_pipeline(text, "x.pipeline.toml")
    assert [(fault.field, fault.message.partition(":")[0]) for fault in caught.value.faults] == [
        ("steps.2.finish.format", "step web"),
        ("steps.2.finish.qualty", "step web"),
        ("steps.1", "step tone"),
        ("inputs.prompt", "`inputs.prompt`"),
    ]
    assert "Did you mean 'draw'?" in caught.value.faults[2].message


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("@draw", model.Reference("draw")),
        ("@draw.mask", model.Reference("draw", "mask")),
        ("@draw[2]", model.Reference("draw", None, 2)),
        ("@draw.mask[3]", model.Reference("draw", "mask", 3)),
        ("draw", None),
        ("@", None),
        ("@draw[x]", None),
        ("a@draw", None),
    ],
)
def test_references(text: str, reference: model.Reference | None) -> None:
    assert model.Reference.parse(text) == reference
    assert reference is None or str(reference) == text
