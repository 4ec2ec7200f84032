"""The official templates, and what ComfyUI's own frontend made of them: found, and compared with what we make."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "comfyui-workflow-templates-json==0.1.50"
#: Where `make templates-report` puts the package's files.
UNPACKED = ROOT / ".venv" / "official-templates"
TEMPLATES = UNPACKED / "comfyui_workflow_templates_json" / "templates"

Graph = Mapping[str, Mapping[str, Any]]

#: What cannot be equal, and why. Everything else that differs is a fault of ours.
EXPLAINED = {
    "api_hunyuan3d_retopo_uv": (
        "Load3D sends pictures of its 3D scene, which the browser draws and uploads as it posts; "
        "a conversion has no scene to draw."
    ),
    "templates_graphic_design_recomposer": (
        "The editor turns a primitive that the subgraph's node shows into an input of the subgraph, and connects that "
        "by the saved places of inputs. The file's fourth input of GeminiImage2Node is `aspect_ratio`; the class of "
        "today has `model` there. So the editor sends the name of a model as an aspect ratio, which the very "
        "object_info of the recording refuses. We send the author's 16:9, which it takes."
    ),
}


def corpus() -> Path | None:
    """The folder with the frontend's graphs, where it is at hand."""
    named = os.environ.get("OFFICIAL_TEMPLATES")
    places = [Path(named)] if named else [ROOT.parent / "shared" / "official-templates"]
    return next((place for place in places if (place / "api-graphs.json.gz").is_file()), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Official:
    """Everything that the comparison needs."""

    info: Mapping[str, Any]
    graphs: Mapping[str, Graph]

    @classmethod
    def read(cls, folder: Path) -> Official:
        """From the folder of the corpus."""

        def packed(name: str) -> Any:
            return orjson.loads(gzip.decompress((folder / name).read_bytes()))

        return cls(info=packed("object_info.json.gz"), graphs=packed("api-graphs.json.gz"))


def workflows(folder: Path = TEMPLATES) -> Iterator[tuple[str, Any]]:
    """Name and content of every official template; the package's indexes are no workflows."""
    for path in sorted(folder.glob("*.json")):
        data = orjson.loads(path.read_bytes())
        if isinstance(data, dict) and "nodes" in data:
            yield path.stem, data


def differences(real: Graph, ours: Graph, info: Mapping[str, Any]) -> list[str]:
    """What differs in the nodes that an output depends on; nothing when the graphs are equal in content.

    A node whose class the recording server did not know has no class in its graph, and made-up names for its values:
    of these its links are compared.
    """
    found: list[str] = []
    for node_id in sorted(_needed(real, info) | _needed(ours, info)):
        if node_id not in ours:
            found.append(f"{node_id}: missing ({real[node_id]['class_type']})")
        elif node_id not in real:
            found.append(f"{node_id}: surplus ({ours[node_id]['class_type']})")
        else:
            found.extend(f"{node_id}: {each}" for each in _node_differences(real[node_id], ours[node_id]))
    return found


def _node_differences(real: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    theirs, mine = real["inputs"], ours["inputs"]
    if real["class_type"] is None:
        theirs, mine = ({key: value for key, value in each.items() if _is_link(value)} for each in (theirs, mine))
    elif real["class_type"] != ours["class_type"]:
        yield f"class {real['class_type']} became {ours['class_type']}"
        return
    for name in sorted({*theirs, *mine}):
        one, other = (_shown(each, name) for each in (theirs, mine))
        if one != other:
            yield f"{ours['class_type']}.{name}: the frontend sends {one[:200]}, we {other[:200]}"


def _shown(inputs: Mapping[str, Any], name: str) -> str:
    return orjson.dumps(_plain(inputs[name]), option=orjson.OPT_SORT_KEYS).decode() if name in inputs else "nothing"


def _plain(value: Any) -> Any:
    # JavaScript knows one kind of number.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value


def _needed(graph: Graph, info: Mapping[str, Any]) -> set[str]:
    """The outputs and what they depend on."""
    todo = [key for key, node in graph.items() if info.get(node["class_type"] or "", {}).get("output_node")]
    seen: set[str] = set()
    while todo:
        node_id = todo.pop()
        if node_id not in seen and node_id in graph:
            seen.add(node_id)
            todo.extend(value[0] for value in graph[node_id]["inputs"].values() if _is_link(value))
    return seen


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
