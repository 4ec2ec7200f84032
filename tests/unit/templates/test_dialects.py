"""Parameters that authors wrote into their graphs, in each of the five dialects, and what becomes of their nodes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.templates import binding, building, drafts, model, sidecar
from gateway.domain.templates.dialects import comfy_deploy, comfy_pack, declared, definitions, primitives, swarm

Nodes = dict[str, dict[str, Any]]


def node(class_type: str, title: str | None = None, /, **inputs: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {"class_type": class_type, "inputs": inputs}
    return plain if title is None else plain | {"_meta": {"title": title}}


def text_to_image(**changes: dict[str, Any]) -> Nodes:
    """The default workflow of ComfyUI; `changes` replaces or adds nodes (`_12` is node 12)."""
    nodes = {
        "3": node(
            "KSampler", seed=5, steps=20, cfg=7.0, sampler_name="euler", scheduler="normal", denoise=1.0,
            model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0],
        ),
        "4": node("CheckpointLoaderSimple", ckpt_name="a.safetensors"),
        "5": node("EmptyLatentImage", width=512, height=640, batch_size=1),
        "6": node("CLIPTextEncode", text="a fox", clip=["4", 1]),
        "7": node("CLIPTextEncode", text="blurry", clip=["4", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="x"),
    }  # fmt: skip
    return nodes | {name.lstrip("_"): changed for name, changed in changes.items()}


def built(nodes: Nodes, described: str = "") -> model.Template:
    about = sidecar.read_sidecar(described, "t.toml") if described else None
    return building.build("t", graphs.parse_graph(nodes), about, text=described)


def targets(template: model.Template) -> dict[str, list[str]]:
    return {each.name: list(map(str, each.targets)) for each in template.parameters}


def facts(template: model.Template, name: str) -> dict[str, Any]:
    """What is said of this parameter, without what is as everywhere."""
    found = template.parameter(name)
    assert found is not None, list(targets(template))
    told = {
        "type": str(found.type), "role": found.role, "title": found.title, "about": found.description,
        "default": found.default, "required": found.required, "min": found.minimum, "max": found.maximum,
        "choices": found.choices, "multiline": found.multiline,
    }  # fmt: skip
    return {key: value for key, value in told.items() if value is not None and value is not False and value != ()}


def classes(template: model.Template) -> set[str]:
    return {each["class_type"] for each in template.graph.values()}


# Titles with $.


def test_titles_say_name_input_requirement_and_description() -> None:
    template = built(
        text_to_image(
            _6=node("CLIPTextEncode", "$prompt.text!:what to draw, in words", text="a fox", clip=["4", 1]),
            _5=node("EmptyLatentImage", "Size, $width!, $height", width=512, height=640, batch_size=1),
            _7=node("CLIPTextEncode", "$avoid.text：nicht dies", text="blurry", clip=["4", 1]),
        )
    )
    assert targets(template) == {
        "width": ["5.width"], "height": ["5.height"], "prompt": ["6.text"], "avoid": ["7.text"], "seed": ["3.seed"],
    }  # fmt: skip
    assert facts(template, "prompt") == {
        "type": "string", "role": "prompt", "about": "what to draw, in words", "required": True, "multiline": True,
    }  # fmt: skip
    assert facts(template, "avoid")["about"] == "nicht dies"
    assert facts(template, "avoid")["default"] == "blurry"
    assert facts(template, "height") == {
        "type": "integer", "role": "height", "default": 640, "min": 16, "max": 16384,
    }  # fmt: skip
    assert facts(template, "width")["required"] is True
    assert not template.inferred


def test_titles_on_two_nodes_are_one_parameter() -> None:
    template = built(text_to_image(
        _5=node("EmptyLatentImage", "$edge.width", width=512, height=640, batch_size=1),
        _10=node("ImageScale", "$edge.height", image=["8", 0], width=1, height=512, upscale_method="x", crop="no"),
        _9=node("SaveImage", images=["10", 0], filename_prefix="x"),
    ))  # fmt: skip
    assert targets(template)["edge"] == ["5.width", "10.height"]


def test_titles_for_files_outputs_and_the_whole() -> None:
    template = built(
        text_to_image(
            _10=node("LoadImage", "$face.~image:a face", image="a.png"),
            _11=node("VAEEncode", pixels=["10", 0], vae=["4", 2]),
            _12=node("LoadAudio", "$~audio!", audio="a.mp3"),
            _13=node("SaveAudio", audio=["12", 0], filename_prefix="x"),
            _14=node("PrimitiveStringMultiline", "MCP", value=" Draws a fox. "),
            _15=node("PreviewImage", "$output.look", images=["8", 0]),
            _3=node("KSampler", seed=5, steps=20, cfg=7.0, sampler_name="euler", scheduler="normal", denoise=1.0,
                    model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["11", 0]),
        )
    )  # fmt: skip
    assert facts(template, "face") == {
        "type": "image",
        "role": "image",
        "about": "a face",
        "title": "$face.~image:a face",
    }
    assert facts(template, "audio")["type"] == "audio"
    assert template.description == "Draws a fox."
    assert "14" not in template.graph
    assert [(each.name, each.node) for each in template.outputs][:1] == [("look", "15")]
    assert {each.node for each in template.outputs} == {"15", "9", "13"}


@pytest.mark.parametrize(
    "title", ["$100 a night", "$prompt", "$prompt.texture", "$model.clip!", "a $b", "$", "$output."]
)
def test_what_only_looks_like_a_mark_is_a_title(title: str) -> None:
    template = built(text_to_image(_6=node("CLIPTextEncode", title, text="a fox", clip=["4", 1])))
    assert template.inferred
    assert targets(template)["prompt"] == ["6.text"]


# Input nodes.


def test_comfy_pack() -> None:
    template = built(
        text_to_image(
            _6=node("CLIPTextEncode", text=["20", 0], clip=["4", 1]),
            _20=node("CPackInputString", "What to draw", value="a fox"),
            _21=node("CPackInputInt", "Int Input", value=30, min=1, max=50),
            _22=node("CPackInputInt", "size", value=512, min=-9223372036854776000.0, max=9223372036854775807),
            _23=node("CPackInputImage", "Image Input", image="a.png"),
            _24=node("CPackInputAny", "Any Input", input="karras"),
            _5=node("EmptyLatentImage", width=["22", 0], height=["22", 0], batch_size=1),
            _10=node("VAEEncode", pixels=["23", 0], vae=["4", 2]),
            _11=node("SetLatentNoiseMask", samples=["10", 0], mask=["23", 1]),
            _3=node("KSampler", seed=5, steps=["21", 0], cfg=7.0, sampler_name="euler", scheduler=["24", 0],
                    denoise=1.0, model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["11", 0]),
            _9=node("CPackOutputImage", "Picture!", images=["8", 0], filename_prefix="x"),
        )
    )  # fmt: skip
    assert targets(template) == {
        "what_to_draw": ["6.text"], "steps": ["3.steps"], "size": ["5.width", "5.height"], "pixels": ["23.image"],
        "scheduler": ["3.scheduler"], "seed": ["3.seed"],
    }  # fmt: skip
    assert facts(template, "steps") == {
        "type": "integer", "role": "steps", "default": 30, "min": 1, "max": 50
    }  # fmt: skip
    assert facts(template, "what_to_draw")["title"] == "What to draw"
    assert facts(template, "pixels")["required"] is True
    assert facts(template, "scheduler") == {"type": "string", "role": "scheduler", "default": "karras"}
    assert not {name for name in classes(template) if name.startswith("CPackInput")}
    assert template.graph["23"] == {
        "class_type": "LoadImage",
        "inputs": {"image": "a.png"},
        "_meta": {"title": "Image Input"},
    }
    assert [(each.name, each.node) for each in template.outputs] == [("picture", "9")]
    graph = binding.bind(template, {"size": 64, "pixels": "b.png"}, draw_seed=lambda: 7).graph()
    assert (graph["5"]["inputs"]["width"], graph["5"]["inputs"]["height"], graph["3"]["inputs"]["seed"]) == (64, 64, 7)


def test_comfy_pack_names_are_told_apart() -> None:
    template = built(
        {
            "1": node("CPackInputInt", "n", value=1),
            "2": node("CPackInputInt", "n", value=2),
            "3": node("Thing", a=["1", 0], b=["2", 0]),
        }
    )
    assert targets(template) == {"n": ["3.a"], "n_2": ["3.b"]}


def test_thousands_of_comfy_packs_inputs_are_named_after_their_first_users() -> None:
    """And soon: the graph is not gone through once for each of them."""
    count = 20_000
    nodes = {str(each): node("CPackInputString", value="a") for each in range(count)}
    nodes |= {f"a{each}": node("Show", **{f"first{each}": [str(each), 0], "other": ["1", 0]}) for each in range(count)}
    names = [each.name for each in comfy_pack.parameters(graphs.Graph(nodes))]
    assert names == ["first0", "other", *(f"first{each}" for each in range(2, count))]


def test_comfy_packs_file_is_what_its_input_takes() -> None:
    template = built(
        {
            "1": node("CPackInputFile", "audio", path="a.mp3"),
            "2": node("LoadAudio", audio=["1", 0]),
            "3": node("SaveAudio", audio=["2", 0], filename_prefix="x"),
        }
    )
    assert targets(template) == {"audio": ["2.audio"]}
    assert facts(template, "audio") == {"type": "audio", "role": "audio", "title": "audio", "required": True}


EXTERNAL = "ComfyUIDeployExternal"


def test_comfy_deploy() -> None:
    template = built(
        text_to_image(
            _6=node("CLIPTextEncode", text=["20", 0], clip=["4", 1]),
            _20=node(f"{EXTERNAL}Text", input_id="subject", default_value="a fox", display_name="Subject",
                     description="What to draw."),
            _21=node(f"{EXTERNAL}NumberSlider", input_id="strength", default_value=0.5, min_value=0.0, max_value=1.0),
            _22=node(f"{EXTERNAL}Seed", input_id="seed", default_value=-1, min_value=1, max_value=4294967295,
                     description="For default value: …"),
            _23=node(f"{EXTERNAL}Enum", input_id="style", default_value="karras", options='["karras", "normal"]'),
            _24=node(f"{EXTERNAL}Image", input_id="photo", default_value=["25", 0], default_value_url=""),
            _25=node("LoadImage", image="default.png"),
            _26=node(f"{EXTERNAL}NumberInt", input_id="steps", default_value=12),
            _27=node(f"{EXTERNAL}Checkpoint", input_id="model", default_value="b.safetensors"),
            _28=node(f"{EXTERNAL}Boolean", input_id="unused", default_value=True),
            _4=node("CheckpointLoaderSimple", ckpt_name=["27", 0]),
            _10=node("VAEEncode", pixels=["24", 0], vae=["4", 2]),
            _3=node("KSampler", seed=["22", 0], steps=["26", 0], cfg=7.0, sampler_name="euler", scheduler=["23", 0],
                    denoise=["21", 0], model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["10", 0]),
        )
    )  # fmt: skip
    assert targets(template) == {
        "subject": ["6.text"], "strength": ["3.denoise"], "seed": ["3.seed"], "style": ["3.scheduler"],
        "photo": ["24.image"], "steps": ["3.steps"], "model": ["4.ckpt_name"],
    }  # fmt: skip
    assert facts(template, "subject") == {
        "type": "string", "role": "prompt", "title": "Subject", "about": "What to draw.", "default": "a fox",
        "multiline": True,
    }  # fmt: skip
    assert facts(template, "strength") == {"type": "float", "role": "denoise", "default": 0.5, "max": 1.0, "min": 0.0}
    assert facts(template, "seed") == {"type": "seed", "role": "seed", "min": 1, "max": 4294967295}
    assert facts(template, "style") == {
        "type": "choice", "role": "scheduler", "default": "karras", "choices": ("karras", "normal"),
    }  # fmt: skip
    assert facts(template, "photo") == {"type": "image", "role": "image", "required": True}
    assert facts(template, "model") == {"type": "model", "role": "checkpoint", "default": "b.safetensors"}
    assert not {name for name in classes(template) if name.startswith("ComfyUIDeploy")}
    assert template.graph["24"]["inputs"] == {"image": "default.png"}
    assert template.requirements.models == {("CheckpointLoaderSimple", "ckpt_name", "b.safetensors")}


def test_a_carrier_that_feeds_what_a_stock_node_lacks_goes_nowhere() -> None:
    template = built({
        "1": node(f"{EXTERNAL}Text", input_id="url", default_value="http://x/a.png"),
        "2": node(f"{EXTERNAL}Image", input_id="photo", default_value_url=["1", 0]),
        "3": node("SaveImage", images=["2", 0], filename_prefix="a"),
    })  # fmt: skip
    assert targets(template) == {"photo": ["2.image"]}
    assert template.graph["2"]["class_type"] == "LoadImage"


@pytest.mark.parametrize(
    ("options", "choices"),
    [
        ('["a", "b", "a"]', ("a", "b")), ("a, b", ("a", "b")), ("a, b\nc", ("a, b", "c")), ("", ()), (None, ()),
        ('["a\\ud800", "b"]', ("b",)), ('"a"', ('"a"',)), ("[1, 2]", ("1", "2")), ("[" * 100_000, ("[" * 100_000,)),
    ],
)  # fmt: skip
def test_choices_as_people_write_them(options: object, choices: tuple[str, ...]) -> None:
    assert comfy_deploy.choices_of(options) == choices


def test_swarm() -> None:
    common = {"is_advanced": False, "raw_id": "", "order_priority": 0.0, "description": ""}
    template = built(
        text_to_image(
            _6=node("CLIPTextEncode", text=["20", 0], clip=["4", 1]),
            _20=node("SwarmInputText", title="My Prompt", value="a fox", view_type="prompt", group=["29", 0],
                     **common | {"description": "What to draw.", "order_priority": 2.0}),
            _21=node("SwarmInputInteger", title="Steps", value=20, step=5, min=5, max=40, view_max=40,
                     view_type="slider", **common),
            _22=node("SwarmInputInteger", title="My Seed", value=-1, step=1, min=-1, max=2**63, view_max=9,
                     view_type="seed", **common),
            _23=node("SwarmInputDropdown", title="Scheduler", value="karras", values="normal, karras", **common),
            _24=node("SwarmInputImage", title="Photo", value="(Do Not Set Me)", auto_resize=True, **common),
            _25=node("SwarmInputCheckpoint", title="Base", value="b.safetensors", **common | {"raw_id": "baseModel"}),
            _26=node("SwarmInputFloat", title="CFG", value=7.0, step=0.5, min=1.0, max=20.0, view_max=20.0,
                     view_type="small", **common),
            _29=node("SwarmInputGroup", title="Mine"),
            _7=node("CLIPTextEncode", text="blurry", clip=["25", 1]),
            _10=node("VAEEncode", pixels=["24", 0], vae=["25", 2]),
            _3=node("KSampler", seed=["22", 0], steps=["21", 0], cfg=["26", 0], sampler_name="euler",
                    scheduler=["23", 0], denoise=1.0, model=["25", 0], positive=["6", 0], negative=["7", 0],
                    latent_image=["10", 0]),
        )
    )  # fmt: skip
    assert targets(template) == {
        "steps": ["3.steps"], "my_seed": ["3.seed"], "scheduler": ["3.scheduler"], "photo": ["24.image"],
        "baseModel": ["25.ckpt_name"], "cfg": ["3.cfg"], "my_prompt": ["6.text"],
    }  # fmt: skip
    assert facts(template, "my_prompt") == {
        "type": "string", "role": "prompt", "title": "My Prompt", "about": "What to draw.", "default": "a fox",
        "multiline": True,
    }  # fmt: skip
    assert facts(template, "steps") == {
        "type": "integer", "role": "steps", "title": "Steps", "default": 20, "min": 5, "max": 40,
    }  # fmt: skip
    assert facts(template, "my_seed") == {"type": "seed", "role": "seed", "title": "My Seed", "max": 2**63}
    assert facts(template, "scheduler")["choices"] == ("normal", "karras")
    assert not {name for name in classes(template) if name.startswith("Swarm")}
    assert template.graph["25"]["inputs"] == {"ckpt_name": "b.safetensors"}


# Primitives.


def test_primitives_with_titles_name_what_the_walk_finds_and_add_to_it() -> None:
    template = built(
        text_to_image(
            _6=node("CLIPTextEncode", text=["20", 0], clip=["4", 1]),
            _20=node("StringConcatenate", string_a=["21", 0], string_b=["22", 0], delimiter=", "),
            _21=node("PrimitiveStringMultiline", "What to draw", value="a fox"),
            _22=node("PrimitiveString", "Style", value="ink"),
            _5=node("EmptyLatentImage", width=["23", 0], height=["24", 0], batch_size=1),
            _23=node("PrimitiveInt", "Int (Width)", value=512),
            _24=node("PrimitiveInt", "Int", value=640),
        )
    )
    found = targets(template)
    assert (found["what_to_draw"], found["style"], found["width"], found["height"]) == (
        ["21.value"], ["22.value"], ["23.value"], ["24.value"],
    )  # fmt: skip
    assert (found["seed"], found["steps"]) == (["3.seed"], ["3.steps"])
    assert facts(template, "what_to_draw") == {
        "type": "string", "role": "prompt", "title": "What to draw", "default": "a fox", "multiline": True,
    }  # fmt: skip
    assert facts(template, "style") == {"type": "string", "title": "Style", "default": "ink"}
    assert facts(template, "height")["role"] == "height"
    assert not template.inferred


def test_a_titled_primitive_takes_its_equals_along() -> None:
    second = node("KSampler", seed=5, steps=20, cfg=7.0, sampler_name="euler", scheduler="normal", denoise=0.5,
                  model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["3", 0])  # fmt: skip
    nodes = text_to_image(
        _10=second,
        _8=node("VAEDecode", samples=["10", 0], vae=["4", 2]),
        _20=node("PrimitiveInt", "Quality", value=20),
    )
    nodes["3"]["inputs"]["steps"] = ["20", 0]
    assert targets(built(nodes))["quality"] == ["20.value", "10.steps"]


def test_primitives_inside_a_subgraph_are_its_own_matter_unless_the_walk_finds_them() -> None:
    nodes = text_to_image(
        **{
            "9:1": node("PrimitiveInt", "Index", value=3),
            "9:2": node("Chooser", index=["9:1", 0], images=["8", 0]),
            "9:3": node("PrimitiveInt", "Int (How wide)", value=512),
            "9": node("SaveImage", images=["9:2", 0], filename_prefix="x"),
        }
    )
    nodes["5"]["inputs"]["width"] = ["9:3", 0]
    found = targets(built(nodes))
    assert "index" not in found
    assert found["how_wide"] == ["9:3.value"]


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Width", "Width"), ("Int (Width)", "Width"), ("Text String (User Prompt)", "User Prompt"),
        ("String (Multiline - Prompt)", "Prompt"), ("Boolean （Replace Mode）", "Replace Mode"),
        ("Seconds (of film)", "Seconds (of film)"), ("Int", None), ("String (Multiline)", None), ("PrimitiveInt", None),
        ("Primitive", None), ("", None), (None, None), ("$a.value", None), ("MCP", None),
    ],
)  # fmt: skip
def test_titles_of_primitives(title: str | None, words: str | None) -> None:
    assert primitives.own_title(title) == words


EDITOR = {
    "nodes": [
        {"id": 1, "type": "PrimitiveNode", "title": "How many steps", "outputs": [{"links": [11, 12, 99, None]}]},
        {"id": 2, "type": "PrimitiveNode", "title": "PrimitiveNode", "outputs": [{"links": [13]}]},
        {"id": 3, "type": "KSampler", "inputs": [{"name": "seed", "link": 13}, {"name": "steps", "link": 11}]},
        {"id": 4, "type": "Other", "inputs": [{"name": "x", "widget": {"name": "count"}, "link": 12}]},
        {"id": 5, "type": "sub"}, {"id": 6, "type": "sub"}, "rubbish", {"type": "PrimitiveNode", "outputs": 3},
    ],
    "links": [[11, 1, 0, 3, 1, "INT"], [12, 1, 0, 4, 0, "INT"], [13, 2, 0, 3, 0, "INT"], [14], None],
    "definitions": {"subgraphs": [{
        "id": "sub",
        "nodes": [
            {"id": 1, "type": "PrimitiveNode", "title": "Inner", "outputs": [{"links": [1]}]},
            {"id": 2, "type": "K", "inputs": [{"name": "a"}]},
        ],
        "links": [{"id": 1, "origin_id": 1, "target_id": 2, "target_slot": 0}],
    }]},
}  # fmt: skip


def test_primitives_of_the_editor() -> None:
    found = {str(target): title for target, title in primitives.of_editor_file(EDITOR).items()}
    assert found == {
        "3.steps": "How many steps", "4.count": "How many steps", "5:2.a": "Inner", "6:2.a": "Inner",
    }  # fmt: skip
    titled = {model.Target("3", "steps"): "How many steps", model.Target("77", "x"): "gone"}
    template = building.build("t", graphs.parse_graph(text_to_image()), titled=titled)
    assert targets(template)["how_many_steps"] == ["3.steps"]
    assert facts(template, "how_many_steps")["role"] == "steps"


def test_subgraphs_of_subgraphs_without_end_are_left() -> None:
    nest = [{"id": str(n), "nodes": [{"id": m, "type": str(n + 1)} for m in range(9)]} for n in range(9)]
    bomb = {"nodes": [{"id": 1, "type": "0"}], "definitions": {"subgraphs": nest}}
    assert primitives.of_editor_file(bomb) == {}


# Files that the editor saved.


def saved(kind: str, values: list[Any], output: str, *, more: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """An editor's file in which an input node of this kind feeds a text or number to a stock node."""
    return {
        "nodes": [
            {"id": 1, "type": kind, "title": "Mine", "mode": 0, "widgets_values": values, "inputs": [],
             "outputs": [{"name": "out", "type": output, "links": [7]}]},
            {"id": 2, "type": "Take", "mode": 0, "widgets_values": [0],
             "inputs": [{"name": "it", "type": output, "widget": {"name": "it"}, "link": 7}], "outputs": []},
            *(more or []),
        ],
        "links": [[7, 1, 0, 2, 0, output]],
        "version": 0.4,
    }  # fmt: skip


#: A worker that has none of the packs.
INFO = {
    "Take": {"input": {"required": {"it": ["INT", {}]}}, "output": [], "output_node": True},
    "LoadImage": {"input": {"required": {"image": [[], {"image_upload": True}]}}, "output": ["IMAGE", "MASK"]},
}


@pytest.mark.parametrize(
    ("kind", "values", "output", "name"),
    [
        ("CPackInputInt", [5, 1, 9], "INT", "Mine"),
        (f"{EXTERNAL}NumberSliderInt", ["count", 5, 1, 9, "", ""], "INT", "count"),
        ("SwarmInputInteger", ["How many", 5, 1, 1, 9, 9, "big", "", 0, False, ""], "INT", "how_many"),
    ],
)
def test_an_editors_file_needs_no_worker_with_the_pack(kind: str, values: list[Any], output: str, name: str) -> None:
    draft = drafts.draft("t", saved(kind, values, output))
    template = draft.template(drafts.converted(draft, INFO))
    assert targets(template) == {name: ["2.it"]}
    assert facts(template, name) | {"title": None} == {
        "type": "integer", "title": None, "default": 5, "min": 1, "max": 9,
    }  # fmt: skip
    assert classes(template) == {"Take"}


def test_every_class_of_a_dialect_is_defined_for_files_of_the_editor() -> None:
    known = definitions.known({})
    assert {f"{comfy_deploy.PREFIX}{kind}" for kind in (*comfy_deploy.CARRIERS, *comfy_deploy.LOADERS)} - {
        f"{comfy_deploy.PREFIX}Slider"
    } <= known.keys()
    assert {f"{swarm.PREFIX}{kind}" for kind in swarm.TYPES} <= known.keys()
    assert comfy_pack.INPUTS.keys() <= known.keys()
    assert definitions.known({"CPackInputInt": 3})["CPackInputInt"] == 3


# What comes first, and names.


def test_a_sidecar_comes_before_a_dialect_and_may_name_its_nodes() -> None:
    nodes = text_to_image(
        _6=node("CLIPTextEncode", text=["20", 0], clip=["4", 1]),
        _7=node("CLIPTextEncode", text=["20", 0], clip=["4", 1]),
        _20=node("CPackInputString", "subject", value="a fox"),
    )
    template = built(nodes, '[parameters.words]\ntype = "string"\ntarget = "20.value"\n')
    assert targets(template) == {"words": ["6.text", "7.text"]}
    assert facts(template, "words")["default"] == "a fox"
    assert "CPackInputString" not in classes(template)
    again = built(nodes, sidecar.write_sidecar(template))
    assert targets(again) == targets(template)


def test_an_input_node_that_is_fed_itself_stays() -> None:
    nodes = text_to_image(
        _6=node("CLIPTextEncode", text=["20", 0], clip=["4", 1]),
        _20=node("CPackInputString", "subject", value=["21", 0]),
        _21=node("SomeText", text="a fox"),
    )
    template = built(nodes)
    assert targets(template)["prompt"] == ["21.text"]
    assert "CPackInputString" in classes(template)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("imageWidth", "imageWidth"), ("What to draw?", "what_to_draw"), ("Größe", "grosse"), ("提示词", ""),
        ("4 steps", "p_4_steps"), ("a" * 99, "a" * 64), ("_x_", "x"), ("", ""),
    ],
)  # fmt: skip
def test_names(words: str, name: str) -> None:
    assert declared.name_of(words) == name


def test_words_without_a_letter_fall_back_to_what_they_mean() -> None:
    template = built(text_to_image(_6=node("CLIPTextEncode", "$提示词.text!:画", text="a fox", clip=["4", 1])))
    assert targets(template)["prompt"] == ["6.text"]


# Whatever is written.

titles = st.sampled_from([
    "$a.value", "$a.text!", "$~image", "$output.x", "MCP", "$a, $b", "Int (Steps)", "Width", "", "$value.value:x",
])  # fmt: skip
literals = st.one_of(st.integers(-5, 5), st.floats(0, 9), st.text(max_size=3), st.booleans(), st.none())
links = st.tuples(st.sampled_from("abcdef"), st.integers(0, 2)).map(list)
FIELDS = ["value", "text", "image", "input", "input_id", "default_value", "options", "min", "max", "min_value", "title"]
CLASSES = [
    "CPackInputString", "CPackInputInt", "CPackInputAny", "CPackInputImage", f"{EXTERNAL}Text", f"{EXTERNAL}Enum",
    f"{EXTERNAL}Image", f"{EXTERNAL}Seed", "SwarmInputInteger", "SwarmInputImage", "SwarmInputDropdown",
    "SwarmInputGroup", "PrimitiveInt", "PrimitiveString", "CLIPTextEncode", "KSampler", "SaveImage", "CPackOutputImage",
]  # fmt: skip


@settings(max_examples=250, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.fixed_dictionaries(
            {
                "class_type": st.sampled_from(CLASSES),
                "inputs": st.dictionaries(st.sampled_from(FIELDS), st.one_of(literals, links), max_size=6),
                "_meta": st.fixed_dictionaries({"title": titles}),
            }
        ),
    )
)
def test_whatever_is_declared_becomes_a_template_or_a_told_fault(nodes: Nodes) -> None:
    try:
        template = built(nodes)
    except errors.GatewayError:
        return
    given_values: dict[str, Any] = {}
    for each in template.parameters:
        if each.required:
            simple = {"integer": 1, "float": 1.0, "boolean": True, "seed": 1}
            given_values[each.name] = each.choices[0] if each.choices else simple.get(str(each.type), "a.png")
    try:
        bound = binding.bind(template, given_values, draw_seed=lambda: 1)
    except errors.InvalidInputs as refused:
        bounds = {"value_smaller_than_min", "value_bigger_than_max"}
        assert {fault.reason for fault in refused.faults} <= bounds  # noqa: PT017
    else:
        graphs.parse_graph(bound.graph())


@settings(max_examples=200, deadline=None)
@given(st.recursive(literals, lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["nodes", "links", "id", "type", "title", "outputs", "inputs", "definitions", "subgraphs"]), inner),
    max_leaves=20))  # fmt: skip
def test_whatever_an_editor_saves_is_read(document: Any) -> None:
    assert isinstance(primitives.of_editor_file(document), dict)
