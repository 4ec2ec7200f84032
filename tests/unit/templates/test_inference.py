"""Parameters found in graphs that nobody described: golden graphs in the styles that authors use, and a corpus."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info
from gateway.domain.templates import binding, building, inference, model, sidecar

FIXTURE = Path(__file__).parents[2] / "fixtures" / "object_info.json.gz"
CORPUS = Path("/work/shared/official-templates")

Nodes = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def catalog() -> object_info.NodeCatalog:
    return object_info.NodeCatalog.parse(orjson.loads(gzip.decompress(FIXTURE.read_bytes())))


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def sampler(**changes: Any) -> dict[str, Any]:
    inputs = {
        "seed": 5, "steps": 20, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
        "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0], **changes,
    }  # fmt: skip
    return node("KSampler", **inputs)


def text_to_image(**changes: dict[str, Any]) -> Nodes:
    """The default workflow of ComfyUI; `changes` replaces or adds nodes (`_12` is node 12)."""
    nodes = {
        "3": sampler(),
        "4": node("CheckpointLoaderSimple", ckpt_name="a.safetensors"),
        "5": node("EmptyLatentImage", width=512, height=640, batch_size=1),
        "6": node("CLIPTextEncode", text="a fox", clip=["4", 1]),
        "7": node("CLIPTextEncode", text="blurry", clip=["4", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="x"),
    }
    return nodes | {name.lstrip("_"): changed for name, changed in changes.items()}


def inferred(graph: graphs.Graph, catalog: object_info.NodeCatalog | None = None) -> tuple[model.Parameter, ...]:
    return building.build("t", graph, catalog=catalog).parameters


def found(nodes: Nodes, catalog: object_info.NodeCatalog | None = None) -> dict[str, list[str]]:
    parameters = inferred(graphs.parse_graph(nodes), catalog)
    return {parameter.name: [str(target) for target in parameter.targets] for parameter in parameters}


PLAIN = {
    "prompt": ["6.text"], "negative_prompt": ["7.text"], "seed": ["3.seed"], "steps": ["3.steps"], "cfg": ["3.cfg"],
    "sampler": ["3.sampler_name"], "scheduler": ["3.scheduler"], "denoise": ["3.denoise"], "width": ["5.width"],
    "height": ["5.height"], "batch_size": ["5.batch_size"], "checkpoint": ["4.ckpt_name"],
}  # fmt: skip


def test_text_to_image() -> None:
    assert found(text_to_image()) == PLAIN


def test_types_defaults_and_bounds(catalog: object_info.NodeCatalog) -> None:
    graph = graphs.parse_graph(text_to_image())
    told = {
        parameter.name: (
            str(parameter.type),
            parameter.default,
            parameter.minimum,
            parameter.maximum,
            parameter.required,
        )
        for parameter in inferred(graph, catalog)
    }
    assert told == {
        "prompt": ("string", "a fox", None, None, False),
        "negative_prompt": ("string", "blurry", None, None, False),
        "seed": ("seed", None, None, None, False),
        "steps": ("integer", 20, 1, 10000, False),
        "cfg": ("float", 7.0, 0.0, 100.0, False),
        "sampler": ("choice", "euler", None, None, False),
        "scheduler": ("choice", "normal", None, None, False),
        "denoise": ("float", 1.0, 0.0, 1.0, False),
        "width": ("integer", 512, 16, 16384, False),
        "height": ("integer", 640, 16, 16384, False),
        "batch_size": ("integer", 1, 1, 4096, False),
        "checkpoint": ("model", "a.safetensors", None, None, False),
    }
    without = {parameter.name: parameter for parameter in inferred(graph)}
    assert without["sampler"].type == model.ParameterType.STRING
    assert (without["width"].minimum, without["steps"].maximum) == (16, 10_000)


#: case, nodes, what differs from the plain findings (None: not found)
GOLDEN: list[tuple[str, Nodes, dict[str, list[str] | None]]] = [
    (
        "text through reroutes and a primitive",
        text_to_image(
            _6=node("CLIPTextEncode", text=["20", 0], clip=["4", 1]),
            _20=node("Reroute", **{"": ["21", 0]}),
            _21=node("PrimitiveStringMultiline", value="a fox"),
        ),
        {"prompt": ["21.value"]},
    ),
    (
        "text joined from what the person writes and a fixed style",
        text_to_image(
            _6=node("CLIPTextEncode", text=["20", 0], clip=["4", 1]),
            _20=node("StringConcatenate", string_a="in the style of a long text ", string_b=["21", 0], delimiter=""),
            _21=node("PrimitiveString", value="a fox"),
        ),
        {"prompt": ["21.value"]},
    ),
    (
        "a switch that is on",
        text_to_image(
            _6=node("CLIPTextEncode", text=["20", 0], clip=["4", 1]),
            _20=node("ComfySwitchNode", switch=["23", 0], on_true=["21", 0], on_false=["22", 0]),
            _21=node("PrimitiveString", value="on"),
            _22=node("PrimitiveString", value="off"),
            _23=node("PrimitiveBoolean", value=True),
        ),
        {"prompt": ["21.value"]},
    ),
    (
        "numbers from primitives, shared by two nodes",
        text_to_image(
            _5=node("EmptyLatentImage", width=["20", 0], height=["20", 0], batch_size=1),
            _20=node("PrimitiveInt", value=768),
        ),
        {"width": ["20.value"], "height": None},
    ),
    (
        "a computed size is nobody's to set",
        text_to_image(
            _5=node("EmptyLatentImage", width=["20", 0], height=512, batch_size=1),
            _20=node("ComfyMathExpression", expression="a*2", a=5),
        ),
        {"width": None},
    ),
    (
        "a number that a formula only rounds",
        text_to_image(
            _5=node("EmptyLatentImage", width=["20", 1], height=512, batch_size=1),
            _20=node("ComfyMathExpression", expression="floor(a/16)*16", **{"values.a": ["21", 0]}),
            _21=node("PrimitiveInt", value=768),
        ),
        {"width": ["21.value"]},
    ),
    (
        "the side of a switch that is off is nobody's number",
        text_to_image(
            _5=node("EmptyLatentImage", width=["20", 0], height=512, batch_size=1),
            _20=node("ComfySwitchNode", switch=True, on_true=["21", 0], on_false=["22", 0]),
            _21=node("GetImageSize", image=["23", 0]),
            _22=node("PrimitiveInt", value=768),
            _23=node("LoadImage", image="a.png"),
        ),
        {"width": None, "image": ["23.image"]},
    ),
    (
        "a size worked out from a shape",
        text_to_image(
            _5=node("EmptyLatentImage", width=["20", 0], height=["20", 1], batch_size=1),
            _20=node("ResolutionSelector", aspect_ratio="1:1 (Square)", megapixels=1.0, multiple=8),
        ),
        {"width": None, "height": None, "aspect_ratio": ["20.aspect_ratio"], "megapixels": ["20.megapixels"]},
    ),
    (
        "words of a person before a model's, and before a template and a beginning",
        text_to_image(
            _6=node("CLIPTextEncode", text=["20", 0], clip=["4", 1]),
            _20=node("ComfySwitchNode", switch=True, on_true=["21", 0], on_false=["22", 0]),
            _21=node("TextGenerate", prompt=["23", 0]),
            _22=node("PrimitiveString", value="a fox"),
            _23=node("StringConcatenate", string_a="You are a painter. ", string_b=["22", 0], delimiter=""),
            _7=node("CLIPTextEncode", text=["24", 0], clip=["4", 1]),
            _24=node("StringReplace", string="Never {prompt}!", find="{prompt}", replace=["25", 0]),
            _25=node("StringConcatenate", string_a="without: ", string_b="blur", delimiter=""),
        ),
        {"prompt": ["22.value"], "negative_prompt": ["25.string_b"]},
    ),
    (
        "one encoder for both halves",
        text_to_image(
            _3=sampler(positive=["6", 0], negative=["6", 1]),
            _6=node("TextEncodeBoth", prompt="a fox", negative_prompt="blurry", clip=["4", 1]),
        ),
        {"prompt": ["6.prompt"], "negative_prompt": ["6.negative_prompt"]},
    ),
    (
        "halves of a pair that are not the first outputs",
        text_to_image(
            _3=sampler(positive=["20", 1], negative=["20", 2]),
            _20=node("LTXVReferenceAudio", positive=["6", 0], negative=["7", 0], model=["4", 0]),
        ),
        {},
    ),
    (
        "a sampler without words comes after those with",
        text_to_image(
            _3=sampler(latent_image=["20", 0]),
            _20=node("VAEEncode", pixels=["21", 0], vae=["4", 2]),
            _21=node("VAEDecode", samples=["22", 0], vae=["4", 2]),
            _22=node("KSampler", seed=1, steps=2, cfg=1.0, positive=["23", 0], latent_image=["24", 0]),
            _23=node("LotusConditioning"),
            _24=node("VAEEncode", pixels=["25", 0], vae=["4", 2]),
            _25=node("LoadImage", image="a.png"),
        ),
        {
            "seed_2": ["22.seed"], "steps_2": ["22.steps"], "cfg_2": ["22.cfg"], "width": None, "height": None,
            "batch_size": None, "image": ["25.image"],
        },
    ),
    (
        "a picture that is prepared for a ControlNet",
        text_to_image(
            _3=sampler(positive=["20", 0], negative=["20", 1]),
            _20=node("ControlNetApplyAdvanced", strength=0.8, positive=["6", 0], negative=["7", 0], image=["21", 0]),
            _21=node("Canny", image=["22", 0], low_threshold=0.1, high_threshold=0.9),
            _22=node("ImageScale", image=["23", 0], width=512, height=640, upscale_method="area", crop="center"),
            _23=node("LoadImage", image="a.png"),
        ),
        {"control_strength": ["20.strength"], "control_image": ["23.image"]},
    ),
    (
        "a service beside a sampler",
        text_to_image(
            _20=node("SomeVideoApi", prompt="it runs", seed=9, image=["8", 0], aspect_ratio="16:9"),
            _21=node("SaveVideo", video=["20", 0], filename_prefix="x"),
        ),
        {"prompt_2": ["20.prompt"], "seed_2": ["20.seed"], "aspect_ratio": ["20.aspect_ratio"]},
    ),
    (
        "conditioning combined",
        text_to_image(
            _3=sampler(positive=["20", 0]),
            _20=node("ConditioningCombine", conditioning_1=["6", 0], conditioning_2=["21", 0]),
            _21=node("CLIPTextEncode", text="in the snow", clip=["4", 1]),
        ),
        {"prompt_2": ["21.text"]},
    ),
    (
        "a chain of ControlNets",
        text_to_image(
            _3=sampler(positive=["21", 0], negative=["21", 1]),
            _20=node("ControlNetApplyAdvanced", strength=0.8, positive=["6", 0], negative=["7", 0], image=["22", 0]),
            _21=node("ControlNetApplyAdvanced", strength=0.6, positive=["20", 0], negative=["20", 1], image=["23", 0]),
            _22=node("LoadImage", image="a.png"),
            _23=node("LoadImage", image="a.png"),
        ),
        {
            "control_strength": ["20.strength"],
            "control_strength_2": ["21.strength"],
            "control_image": ["22.image"],
            "control_image_2": ["23.image"],
        },
    ),
    (
        "a zeroed negative has no text",
        text_to_image(_3=sampler(negative=["20", 0]), _20=node("ConditioningZeroOut", conditioning=["6", 0])),
        {"negative_prompt": None},
    ),
    (
        "one encoder for both is the prompt",
        text_to_image(_3=sampler(negative=["6", 0])),
        {"negative_prompt": None},
    ),
    (
        "SDXL's pair of texts, equal",
        text_to_image(_6=node("CLIPTextEncodeSDXL", text_g="a fox", text_l="a fox", clip=["4", 1], width=1024)),
        {"prompt": ["6.text_g", "6.text_l"]},
    ),
    (
        "SDXL's pair of texts, different",
        text_to_image(_6=node("CLIPTextEncodeSDXL", text_g="a fox", text_l="red, fur", clip=["4", 1])),
        {"prompt": ["6.text_g"], "prompt_2": ["6.text_l"]},
    ),
    (
        "Flux's pair of texts and its guidance",
        text_to_image(_6=node("CLIPTextEncodeFlux", clip_l="a fox", t5xxl="a fox", guidance=3.5, clip=["4", 1])),
        {"prompt": ["6.t5xxl", "6.clip_l"], "guidance": ["6.guidance"]},
    ),
    (
        "base and refiner: one prompt, one schedule, one seed",
        text_to_image(
            _3=node(
                "KSamplerAdvanced", add_noise="disable", noise_seed=0, steps=20, cfg=7.0, sampler_name="euler",
                scheduler="normal", model=["14", 0], positive=["16", 0], negative=["17", 0], latent_image=["13", 0],
            ),
            _13=node(
                "KSamplerAdvanced", add_noise="enable", noise_seed=5, steps=20, cfg=7.0, sampler_name="euler",
                scheduler="normal", model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0],
            ),
            _14=node("CheckpointLoaderSimple", ckpt_name="refiner.safetensors"),
            _16=node("CLIPTextEncode", text="a fox", clip=["14", 1]),
            _17=node("CLIPTextEncode", text="blurry", clip=["14", 1]),
        ),
        {
            "prompt": ["6.text", "16.text"], "negative_prompt": ["7.text", "17.text"], "seed": ["13.noise_seed"],
            "steps": ["13.steps", "3.steps"], "cfg": ["13.cfg", "3.cfg"], "denoise": None,
            "sampler": ["13.sampler_name", "3.sampler_name"], "scheduler": ["13.scheduler", "3.scheduler"],
            "checkpoint_2": ["14.ckpt_name"],
        },
    ),
    (
        "a second pass of its own",
        text_to_image(
            _8=node("VAEDecode", samples=["20", 0], vae=["4", 2]),
            _20=sampler(latent_image=["21", 0], denoise=0.5, steps=12, seed=6),
            _21=node("LatentUpscaleBy", samples=["3", 0], scale_by=2.0),
        ),
        {
            "steps_2": ["20.steps"], "denoise_2": ["20.denoise"], "seed_2": ["20.seed"], "cfg": ["3.cfg", "20.cfg"],
            "sampler": ["3.sampler_name", "20.sampler_name"], "scheduler": ["3.scheduler", "20.scheduler"],
        },
    ),
    (
        "a sampler in parts",
        text_to_image(
            _3=node(
                "SamplerCustomAdvanced", noise=["20", 0], guider=["21", 0], sampler=["22", 0], sigmas=["23", 0],
                latent_image=["5", 0],
            ),
            _20=node("RandomNoise", noise_seed=5),
            _21=node("CFGGuider", cfg=4.0, model=["25", 0], positive=["24", 0], negative=["7", 0]),
            _22=node("KSamplerSelect", sampler_name="euler"),
            _23=node("BasicScheduler", scheduler="simple", steps=20, denoise=1.0, model=["25", 0]),
            _24=node("FluxGuidance", guidance=3.5, conditioning=["6", 0]),
            _25=node("ModelSamplingFlux", max_shift=1.15, base_shift=0.5, width=512, height=640, model=["4", 0]),
        ),
        {
            "seed": ["20.noise_seed"], "cfg": ["21.cfg"], "sampler": ["22.sampler_name"], "guidance": ["24.guidance"],
            "scheduler": ["23.scheduler"], "steps": ["23.steps"], "denoise": ["23.denoise"],
            "width": ["5.width", "25.width"], "height": ["5.height", "25.height"],
        },
    ),
    (
        "a chain of LoRAs, equal by chance",
        text_to_image(
            _3=sampler(model=["21", 0]),
            _20=node("LoraLoader", lora_name="a.safetensors", strength_model=1.0, strength_clip=1.0, model=["4", 0]),
            _21=node("LoraLoader", lora_name="a.safetensors", strength_model=1.0, strength_clip=0.5, model=["20", 0]),
        ),
        {
            "lora": ["20.lora_name"], "lora_2": ["21.lora_name"], "lora_strength_2": ["21.strength_model"],
            "lora_strength": ["20.strength_model", "20.strength_clip"],
        },
    ),
    (
        "image to image, with a mask of its own",
        text_to_image(
            _5=node("VAEEncodeForInpaint", pixels=["20", 0], mask=["21", 0], vae=["4", 2], grow_mask_by=6),
            _20=node("LoadImage", image="a.png"),
            _21=node("LoadImageMask", image="m.png", channel="red"),
        ),
        {"width": None, "height": None, "batch_size": None, "image": ["20.image"], "mask": ["21.image"]},
    ),
    (
        "image to image, scaled: the size is the picture's",
        text_to_image(
            _5=node("VAEEncode", pixels=["20", 0], vae=["4", 2]),
            _20=node("ImageScale", image=["21", 0], width=768, height=512, upscale_method="area", crop="center"),
            _21=node("LoadImage", image="a.png"),
        ),
        {"width": ["20.width"], "height": ["20.height"], "batch_size": None, "image": ["21.image"]},
    ),
    (
        "a picture used for its mask only",
        text_to_image(
            _5=node("SetLatentNoiseMask", samples=["22", 0], mask=["20", 1]),
            _20=node("LoadImage", image="a.png"),
            _22=node("EmptyLatentImage", width=64, height=64, batch_size=1),
        ),
        {"width": ["22.width"], "height": ["22.height"], "batch_size": ["22.batch_size"], "mask": ["20.image"]},
    ),
    (
        "film: size, length and rate",
        text_to_image(
            _3=sampler(positive=["5", 0], negative=["5", 1], latent_image=["5", 2]),
            _5=node(
                "WanImageToVideo", width=832, height=480, length=81, batch_size=1, positive=["6", 0],
                negative=["7", 0], start_image=["20", 0],
            ),
            _9=node("SaveVideo", video=["21", 0], filename_prefix="x"),
            _20=node("LoadImage", image="a.png"),
            _21=node("CreateVideo", images=["8", 0], fps=16.0),
        ),
        {"length": ["5.length"], "fps": ["21.fps"], "image": ["20.image"]},
    ),
    (
        "what nothing reaches is not a parameter",
        text_to_image(_30=node("LoadImage", image="a.png"), _31=node("VAELoader", vae_name="b.safetensors")),
        {},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("case", "nodes", "differs"), GOLDEN, ids=[row[0] for row in GOLDEN])
def test_golden_graphs(
    catalog: object_info.NodeCatalog, case: str, nodes: Nodes, differs: dict[str, list[str] | None]
) -> None:
    expected = {name: targets for name, targets in (PLAIN | differs).items() if targets is not None}
    assert found(nodes) == expected
    assert found(nodes, catalog) == expected


def test_without_a_sampler_names_tell() -> None:
    nodes = {
        "1": node("SomeApiNode", **{"model.prompt": "a fox", "seed": 3, "model.width": 64, "image": ["2", 0]}),
        "2": node("LoadImage", image="a.png"),
        "3": node("SaveImage", images=["1", 0], filename_prefix="x"),
    }
    assert found(nodes) == {
        "prompt": ["1.model.prompt"],
        "seed": ["1.seed"],
        "width": ["1.model.width"],
        "image": ["2.image"],
    }
    seed = inferred(graphs.parse_graph(nodes))[1]
    assert seed.maximum == 2**31 - 1  # services seldom take more


def test_a_preset_that_overrides_width_and_height_is_the_size() -> None:
    def service(preset: str) -> Nodes:
        made = node("SomeApiNode", prompt="a fox", seed=3, size_preset=preset, width=64, height=64)
        return {"1": made, "2": node("SaveImage", images=["1", 0], filename_prefix="x")}

    assert found(service("2K")) == {"prompt": ["1.prompt"], "seed": ["1.seed"], "size": ["1.size_preset"]}
    assert found(service("Custom"))["width"] == ["1.width"]


def test_a_knot_of_thousands_of_nodes_finds_less_and_ends() -> None:
    nodes: Nodes = {"c0": node("CLIPTextEncode", text="a fox"), "l": node("EmptyLatentImage", width=64, height=64)}
    for i in range(1, 2_500):
        nodes[f"c{i}"] = node("SomeConditioning", conditioning=[f"c{i - 1}", 0])
    for i in range(2_500):
        nodes[f"k{i}"] = node("KSampler", seed=i, positive=["c2499", 0], latent_image=["l", 0])
        nodes[f"s{i}"] = node("SaveImage", images=[f"k{i}", 0], filename_prefix="x")
    assert found(nodes)["prompt"] == ["c0.text"]


def test_a_seed_keeps_to_what_its_node_takes(catalog: object_info.NodeCatalog) -> None:
    nodes = {"1": node("QwenImageEditApi", seed=3), "2": node("SaveImage", images=["1", 0], filename_prefix="x")}
    template = building.build("t", graphs.parse_graph(nodes), catalog=catalog)
    seed = template.with_role("seed")
    assert seed is not None
    assert seed.maximum == 2147483647
    assert binding.bind(template, {}, draw_seed=lambda: 2**63).inputs()["seed"] <= 2147483647


def test_values_that_do_not_fit_their_role_are_no_crash() -> None:
    nodes = text_to_image(_3=sampler(steps="twenty", cfg=-5, seed=1.5, denoise=None, sampler_name=7))
    template = building.build("t", graphs.parse_graph(nodes))
    assert {item.name for item in template.parameters} >= {"cfg", "prompt"}
    assert binding.bind(template, {}, draw_seed=lambda: 1).inputs()["cfg"] == -5.0


@pytest.mark.parametrize(("adds", "is_seed"), [(["50", 0], True), ("enable", True), ("disable", False), (False, False)])
def test_a_seed_counts_where_noise_is_added_or_may_be(adds: Any, is_seed: bool) -> None:
    advanced = node("KSamplerAdvanced", noise_seed=5, add_noise=adds, latent_image=["5", 0])
    assert ("seed" in found(text_to_image(_3=advanced, _50=node("PrimitiveString", value="enable")))) is is_seed


def test_outputs() -> None:
    nodes = text_to_image(
        _10=node("PreviewImage", images=["8", 0]),
        _11=node("SaveImage", images=["8", 0], filename_prefix="y") | {"_meta": {"title": "Large"}},
        _12=node("SaveAudio", audio=["8", 0]),
    )
    told = inference.infer_outputs(graphs.parse_graph(nodes))
    assert [(output.name, output.node, output.title) for output in told] == [
        ("image", "9", None),
        ("image_2", "11", "Large"),
        ("audio", "12", None),
    ]
    only_previews = {"1": node("LoadImage", image="a.png"), "2": node("PreviewImage", images=["1", 0])}
    assert [output.node for output in inference.infer_outputs(graphs.parse_graph(only_previews))] == ["2"]


# Anything at all.

literals = st.one_of(st.integers(-5, 5), st.floats(0, 9), st.text(max_size=3), st.booleans(), st.none())
links = st.tuples(st.sampled_from("abcdef"), st.integers(0, 2)).map(list)
FIELDS = "seed noise positive negative conditioning text latent_image samples model guider sigmas value width height switch on_true image lora_name strength_model prompt".split()  # noqa: E501, SIM905
CLASSES = "KSampler CLIPTextEncode LoadImage Reroute ComfySwitchNode StringConcatenate LoraLoader SaveImage EmptyLatentImage ConditioningZeroOut".split()  # noqa: E501, SIM905


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.fixed_dictionaries(
            {
                "class_type": st.sampled_from(CLASSES),
                "inputs": st.dictionaries(st.sampled_from(FIELDS), st.one_of(literals, links), max_size=6),
            }
        ),
    )
)
def test_whatever_is_a_graph_becomes_a_template(nodes: Nodes) -> None:
    try:
        graph = graphs.parse_graph(nodes)
    except errors.InvalidRequest:
        return
    whole(building.build("t", graph), set())


def whole(template: model.Template, required: set[str]) -> None:
    """Binds with its defaults, and its sidecar reads back as the same parameters."""
    given_values = {item.name: "a.png" for item in template.parameters if item.required}
    bound = binding.bind(template, given_values, draw_seed=lambda: 1)
    graphs.parse_graph(bound.graph())
    text = sidecar.write_sidecar(template)
    if template.parameters:
        again = building.build(template.name, template.graph, sidecar.read_sidecar(text, "t.toml"), text=text)
        assert again.parameters == template.parameters


LABELLED = Path(__file__).parents[2] / "fixtures" / "templates" / "labelled-graphs.json.gz"


@pytest.fixture(scope="module")
def official() -> dict[str, Nodes]:
    return orjson.loads(gzip.decompress(LABELLED.read_bytes()))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_official_templates_with_parts_torn_out(official: dict[str, Nodes], data: st.DataObject) -> None:
    """Whatever is changed in one, it is a template or a told fault."""
    nodes = orjson.loads(orjson.dumps(official[data.draw(st.sampled_from(sorted(official)))]))
    for _ in range(data.draw(st.integers(1, 6))):
        place = nodes[data.draw(st.sampled_from(sorted(nodes)))]
        other = st.tuples(st.sampled_from(sorted(nodes)), st.integers(0, 3)).map(list)
        fields = sorted(place["inputs"]) or ["text"]
        field = data.draw(st.one_of(st.sampled_from(fields), st.sampled_from(FIELDS)))
        place["inputs"][field] = data.draw(st.one_of(other, literals))
        if data.draw(st.booleans()):
            place["_meta"] = {
                "title": data.draw(st.sampled_from(["$a.text!", "$output.x", "MCP", "Int (Steps)", "System"]))
            }
        if data.draw(st.booleans()):
            place["class_type"] = data.draw(
                st.sampled_from([*CLASSES, "CPackInputInt", "SwarmInputImage", "PrimitiveInt"])
            )
    try:
        template = building.build("t", graphs.parse_graph(nodes))
    except errors.GatewayError:
        return
    assert template.graph


@pytest.mark.skipif(
    not CORPUS.is_dir(), reason=f"needs the official templates recorded from a real ComfyUI in {CORPUS}"
)
def test_every_official_template_becomes_one_of_ours() -> None:
    """All recorded graphs parse (but two with nodes that had no class), infer, bind, write and read back; prompts are
    found where there are text encoders that a sampler reads."""
    recorded = orjson.loads(gzip.decompress((CORPUS / "api-graphs.json.gz").read_bytes()))
    info = orjson.loads(gzip.decompress((CORPUS / "object_info.json.gz").read_bytes()))
    catalog = object_info.NodeCatalog.parse(info)
    refused: list[str] = []
    roles_found: dict[str, int] = {}
    for name, nodes in recorded.items():
        try:
            graph = graphs.parse_graph(nodes)
        except errors.InvalidWorkflow:
            refused.append(name)
            continue
        template = building.build(name, graph, catalog=catalog)
        whole(template, set())
        for role in {item.role or "" for item in template.parameters}:
            roles_found[role] = roles_found.get(role, 0) + 1
        reasons = {fault.reason for fault in catalog.check(graph, partial=False)}
        assert reasons <= {"value_not_in_list"}, name
    assert len(refused) == 2
    assert roles_found["prompt"] >= 195
    assert roles_found["seed"] >= 215
