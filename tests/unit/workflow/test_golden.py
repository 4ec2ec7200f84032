"""Official templates, trimmed, against the graphs that ComfyUI's own frontend made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info
from gateway.domain.workflow import conversion
from tests.conformance import official

FOLDER = Path(__file__).parents[2] / "fixtures" / "workflows"
PAIRS = sorted(path for path in FOLDER.glob("*.json") if path.stem not in {"object_info", "recorded"})

corpus = official.corpus()
needs_corpus = pytest.mark.skipif(
    corpus is None or not official.TEMPLATES.is_dir(),
    reason="needs what a real ComfyUI made of the official templates: see `make templates-report`",
)


@pytest.fixture(scope="module")
def info() -> dict[str, Any]:
    return orjson.loads((FOLDER / "object_info.json").read_bytes())


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_trimmed(path: Path, info: dict[str, Any]) -> None:
    pair = orjson.loads(path.read_bytes())
    made = conversion.convert(pair["workflow"], info)
    assert made.unknown == ()
    assert made.graph.keys() == pair["graph"].keys()
    assert official.differences(pair["graph"], made.graph, info) == []


def test_an_older_version_says_the_same_with_objects_for_links(info: dict[str, Any]) -> None:
    pair = orjson.loads((FOLDER / "sdxl_simple_example.json").read_bytes())
    keys: tuple[str, ...] = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    links = [dict(zip(keys, link, strict=True)) for link in pair["workflow"]["links"]]
    newer = {**pair["workflow"], "version": 1, "links": links, "state": {"lastNodeId": 1}}
    assert official.differences(pair["graph"], conversion.convert(newer, info).graph, info) == []


@needs_corpus
def test_the_whole_corpus() -> None:
    assert corpus is not None
    real = official.Official.read(corpus)
    differing = {
        name
        for name, file in official.workflows()
        if (made := conversion.convert(file, real.info, allow_unknown=True))
        and name in real.graphs
        and official.differences(real.graphs[name], made.graph, real.info)
    }
    assert differing == official.EXPLAINED.keys()


@needs_corpus
def test_what_is_not_made_equal_is_what_a_worker_would_refuse() -> None:
    assert corpus is not None
    real = official.Official.read(corpus)
    name = "templates_graphic_design_recomposer"
    catalog = object_info.NodeCatalog.parse(real.info)
    theirs = graphs.parse_graph({node_id: dict(node) for node_id, node in real.graphs[name].items()})
    ours = conversion.convert(dict(official.workflows())[name], real.info).graph
    (fault,) = catalog.check(theirs, partial=False)
    assert (fault.node, fault.field, fault.reason) == ("143:157", "model.aspect_ratio", "value_not_in_list")
    assert catalog.check(ours, partial=False) == ()
