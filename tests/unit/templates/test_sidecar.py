"""The file beside a workflow: what it may say, how its faults are told, and that what we write we read."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.templates import building, drafts, model, sidecar

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16

GRAPH = graphs.parse_graph(
    {
        "3": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 20, "positive": ["6", 0], "model": ["4", 0]}},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox", "clip": ["4", 1]}},
        "7:1": {"class_type": "Resize", "inputs": {"resize_type": "x", "resize_type.width": 64, "image": ["8", 0]}},
        "8": {"class_type": "LoadImage", "inputs": {"image": "mine.png"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["7:1", 0], "latent": ["3", 0], "filename_prefix": "x"}},
    }
)


def build(text: str, files: dict[str, bytes] | None = None) -> model.Template:
    described = sidecar.read_sidecar(text, "t.toml")
    return building.build("t", GRAPH, described, text=text, files=files, source="t.toml")


def test_a_whole_file() -> None:
    template = build(
        """
        title = "Foxes"
        description = "Draws foxes."
        tags = ["fox"]

        [parameters.prompt]
        type = "string"
        role = "prompt"
        target = "6.text"
        multiline = true

        [parameters.steps]
        type = "integer"
        targets = ["3.steps"]
        min = 1
        max = 50
        default = 30

        [parameters.width]
        type = "integer"
        target = "7:1.resize_type.width"

        [parameters.image]
        type = "image"
        target = "8.image"
        default_file = "assets/a.png"

        [parameters.seed]
        type = "seed"
        target = "3.seed"

        [outputs.picture]
        node = "9"
        title = "Picture"

        [[requirements.packs]]
        name = "FoxPack"
        url = "https://example.org/fox"
        classes = ["Fox"]

        [[requirements.models]]
        file = "a.safetensors"
        folder = "checkpoints"
        sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        """,
        files={"assets/a.png": PNG},
    )
    assert (template.title, template.tags, template.inferred) == ("Foxes", ("fox",), False)
    assert [(item.name, item.default) for item in template.parameters] == [
        ("prompt", "a fox"),  # the graph's own, since the file gives none
        ("steps", 30),
        ("width", 64),
        ("image", None),
        ("seed", None),
    ]
    width = template.parameter("width")
    assert width is not None
    assert width.targets == (model.Target("7:1", "resize_type.width"),)
    assert template.outputs == (model.OutputSpec(name="picture", node="9", title="Picture"),)
    assert template.packs == (model.NodePack(name="FoxPack", url="https://example.org/fox", classes=("Fox",)),)
    assert template.models[0].folder == "checkpoints"
    assert template.requirements.models == {("CheckpointLoaderSimple", "ckpt_name", "a.safetensors")}


def test_a_file_parameter_without_default_is_required() -> None:
    image = build('[parameters.image]\ntype = "image"\ntarget = "8.image"').parameters[0]
    assert image.required
    image = build('[parameters.image]\ntype = "image"\ntarget = "8.image"\nrequired = false').parameters[0]
    assert not image.required


def test_ids_and_inputs_may_hold_dots() -> None:
    nodes = {
        "7": {"class_type": "Save", "inputs": {"a": 1, "1.b": 2}},
        "7.1": {"class_type": "Save", "inputs": {"c": 3}},
    }
    graph = graphs.parse_graph(nodes)
    for text, node, field in (("7.a", "7", "a"), ("7.1.b", "7", "1.b"), ("7.1.c", "7.1", "c")):
        about = sidecar.read_sidecar(parameter('type = "integer"', f'target = "{text}"'), "t.toml")
        (found,) = building.build("t", graph, about).parameters
        assert found.targets == (model.Target(node, field),)
    about = sidecar.read_sidecar(parameter('type = "integer"', 'target = "7.1.d"'), "t.toml")
    with pytest.raises(errors.TemplateError, match=r"Node 7\.1 \(Save\) has no input 'd'"):
        building.build("t", graph, about)


def test_what_the_file_leaves_out_is_inferred() -> None:
    template = build('title = "Foxes"')
    assert template.inferred
    assert {item.name for item in template.parameters} >= {"prompt", "seed", "steps", "image", "checkpoint"}
    assert template.outputs[0].node == "9"


def parameter(*lines: str) -> str:
    return "\n".join(["[parameters.p]", *lines])


STRING = 'type = "string"'
TEXT = 'target = "6.text"'

#: case, file, key of the fault, part of its message
BROKEN: list[tuple[str, str, str | None, str]] = [
    ("not TOML", "title = ", None, "not TOML"),
    ("unknown key", 'titel = "x"', "titel", "Did you mean 'title'?"),
    ("wrong type", "title = 5", "title", "must be text"),
    ("unknown key of a parameter", parameter(STRING, TEXT, 'defualt = "x"'), "parameters.p.defualt", "'default'"),
    ("unknown key of an output", '[outputs.o]\nnode = "9"\ntitel = "x"', "outputs.o.titel", "'title'"),
    ("unknown requirement", "[requirements]\nmodel = []", "requirements.model", "'models'"),
    ("bad hash", '[[requirements.models]]\nfile = "x"\nsha256 = "y"', "requirements.models.0.sha256", "pattern"),
    ("unknown key of a model", '[[requirements.models]]\nfile = "x"\nsha = 1', "requirements.models.0.sha", "'sha256'"),
    ("no type", parameter(TEXT), "parameters.p.type", "is missing"),
    ("unknown type", parameter('type = "text"', TEXT), "parameters.p.type", "string"),
    ("bad name", f'[parameters."a b"]\n{STRING}\n{TEXT}', "parameters.a b", "pattern"),
    ("no target", parameter(STRING), "parameters.p.target", "node.input"),
    ("target is no target", parameter(STRING, 'target = "6"'), "parameters.p.target", "node.input"),
    ("unknown node", parameter(STRING, 'target = "66.text"'), "parameters.p.target", "no node '66'"),
    ("unknown input", parameter(STRING, 'targets = ["6.txt"]'), "parameters.p.targets", "Did you mean 'text'?"),
    ("unknown role", parameter(STRING, TEXT, 'role = "promt"'), "parameters.p.role", "Did you mean 'prompt'?"),
    ("choice without choices", parameter('type = "choice"', TEXT), "parameters.p.choices", "choices"),
    (
        "default not a choice",
        parameter('type = "choice"', TEXT, 'choices = ["b"]', 'default = "a"'),
        "parameters.p.default",
        "Takes one of",
    ),
    (
        "the graph's own value not a choice",
        parameter('type = "choice"', TEXT, 'choices = ["b"]'),
        "parameters.p.default",
        "Takes one of",
    ),
    (
        "default out of bounds",
        parameter('type = "integer"', 'target = "3.steps"', "max = 10"),
        "parameters.p.default",
        "bigger than the maximum of 10",
    ),
    ("default of another type", parameter(STRING, TEXT, "default = 5"), "parameters.p.default", "not a number"),
    ("bounds of a text", parameter(STRING, TEXT, "min = 1"), "parameters.p.min", "no bounds"),
    (
        "bounds crossed",
        parameter('type = "integer"', 'target = "3.steps"', "min = 99", "max = 1"),
        "parameters.p.min",
        "above max",
    ),
    ("infinite bound", parameter('type = "float"', 'target = "3.steps"', "max = inf"), "parameters.p.max", "finite"),
    (
        "required with a default",
        parameter(STRING, TEXT, "required = true", 'default = "x"'),
        "parameters.p.required",
        "default",
    ),
    ("file for a text", parameter(STRING, TEXT, 'default_file = "x"'), "parameters.p.default_file", "no default file"),
    (
        "set twice",
        f"{parameter(STRING, TEXT)}\n[parameters.q]\n{STRING}\n{TEXT}",
        "parameters.q.targets",
        "6.text is set by 'p', too",
    ),
    ("unknown key called as a type", "int = 1", "int", "no such key"),
    ("unknown key of a limit called so", "[limits]\nint = 1", "limits.int", "no such key"),
    ("unknown key of a parameter called so", f"[parameters.int]\n{STRING}\n{TEXT}\nstr = 1", "parameters.int.str", ""),
    ("parameter called so", f"[parameters.int]\n{STRING}\n{TEXT}\nmin = []", "parameters.int.min", "number"),
    ("no table for a parameter called so", "parameters.str = 1", "parameters.str", "must be"),
    ("parameter called as a key", f"[parameters.min]\n{STRING}\n{TEXT}\nmin = []", "parameters.min.min", "number"),
    (
        "value of an example called so",
        f'{parameter(STRING, TEXT)}\n[[examples]]\nname = "a"\n[examples.inputs]\nint = []',
        "examples.0.inputs.int",
        "text",
    ),
    ("output of an unknown node", '[outputs.o]\nnode = "99"', "outputs.o.node", "no node"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "text", "field", "message"), BROKEN, ids=[row[0] for row in BROKEN])
def test_faults_name_file_and_key(case: str, text: str, field: str | None, message: str) -> None:
    with pytest.raises(errors.TemplateError) as caught:
        build(text)
    assert "t.toml" in caught.value.message
    if field is None:
        assert message in caught.value.message
    else:
        assert [(fault.field, message in fault.message) for fault in caught.value.faults] == [(field, True)]


def test_all_faults_of_a_file_come_at_once() -> None:
    with pytest.raises(errors.TemplateError) as caught:
        build(parameter(STRING, 'target = "6.txt"', 'role = "promt"') + '\n[outputs.o]\nnode = "99"')
    assert {fault.field for fault in caught.value.faults} == {
        "parameters.p.target",
        "parameters.p.role",
        "outputs.o.node",
    }


def test_a_key_that_makes_no_sense_hides_nothing_else() -> None:
    text = (
        'titel = "Fox"\n'
        + parameter(STRING, TEXT, "requierd = true")
        + '\n[parameters.steps]\ntype = "integer"\ntarget = "33.steps"\n'
        + '[parameters.odd]\ntype = "colour"\ntarget = "6.text"\n'
        + '[[examples]]\nname = "fox"\n[examples.inputs]\nq = "a fox"\nsteps = 4\nodd = "red"\n'
    )
    with pytest.raises(errors.TemplateError) as caught:
        drafts.described(text, GRAPH, file="t.toml")
    assert len(caught.value.faults) == 5
    assert {fault.field for fault in caught.value.faults} == {
        "titel",
        "parameters.p.requierd",
        "parameters.odd.type",
        "parameters.steps.target",
        "examples.0.inputs.q",  # no word of `steps` and `odd`, which are parameters, if not good ones
    }


def test_a_wrong_target_hides_no_fault_of_an_example() -> None:
    with pytest.raises(errors.TemplateError) as caught:
        build(parameter(STRING, 'target = "66.text"') + '\n[[examples]]\nname = "fox"\ninputs = { p = "x", q = "x" }')
    assert [fault.field for fault in caught.value.faults] == ["parameters.p.target", "examples.0.inputs.q"]


def test_deep_nesting_is_no_crash() -> None:
    with pytest.raises(errors.TemplateError, match=r"t\.toml"):
        build("x = " + "[" * 100_000)


def test_a_default_file_must_be_what_the_parameter_takes() -> None:
    text = parameter('type = "image"', 'target = "8.image"', 'default_file = "a.txt"')
    with pytest.raises(errors.TemplateError, match="default_file: Takes image data"):
        build(text, files={"a.txt": b"no picture"})


def test_the_version_is_a_digest_of_everything() -> None:
    text = parameter('type = "image"', 'target = "8.image"', 'default_file = "a.png"')
    versions = {
        build(text, {"a.png": PNG}).version,
        build(text, {"a.png": PNG + b"x"}).version,
        build(text + "\n", {"a.png": PNG}).version,
        building.build("t", graphs.replace_inputs(GRAPH, {("3", "steps"): 21})).version,
        building.build("t", GRAPH).version,
    }
    assert len(versions) == 5
    assert build(text, {"a.png": PNG}).version == build(text, {"a.png": PNG}).version


# Writing.


def test_what_is_written_reads_back_the_same() -> None:
    inferred = building.build("t", GRAPH)
    text = sidecar.write_sidecar(inferred)
    again = build(text)
    assert again.parameters == inferred.parameters
    assert again.outputs == inferred.outputs
    assert sidecar.write_sidecar(again) == text


@pytest.mark.parametrize("number", [2**64 - 1, 2**63, 1e19])
def test_a_large_number_where_a_fraction_may_be_is_written_and_read_again(number: float) -> None:
    graph = graphs.Graph({**GRAPH, "3": {**GRAPH["3"], "inputs": {**GRAPH["3"]["inputs"], "cfg": number}}})
    inferred = building.build("t", graph)
    again = building.build("t", graph, sidecar.read_sidecar(sidecar.write_sidecar(inferred), "t.toml"))
    assert again.parameters == inferred.parameters


#: No text of a graph or a sidecar holds a NUL.
texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))


@settings(deadline=None)
@given(
    st.builds(
        model.Parameter,
        name=st.just("p"),
        type=st.just(model.ParameterType.STRING),
        targets=st.just((model.Target("6", "text"),)),
        title=texts,
        description=texts,
        default=texts,
        multiline=st.booleans(),
    )
)
def test_any_text_can_be_written(item: Any) -> None:
    template = model.Template(
        name="t", version="", graph=GRAPH, parameters=(item,), outputs=(), requirements=graphs.Requirements()
    )
    text = sidecar.write_sidecar(template)
    assert tomllib.loads(text)
    assert build(text).parameters == (item,)


def test_a_list_of_many_files_is_written_and_read_again() -> None:
    names = tuple(f"lora_{number}.safetensors" for number in range(300))
    listed = ", ".join(f'"{name}"' for name in names)
    template = build(
        f'[parameters.lora]\ntype = "choice"\ntarget = "6.text"\ndefault = "{names[7]}"\nchoices = [{listed}]\n'
    )
    again = build(sidecar.write_sidecar(template))
    assert again.parameters == template.parameters
    assert again.parameters[0].choices == names


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f'[parameters.steps]\ntype = "integer"\ntarget = "3.steps"\nmax = {10**400}\n', "parameters.steps.max"),
        (f'[parameters.steps]\ntype = "integer"\ntarget = "3.steps"\nmin = {-(10**30)}\n', "parameters.steps.min"),
        (
            f'[parameters.steps]\ntype = "choice"\ntarget = "3.steps"\nchoices = [{10**30}]\n',
            "parameters.steps.choices.0",
        ),
        ("retention = 1e300\n", "retention"),
        ('[limits]\nqueue = "4000d"\n', "limits.queue"),
    ],
)
def test_numbers_that_nothing_holds_are_refused_with_their_place(text: str, place: str) -> None:
    with pytest.raises(errors.TemplateError) as caught:
        build(text)
    assert [fault.field for fault in caught.value.faults] == [place]
