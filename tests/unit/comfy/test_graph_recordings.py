"""Every graph that was ever posted in the recordings, held against what ComfyUI answered to it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info

RECORDINGS = Path("/work/shared/comfyui-wire")

#: What we refuse although ComfyUI's POST takes it, by the reason: it kills a worker, or may, or writes elsewhere.
STRICTER = {"invalid_inputs", "dangling_link", "dependency_cycle", "invalid_filename_prefix"}

#: What ComfyUI refuses and the graph does not show: files that a worker has, nodes' own rules, the rest of the body.
UNSEEN = (
    "LoadImage of a file that does not exist", "custom VALIDATE_INPUTS refuses", "extra_data null",
    "number not a number", "partial_execution_targets", "same id",
)  # fmt: skip

pytestmark = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason=f"needs the recordings of a real ComfyUI in {RECORDINGS}"
)


def posted() -> Iterator[tuple[str, dict[str, Any]]]:
    """Scenario and exchange of each recorded POST /prompt that a living server answered."""
    for file in sorted(RECORDINGS.rglob("*.jsonl")):
        if file.name.startswith("14_"):
            continue  # about ids, which are ours
        for line in file.read_bytes().splitlines():
            entry = orjson.loads(line)
            body = entry.get("request_body")
            is_post = entry.get("method") == "POST" and str(entry.get("path")).endswith("/prompt")
            if is_post and entry.get("status") and isinstance(body, dict) and "prompt" in body:
                yield f"{file.parent.name}/{file.stem}", entry


def verdict(catalog: object_info.NodeCatalog, nodes: Any) -> str | None:
    """Our reason for refusing this graph, or None."""
    try:
        graph = graphs.parse_graph(nodes)
    except errors.InvalidRequest as error:
        return error.faults[0].reason if error.faults else error.code
    faults = catalog.check(graph)
    return faults[0].reason if faults else None


def test_we_refuse_what_comfyui_refuses_and_little_else() -> None:
    info = orjson.loads(gzip.decompress((RECORDINGS / "object_info.json.gz").read_bytes()))
    info["WTBlockOut"] = info["WTBlock"] | {"output_node": True}  # came with the later recordings
    catalog = object_info.NodeCatalog.parse(info)
    count = 0
    for scenario, entry in posted():
        label = str(entry.get("label"))
        reason = verdict(catalog, entry["request_body"]["prompt"])
        place = f"{scenario}: {label}: {entry['status']}, ours: {reason}"
        count += 1
        if entry["status"] == 200:
            assert reason is None or reason in STRICTER, place
        else:
            assert reason is not None or any(word in label for word in UNSEEN), place
    assert count > 400
