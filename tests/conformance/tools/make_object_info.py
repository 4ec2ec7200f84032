"""Make `gateway/simulator/data/object_info-*.json.gz` from recorded `/object_info` answers of real servers.

    python tests/conformance/tools/make_object_info.py /work/shared

Kept are the stock classes whose behaviour the simulator has, and those that only pass on models, conditioning and
the like (which it simulates as a whole). Partner (API) classes are left out.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import orjson

from gateway.simulator.nodes import registry

DATA = Path(__file__).parents[3] / "gateway" / "simulator" / "data"


def entry(
    name: str, required: dict[str, Any], optional: dict[str, Any] | None = None, *, output: list[str],
    is_output: bool = False, category: str, hidden: dict[str, Any] | None = None, module: str, description: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Write an entry of `/object_info` for a class of ours."""
    sections = {"required": required, "optional": optional, "hidden": hidden}
    filled = {key: value for key, value in sections.items() if value}
    filled.setdefault("required", {})
    return {
        "input": filled,
        "input_order": {key: list(value) for key, value in filled.items()},
        "is_input_list": False,
        "output": output,
        "output_is_list": [False] * len(output),
        "output_name": output,
        "name": name,
        "display_name": name,
        "description": description,
        "python_module": module,
        "category": category,
        "output_node": is_output,
    }


def wiretest(name: str, required: dict[str, Any], *, output: bool = True, tagged: bool = False) -> dict[str, Any]:
    """Write an entry for one of the recordings' own test nodes."""
    optional = {"tag": ["STRING", {"default": ""}]} if tagged else None
    return entry(
        name, required, optional, output=["IMAGE"] if output else [], is_output=not output, category="wiretest",
        module="custom_nodes.wiretest",
    )  # fmt: skip


def extra() -> dict[str, Any]:
    """Return the classes that no stock server has, by pack."""
    image = {"image": ["IMAGE"]}
    seconds = {"seconds": ["FLOAT", {"default": 1.0, "min": 0, "max": 600}]}
    steps = {"steps": ["INT", {"default": 10, "min": 1, "max": 1000}]}
    packs: dict[str, list[dict[str, Any]]] = {
        "simulator": [
            entry(
                "SimulatedWork",
                {"seconds": ["FLOAT", {"default": 0.1, "min": 0.0, "max": 3600.0, "step": 0.001}]},
                {
                    "width": ["INT", {"default": 8, "min": 1, "max": 16384}],
                    "height": ["INT", {"default": 8, "min": 1, "max": 16384}],
                    "steps": ["INT", {"default": 1, "min": 1, "max": 10000}],
                    "seed": ["INT", {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF}],
                },
                output=["IMAGE"],
                category="simulator",
                module="simulator",
                description="Holds the simulated card for some seconds; for benchmarks and tests.",
            )
        ],
        "wiretest": [
            wiretest("WTSleep", {**image, **seconds, **steps}, tagged=True),
            wiretest("WTBlock", {**image, **seconds}, tagged=True),
            wiretest("WTBlockOut", {**image, **seconds}, tagged=True, output=False),
            wiretest("WTAsync", {**image, **seconds}, tagged=True),
            wiretest("WTRaise", {**image, "kind": [["runtime", "oom", "keyerror", "system_exit", "matmul"]]}),
            wiretest("WTAlwaysRun", image),
            wiretest("WTText", {"text": ["STRING", {"default": "hi"}]}, output=False),
            wiretest("WTProgressText", {**image, "text": ["STRING", {"default": "hello"}]}),
            wiretest("WTExpand", image),
            wiretest("WTBlocker", {**image, "message": ["STRING", {"default": ""}]}),
            wiretest("WTValidate", {**image, "name": ["STRING", {"default": "ok"}]}),
        ],
        "ipadapter": ipadapter(),
    }  # fmt: skip
    return {pack: {item["name"]: item for item in entries} for pack, entries in packs.items()}


def ipadapter() -> list[dict[str, Any]]:
    """Return the main classes of the IP-Adapter pack, as its users know them (not recorded)."""
    module = "custom_nodes.comfyui_ipadapter_plus"
    weight = ["FLOAT", {"default": 1.0, "min": -1, "max": 3, "step": 0.05}]
    start = ["FLOAT", {"default": 0.0, "min": 0.0, "max": 1.0, "step": 0.001}]
    end = ["FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.001}]
    presets = [
        "LIGHT - SD1.5 only (low strength)", "STANDARD (medium strength)", "VIT-G (medium strength)",
        "PLUS (high strength)", "PLUS FACE (portraits)", "FULL FACE - SD1.5 only (portraits stronger)",
    ]  # fmt: skip
    kinds = ["standard", "prompt is more important", "style transfer"]
    linear = [
        "linear", "ease in", "ease out", "ease in-out", "reverse in-out", "weak input", "weak output", "weak middle",
        "strong middle", "style transfer", "composition",
    ]  # fmt: skip
    return [
        entry(
            "IPAdapterModelLoader", {"ipadapter_file": [[]]}, output=["IPADAPTER"], category="ipadapter/loaders",
            module=module,
        ),
        entry(
            "IPAdapterUnifiedLoader", {"model": ["MODEL"], "preset": [presets]}, {"ipadapter": ["IPADAPTER"]},
            output=["MODEL", "IPADAPTER"], category="ipadapter", module=module,
        ),
        entry(
            "IPAdapter",
            {
                "model": ["MODEL"], "ipadapter": ["IPADAPTER"], "image": ["IMAGE"], "weight": weight,
                "start_at": start, "end_at": end, "weight_type": [kinds],
            },
            {"attn_mask": ["MASK"]}, output=["MODEL"], category="ipadapter", module=module,
        ),
        entry(
            "IPAdapterAdvanced",
            {
                "model": ["MODEL"], "ipadapter": ["IPADAPTER"], "image": ["IMAGE"], "weight": weight,
                "weight_type": [linear], "combine_embeds": [["concat", "add", "subtract", "average", "norm average"]],
                "start_at": start, "end_at": end,
                "embeds_scaling": [["V only", "K+V", "K+V w/ C penalty", "K+mean(V) w/ C penalty"]],
            },
            {"image_negative": ["IMAGE"], "attn_mask": ["MASK"], "clip_vision": ["CLIP_VISION"]},
            output=["MODEL"], category="ipadapter", module=module,
        ),
    ]  # fmt: skip


def write(name: str, value: Any) -> None:
    """Write gzipped JSON, the same bytes each time."""
    data = gzip.compress(orjson.dumps(value, option=orjson.OPT_SORT_KEYS if name.endswith("x") else None), 9, mtime=0)
    (DATA / name).write_bytes(data)
    sys.stdout.write(f"{name}: {len(value)} entries, {len(data)} bytes\n")


def main(shared: Path) -> None:
    """Read the recordings and write the three files."""
    known = registry.implemented()
    sources = {
        "object_info-0.33.json.gz": shared / "official-templates" / "object_info.json.gz",
        "object_info-0.3.64.json.gz": shared / "comfyui-wire" / "object_info.json.gz",
    }
    for name, source in sources.items():
        entries = orjson.loads(gzip.decompress(source.read_bytes()))
        write(
            name,
            {
                key: value
                for key, value in entries.items()
                if not key.startswith("WT") and (key in known or registry.is_opaque(value))
            },
        )
    write("object_info-extra.json.gz", extra())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
