"""What a worker can run, told from its object_info, and graphs held against it with ComfyUI's own leniencies."""

from __future__ import annotations

import copy
import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info

FIXTURE = Path(__file__).parents[2] / "fixtures" / "object_info.json.gz"


def recorded() -> dict[str, Any]:
    """Trimmed from a real 0.33.0, with two checkpoints in its list."""
    info = orjson.loads(gzip.decompress(FIXTURE.read_bytes()))
    info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0] = ["sd15.safetensors", "sub/xl.safetensors"]
    return info


@pytest.fixture(scope="module")
def catalog() -> object_info.NodeCatalog:
    return object_info.NodeCatalog.parse(recorded())


def picture(**changes: Any) -> graphs.Graph:
    """EmptyImage → SaveImage, as in the recordings; `changes` are inputs of EmptyImage."""
    inputs = {"width": 64, "height": 64, "batch_size": 1, "color": 0, **changes}
    return graphs.parse_graph(
        {
            "1": {
                "class_type": "EmptyImage",
                "inputs": {key: value for key, value in inputs.items() if value is not ...},
            },
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
        }
    )


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


#: Rows of the recording 05: what ComfyUI answered 200 to.
LENIENT: list[tuple[str, dict[str, Any]]] = [
    ("as it should be", {}),
    ("a numeric string for INT", {"width": "64"}),
    ("a float for INT is truncated", {"width": 64.9}),
    ("a boolean for INT", {"width": True}),
    ("an unknown input", {"bogus": 1}),
    ("an asset reference", {"width": {"__type": "core/ASSET", "info": {"id": "a"}}}),
]


@pytest.mark.parametrize(("case", "changes"), LENIENT, ids=[row[0] for row in LENIENT])
def test_what_comfyui_lets_pass_passes(catalog: object_info.NodeCatalog, case: str, changes: dict[str, Any]) -> None:
    assert catalog.check(picture(**changes), partial=False) == ()


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("a word for INT", {"width": "wide"}, "invalid_input_type", "width"),
    ("a fraction in a string for INT", {"width": "64.5"}, "invalid_input_type", "width"),
    ("null for INT", {"width": None}, "invalid_input_type", "width"),
    ("an object for INT", {"width": {}}, "invalid_input_type", "width"),
    ("too small", {"width": 0}, "value_smaller_than_min", "width"),
    ("too big", {"width": 10**9}, "value_bigger_than_max", "width"),
    ("too big, as a string", {"width": "1000000000"}, "value_bigger_than_max", "width"),
    ("a list of three", {"width": [1, 2, 3]}, "bad_linked_input", "width"),
    ("a link with a number as id", {"width": [1, 0]}, "bad_linked_input", "width"),
    ("missing", {"width": ...}, "required_input_missing", "width"),
]


@pytest.mark.parametrize(("case", "changes", "reason", "field"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_comfyui_refuses_is_refused(
    catalog: object_info.NodeCatalog, case: str, changes: dict[str, Any], reason: str, field: str
) -> None:
    faults = catalog.check(picture(**changes))
    assert [(fault.reason, fault.node, fault.class_type, fault.field) for fault in faults] == [
        (reason, "1", "EmptyImage", field)
    ]


def test_links(catalog: object_info.NodeCatalog) -> None:
    graph = graphs.parse_graph(
        {
            "1": node("EmptyImage", width=64, height=64, batch_size=1, color=0),
            "2": node("SaveImage", images=["1", 5], filename_prefix="x"),
            "3": node("PrimitiveInt", value=3),
            "4": node("SaveImage", images=["3", 0], filename_prefix="x"),
            "5": node("PreviewAny", source=["3", 0]),
        }
    )
    faults = catalog.check(graph, partial=False)
    assert [(fault.reason, fault.node) for fault in faults] == [("bad_link_slot", "2"), ("return_type_mismatch", "4")]
    assert catalog.check(graph) == ()  # one output of three runs, so ComfyUI takes it


@pytest.mark.parametrize(
    ("made", "wanted", "match"),
    [
        ("IMAGE", "IMAGE", True),
        ("INT", "IMAGE", False),
        ("*", "IMAGE", True),
        ("INT", "*", True),
        ("INT", "FLOAT,INT", True),
        ("A, B", "B ,C", True),
        ("A,B", "C", False),
        ("COMBO", "STRING", True),
        ("IMAGE", "COMFY_MATCHTYPE_V3", True),
        ("IMAGE", "COMFY_AUTOGROW_V3", True),
    ],
)
def test_types_match(made: str, wanted: str, *, match: bool) -> None:
    assert object_info.types_match(made, wanted) is match


def test_a_graph_without_outputs(catalog: object_info.NodeCatalog) -> None:
    graph = graphs.parse_graph({"1": node("EmptyImage", width=64, height=64, batch_size=1, color=0)})
    assert [fault.reason for fault in catalog.check(graph)] == ["prompt_no_outputs"]


def test_unknown_classes_are_told_wherever_they_are(catalog: object_info.NodeCatalog) -> None:
    graph = graphs.parse_graph({**picture(), "9": node("EmptyImagee")})
    faults = catalog.check(graph)
    assert [(fault.reason, fault.node) for fault in faults] == [("missing_node_type", "9")]
    assert "Did you mean 'EmptyImage'?" in faults[0].message


@pytest.mark.parametrize(
    ("wrong", "suggested"),
    [
        ("KSampelr", "KSampler"),
        ("loadimage", "LoadImage"),
        ("IPAdapterModelLoader", None),
        ("IPAdapterAdvanced", None),
    ],
)
def test_only_classes_of_nearly_the_same_name_are_suggested(wrong: str, suggested: str | None) -> None:
    known = ["KSampler", "KSamplerAdvanced", "StyleModelLoader", "LoadImage"]
    assert object_info.near_class(wrong, known) == (f" Did you mean {suggested!r}?" if suggested else "")


@pytest.mark.parametrize(
    ("wrong", "suggested"),
    [
        ("sd_xl_base_1.safetensors", "sd_xl_base_1.0.safetensors"),
        ("4x-ultrasharp.ckpt", "upscalers\\4x-UltraSharp.pth"),
        ("sd15.safetensors", None),
        ("sdxl.safetensors", None),
        (".safetensors", None),
    ],
)
def test_only_files_of_nearly_the_same_name_are_suggested(wrong: str, suggested: str | None) -> None:
    known = ["sd_xl_base_1.0.safetensors", "upscalers\\4x-UltraSharp.pth", "flux.safetensors", 7]
    assert object_info.near_file(wrong, known) == (f" Did you mean {suggested!r}?" if suggested else "")


def test_a_file_where_a_list_offers_files_is_compared_as_one(catalog: object_info.NodeCatalog) -> None:
    def loader(file: str) -> graphs.Graph:
        load = node("CheckpointLoaderSimple", ckpt_name=file)
        return graphs.parse_graph({**picture(), "8": load, "9": node("PreviewAny", source=["8", 0])})

    near, far = (catalog.check(loader(file), partial=False)[0].message for file in ("sd16.ckpt", "other.safetensors"))
    assert "Did you mean 'sd15.safetensors'?" in near
    assert "Did you mean" not in far


def test_what_no_output_needs_is_not_checked(catalog: object_info.NodeCatalog) -> None:
    assert catalog.check(graphs.parse_graph({**picture(), "9": node("ImageScale")}), partial=False) == ()


def test_lists(catalog: object_info.NodeCatalog) -> None:
    def scaled(method: Any) -> graphs.Graph:
        scale = node("ImageScale", image=["1", 0], upscale_method=method, width=8, height=8, crop="disabled")
        return graphs.parse_graph(
            {**picture(), "3": scale, "4": node("SaveImage", images=["3", 0], filename_prefix="x")}
        )

    assert catalog.check(scaled("bilinear"), partial=False) == ()
    (fault,) = catalog.check(scaled("bilinar"), partial=False)
    assert (fault.reason, fault.field) == ("value_not_in_list", "upscale_method")
    assert "Did you mean 'bilinear'?" in fault.message


def test_uploads_and_fetched_lists_are_never_held_against_the_list(catalog: object_info.NodeCatalog) -> None:
    for class_type, field in [("LoadImage", "image"), ("LoadVideo", "file"), ("LoadImageOutput", "image")]:
        graph = graphs.parse_graph({"1": node(class_type, **{field: "mine"}), "2": node("PreviewAny", source=["1", 0])})
        assert catalog.check(graph, partial=False) == ()
    assert catalog.upload_kind("LoadImage", "image") == "image"
    assert catalog.upload_kind("LoadImageMask", "image") == "mask"
    assert catalog.upload_kind("LoadVideo", "file") == "video"
    assert catalog.upload_kind("LoadAudio", "audio") == "audio"
    assert catalog.upload_kind("Load3D", "model_file") == "file"
    assert catalog.upload_kind("ImageScale", "image") is None


def test_dynamic_combos_are_checked_by_the_chosen_variant(catalog: object_info.NodeCatalog) -> None:
    def resized(**inputs: Any) -> graphs.Graph:
        resize = node("ResizeImageMaskNode", input=["1", 0], scale_method="area", **inputs)
        return graphs.parse_graph({**picture(), "3": resize, "4": node("PreviewImage", images=["3", 0])})

    good = {"resize_type": "scale by multiplier", "resize_type.multiplier": 2.0}
    assert catalog.check(resized(**good), partial=False) == ()
    (fault,) = catalog.check(resized(**good | {"resize_type.multiplier": 99}), partial=False)
    assert (fault.reason, fault.field) == ("value_bigger_than_max", "resize_type.multiplier")
    (fault,) = catalog.check(resized(resize_type="scale by multiplier"), partial=False)
    assert (fault.reason, fault.field) == ("required_input_missing", "resize_type.multiplier")
    spec = catalog.input("ResizeImageMaskNode", "resize_type.multiplier")
    assert spec is not None
    assert (spec.minimum, spec.maximum) == (0.01, 8.0)


def test_growing_inputs_are_left_to_the_worker(catalog: object_info.NodeCatalog) -> None:
    batch = node("BatchImagesNode", **{"images.image0": ["1", 0], "images.image1": ["1", 0]})
    graph = graphs.parse_graph({**picture(), "3": batch, "4": node("PreviewImage", images=["3", 0])})
    assert catalog.check(graph, partial=False) == ()


def test_custom_packs_validate_themselves() -> None:
    info = recorded()
    custom = copy.deepcopy(info["ImageScale"])
    custom["python_module"] = "custom_nodes.mine"
    info["MyScale"] = custom
    catalog = object_info.NodeCatalog.parse(info)
    odd = node("MyScale", image=["5", 9], upscale_method="mine", width=-5, height=10**9, crop="x")
    graph = graphs.parse_graph(
        {
            "5": node("MyScale", image=["6", 0], upscale_method="mine", width=1, height=1, crop="x"),
            "6": node("PrimitiveInt", value=1),
            "1": odd,
            "2": node("PreviewAny", source=["1", 0]),
        }
    )
    assert catalog.check(graph, partial=False) == ()
    missing = graphs.parse_graph(
        {"1": node("MyScale", image=["1b", 0]), "1b": node("EmptyImage"), "2": node("PreviewAny", source=["1", 0])}
    )
    assert {fault.reason for fault in catalog.check(missing)} == {"required_input_missing"}


# Requirements.


def needs(*models: tuple[str, str, str], classes: tuple[str, ...] = ()) -> graphs.Requirements:
    return graphs.Requirements(classes=frozenset(classes), models=frozenset(models))


def test_lacks(catalog: object_info.NodeCatalog) -> None:
    checkpoint = ("CheckpointLoaderSimple", "ckpt_name", "sub/xl.safetensors")
    assert catalog.lacks(needs(checkpoint, classes=("EmptyImage",))) == ()
    assert catalog.can_run(needs(checkpoint, classes=("EmptyImage",)))
    absent = ("CheckpointLoaderSimple", "ckpt_name", "sd16.safetensors")
    faults = catalog.lacks(needs(absent, classes=("EmptyImage", "Nope")))
    assert [fault.reason for fault in faults] == ["missing_node_type", "missing_model"]
    assert "Did you mean 'sd15.safetensors'?" in faults[1].message
    assert not catalog.can_run(needs(absent))
    assert not catalog.can_run(needs(classes=("Nope",)))


def test_an_input_without_a_list_lacks_nothing(catalog: object_info.NodeCatalog) -> None:
    for place in [("PrimitiveString", "value"), ("Nope", "x"), ("LoadImage", "image"), ("LoadImageOutput", "image")]:
        assert catalog.can_run(needs((*place, "a.safetensors")))


def test_an_empty_list_lacks_every_model(catalog: object_info.NodeCatalog) -> None:
    assert not catalog.can_run(needs(("LoraLoader", "lora_name", "a.safetensors")))


# The catalog itself.


def test_catalogs_with_the_same_content_have_the_same_digest(catalog: object_info.NodeCatalog) -> None:
    uploaded = recorded()
    uploaded["LoadImage"]["input"]["required"]["image"][0] = ["example.png", "another.png"]
    assert object_info.NodeCatalog.parse(dict(reversed(uploaded.items()))).digest == catalog.digest
    other = recorded()
    other["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0].append("new.safetensors")
    assert object_info.NodeCatalog.parse(other).digest != catalog.digest


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"input": None, "output": None},
        {"input": {"required": []}, "output": "IMAGE"},
        {"input": {"required": {"a": None, "b": [], "c": [5], "d": "IMAGE", "e": [["x", None, [1]], "odd"]}}},
        {
            "input": {"optional": {"a": ["INT", {"min": "low", "max": None, "default": [1]}]}},
            "output": [["a", "b"], None],
        },
        {"input": {"required": {"a": ["COMFY_DYNAMICCOMBO_V3", {"options": [None, {"key": 5, "inputs": []}]}]}}},
    ],
)
def test_odd_entries_are_tolerated(entry: dict[str, Any]) -> None:
    catalog = object_info.NodeCatalog.parse({"Odd": entry, "Not": "an object"})
    assert "Odd" in catalog
    assert len(catalog) == 1
    catalog.check(graphs.parse_graph({"1": node("Odd", a=1, e="x")}))
    assert catalog.digest


def test_what_is_no_object_info_is_a_fault_of_the_worker() -> None:
    with pytest.raises(errors.WorkerFault):
        object_info.NodeCatalog.parse({"error": "nope"})
    assert len(object_info.NodeCatalog.parse({})) == 0


def test_outputs_and_requirements_go_by_the_catalog(catalog: object_info.NodeCatalog) -> None:
    graph = graphs.parse_graph(
        {
            **picture(),
            "3": node("CheckpointLoaderSimple", ckpt_name="loose.safetensors"),
            "4": node("LoraLoader", model=["3", 0], clip=["3", 1], lora_name="x.safetensors"),
        }
    )
    assert graphs.output_nodes(graph, catalog) == ("2",)
    assert graphs.requirements(graph, catalog).models == frozenset()
    assert len(graphs.requirements(graph).models) == 2  # without a catalog a loose end may be an output
