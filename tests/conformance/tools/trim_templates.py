"""Makes tests/fixtures/workflows anew: official templates (MIT) without what a conversion does not read, the graphs
that the frontend made of them, and of object_info what these and recorded.json need.
Run it after `make templates-report` fetched them:

    PYTHONPATH=. .venv/bin/python tests/conformance/tools/trim_templates.py
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tests.conformance import official

FOLDER = official.ROOT / "tests" / "fixtures" / "workflows"
WANTED = (
    "api_anthropic_claude_opus_5",  # values of promoted widgets, inputs of subgraphs connected outside
    "api_google_gemini_omni_flash_t2v",  # custom combos inside a subgraph, dynamic combos
    "api_ideogram_p_image_t2i",  # a list as a value
    "api_magnific_image_upscale_precise",  # a widget that the editor never saves
    "api_pixverse_t2v",  # bypassed nodes
    "api_recraft_style_reference",  # a forced input whose value is still in the file
    "api_rodin_gen2",  # autogrow, 3D previews
    "api_sync_so_talking_image",  # a sound's widgets, a dynamic combo
    "flux_depth_lora_example",  # subgraphs inside subgraphs
    "hunyuan_video_text_to_video",  # muted nodes
    "image_ernie_image",  # the value of a promoted widget feeds a plain input, too
    "sdxl_simple_example",  # primitives, groups
    "templates-character_sheet",  # reroutes
    "templates-product_scene_relight",  # ids that the editor numbers anew
    "utility_image_segment_sam3",  # proxy widgets
    "utility_video_frame_interpolation",  # expressions over grown inputs
)


def main() -> None:
    """Write the files."""
    corpus = official.corpus()
    if corpus is None or not official.TEMPLATES.is_dir():
        raise SystemExit("run `make templates-report` first: it says what is missing")
    real = official.Official.read(corpus)
    FOLDER.mkdir(exist_ok=True)
    classes: set[str] = set()
    for name, workflow in official.workflows():
        if name in WANTED:
            graph = {key: {**node, "_meta": node["_meta"]} for key, node in real.graphs[name].items()}
            pair = {"workflow": _workflow(workflow), "graph": graph}
            (FOLDER / f"{name}.json").write_bytes(orjson.dumps(pair, option=orjson.OPT_INDENT_2))
            classes |= _classes(workflow)
    for case in orjson.loads((FOLDER / "recorded.json").read_bytes()).values():
        classes |= _classes(case["workflow"])
    info = {name: _class(real.info[name]) for name in sorted(classes & real.info.keys())}
    (FOLDER / "object_info.json").write_bytes(orjson.dumps(info, option=orjson.OPT_INDENT_2))


def _classes(workflow: Mapping[str, Any]) -> set[str]:
    scopes = [workflow, *workflow.get("definitions", {}).get("subgraphs", [])]
    return {node["type"] for scope in scopes for node in scope["nodes"]}


def _only(data: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: data[key] for key in keys if key in data}


def _workflow(data: Mapping[str, Any]) -> dict[str, Any]:
    trimmed = _scope(data)
    trimmed["version"] = data["version"]
    trimmed["last_node_id"] = data["last_node_id"]
    subgraphs = data.get("definitions", {}).get("subgraphs", [])
    if subgraphs:
        trimmed["definitions"] = {"subgraphs": [_subgraph(each) for each in subgraphs]}
    return trimmed


def _subgraph(data: Mapping[str, Any]) -> dict[str, Any]:
    slots = {
        side: [_only(slot, "id", "name", "type", "linkIds") for slot in data[side]] for side in ("inputs", "outputs")
    }
    return {**_only(data, "id", "version", "name"), **_scope(data), **slots}


def _scope(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"nodes": [_node(node) for node in data["nodes"]], "links": data["links"]}


def _node(node: Mapping[str, Any]) -> dict[str, Any]:
    trimmed = _only(node, "id", "type", "title", "mode", "widgets_values")
    if node["type"] in {"Note", "MarkdownNote"}:
        trimmed["widgets_values"] = ["A note."]
    trimmed["inputs"] = [_only(slot, "name", "type", "link", "widget") for slot in node.get("inputs") or []]
    trimmed["outputs"] = [_only(slot, "name", "type", "links") for slot in node.get("outputs") or []]
    properties = _only(node.get("properties", {}), "proxyWidgets")
    return {**trimmed, **({"properties": properties} if properties else {})}


def _class(entry: Mapping[str, Any]) -> dict[str, Any]:
    kept = _only(entry, "name", "display_name", "output", "output_node", "python_module", "input_order")
    sections = {section: entry["input"].get(section, {}) for section in ("required", "optional")}
    return {**kept, "input": {name: _fields(fields) for name, fields in sections.items() if fields}}


def _fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _spec(spec) for name, spec in fields.items()}


def _spec(spec: list[Any]) -> list[Any]:
    kind, *rest = spec
    options = {key: _option(key, value) for key, value in (rest[0] if rest else {}).items() if key != "tooltip"}
    return [kind[:20] if isinstance(kind, list) else kind, *([options] if rest else [])]


def _option(key: str, value: Any) -> Any:
    if key == "options" and value and isinstance(value[0], dict):
        return [{**each, "inputs": {name: _fields(part) for name, part in each["inputs"].items()}} for each in value]
    return value[:20] if key == "options" else value


if __name__ == "__main__":
    main()
