"""The templates that ship: each is whole, and those of stock nodes fit a real ComfyUI's object_info."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.adapters import images, templates
from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info
from gateway.domain.templates import binding, building, library, model, sidecar

FIXTURE = Path(__file__).parents[2] / "fixtures" / "object_info.json.gz"
NAMES = [
    "compose", "contact-sheet", "controlnet-canny", "controlnet-depth", "controlnet-pose", "edit", "flux-dev",
    "flux-schnell", "img2img", "inpaint", "ip-adapter", "lora", "sd15", "sd15-lcm", "sdxl", "sdxl-refiner",
    "sdxl-turbo", "upscale",
]  # fmt: skip
MODEL_FREE = {"compose", "contact-sheet", "edit"}
STOCK = [name for name in NAMES if name != "ip-adapter"]


@pytest.fixture(scope="module")
def shipped() -> library.Library:
    return templates.load(templates.builtin_folder())


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return orjson.loads(gzip.decompress(FIXTURE.read_bytes()))


def equipped(recorded: dict[str, Any], needs: graphs.Requirements) -> object_info.NodeCatalog:
    """The recorded ComfyUI with the model files that are needed in its lists."""
    info = orjson.loads(orjson.dumps(recorded))
    for class_type, field, file in needs.models:
        entry = info[class_type]["input"]["required"][field]
        (entry[0] if isinstance(entry[0], list) else entry[1]["options"]).append(file)
    return object_info.NodeCatalog.parse(info)


def bound(template: model.Template) -> binding.Bound:
    asset = "0190a1b2-0000-7000-8000-000000000001"
    return binding.bind(
        template, {item.name: asset for item in template.parameters if item.required}, draw_seed=lambda: 2**63
    )


def test_the_library_is_whole(shipped: library.Library) -> None:
    assert [template.name for template in shipped.templates if template.pipeline is None] == NAMES
    assert shipped.broken == ()
    assert not any(template.inferred for template in shipped.templates)


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_is(shipped: library.Library, name: str) -> None:
    template = shipped.get(name)
    assert template.title
    assert template.description
    assert template.tags
    assert template.outputs
    declared = {file.file for file in template.models}
    assert {file for _class, _field, file in template.requirements.models} == declared
    assert all(file.url and file.folder for file in template.models)
    assert (not declared) is (name in MODEL_FREE)


@pytest.mark.parametrize("name", STOCK)
def test_stock_templates_fit_a_real_object_info(shipped: library.Library, recorded: dict[str, Any], name: str) -> None:
    template = shipped.get(name)
    catalog = equipped(recorded, template.requirements)
    bind = bound(template)
    graph = bind.graph({item.parameter: "asset" for item in bind.inline})
    assert catalog.check(template.graph, partial=False) == ()
    assert catalog.check(graph, partial=False) == ()
    assert catalog.lacks(graphs.requirements(graph, catalog)) == ()
    assert template.requirements == graphs.requirements(template.graph, catalog)


@pytest.mark.parametrize("name", STOCK)
def test_bounds_and_choices_are_within_the_nodes_own(
    shipped: library.Library, recorded: dict[str, Any], name: str
) -> None:
    catalog = object_info.NodeCatalog.parse(recorded)
    for parameter in shipped.get(name).parameters:
        for target in parameter.targets:
            spec = catalog.input(shipped.get(name).graph[target.node]["class_type"], target.input)
            assert spec is not None
            if parameter.minimum is not None and spec.minimum is not None:
                assert parameter.minimum >= spec.minimum
            if parameter.maximum is not None and spec.maximum is not None:
                assert parameter.maximum <= spec.maximum
            assert not parameter.choices or set(parameter.choices) <= set(spec.choices or ())


def test_the_node_pack_that_is_not_stock_is_declared(shipped: library.Library, recorded: dict[str, Any]) -> None:
    template = shipped.get("ip-adapter")
    missing = template.requirements.classes - object_info.NodeCatalog.parse(recorded).classes.keys()
    assert missing == {name for pack in template.packs for name in pack.classes}


@pytest.mark.parametrize("name", NAMES)
def test_inference_alone_finds_what_the_sidecar_says(shipped: library.Library, name: str) -> None:
    """Each parameter with a role is found without the sidecar, at the same inputs."""
    template = shipped.get(name)
    alone = building.build(name, template.graph)
    found = {target: parameter.role for parameter in alone.parameters for target in parameter.targets}
    for parameter in template.parameters:
        if parameter.role is not None:
            assert {found.get(target) for target in parameter.targets} == {parameter.role}, parameter.name


@pytest.mark.parametrize("name", NAMES)
def test_written_out_it_reads_back_the_same(shipped: library.Library, name: str) -> None:
    template = shipped.get(name)
    text = sidecar.write_sidecar(template)
    again = building.build(name, template.graph, sidecar.read_sidecar(text, "t.toml"), text=text, files=template.files)
    assert again.parameters == template.parameters
    assert (again.outputs, again.packs, again.models) == (template.outputs, template.packs, template.models)


def test_the_pictures_that_ship(shipped: library.Library) -> None:
    seen: dict[str, bytes] = {}
    for template in shipped.templates:
        # A pipeline's are those of its steps.
        seen |= {name: data for name, data in template.files.items() if template.pipeline is None}
    assert seen.keys() == {"assets/harbour.png", "assets/hills.png", "assets/oval-mask.png"}
    for data in seen.values():
        facts = images.probe_image(data)
        assert (facts.width, facts.height, facts.media_type) == (512, 384, "image/png")
        assert len(data) < 300_000
