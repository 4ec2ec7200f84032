"""What is made equal before a recording and a live server are compared.

Ids that a server makes, the running number, times, file counters, random temp names, directories, tracebacks,
tensors as text, the order of what comes from Python sets, and how many progress steps got through.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_COUNTER = re.compile(r"_\d{5}_")
_TEMP = re.compile(r"ComfyUI_temp_[a-z0-9]{5,6}")
_DIRECTORY = re.compile(r"(<[A-Z]+(:\w+)?>|(/[\w.<>:-]+)+)(?=/(output|input|temp)\b)")
_TIMES = ("timestamp", "create_time", "execution_start_time", "execution_end_time")
_UNORDERED = ("executed", "current_outputs", "dependent_outputs", "cycle_nodes")
#: Facts of the machine or of the install; only that they are there is compared.
_DEVICE_FACTS = ("devices", "system", "python_version")


@dataclass(slots=True)
class Names:
    """What the live server calls the things of the recording."""

    ids: dict[str, str] = field(default_factory=dict[str, str])
    numbers: dict[float, float] = field(default_factory=dict[float, float])
    files: dict[str, str] = field(default_factory=dict[str, str])

    def pair(self, recorded: Any, live: Any) -> None:
        """Learn from one answer to POST /prompt and its live counterpart."""
        if isinstance(recorded, dict) and isinstance(live, dict) and "prompt_id" in recorded and "prompt_id" in live:
            self.ids[recorded["prompt_id"]] = live["prompt_id"]
            if isinstance(recorded.get("number"), int) and isinstance(live.get("number"), int):
                self.numbers[recorded["number"]] = live["number"]

    def pair_files(self, recorded: Any, live: Any) -> None:
        """Learn the names of output files from two lists of outputs."""
        if isinstance(recorded, dict) and isinstance(live, dict):
            if isinstance(recorded.get("filename"), str) and isinstance(live.get("filename"), str):
                self.files[recorded["filename"]] = live["filename"]
            same_keys = recorded.keys() == live.keys()
            others = [live[key] for key in recorded] if same_keys else list(live.values())
            for left, right in zip(recorded.values(), others, strict=False):
                self.pair_files(left, right)
        elif isinstance(recorded, list) and isinstance(live, list):
            for left, right in zip(recorded, live, strict=False):
                self.pair_files(left, right)

    def query(self, query: Mapping[str, str]) -> dict[str, str]:
        """Rename the file in a query."""
        return {
            key: value.replace(old, new) if key == "filename" else value
            for key, value in query.items()
            for old, new in [next(((old, new) for old, new in self.files.items() if old in value), ("", ""))]
        }

    def text(self, value: str) -> str:
        """Rename the ids in a text."""
        for recorded, live in self.ids.items():
            if recorded:
                value = value.replace(recorded, live)
        return value

    def number(self, value: Any) -> Any:
        """Rename a running number."""
        return self.numbers.get(value, value) if isinstance(value, int) else value


def recorded(value: Any, names: Names) -> Any:
    """Normalise a recorded answer, in the live server's names."""
    return _normal(value, names, None)


def live(value: Any) -> Any:
    """Normalise a live answer."""
    return _normal(value, Names(), None)


def _normal(value: Any, names: Names, key: str | None) -> Any:
    if key in _TIMES and isinstance(value, int | float):
        return "<time>"
    if key in _DEVICE_FACTS:
        return "<facts>"
    if key == "traceback":
        return "<traceback>" if value else []
    if key in ("number", "priority"):
        return names.number(value)
    if key == "current_inputs" and isinstance(value, dict):
        return dict.fromkeys(value, "<inputs>")
    if isinstance(value, dict):
        return {_text(str(name), names): _normal(item, names, name) for name, item in value.items()}
    if isinstance(value, list):
        return _list(value, names, key)
    return _text(value, names) if isinstance(value, str) else value


def _list(value: list[Any], names: Names, key: str | None) -> list[Any]:
    if len(value) == 5 and isinstance(value[1], str) and isinstance(value[2], dict) and isinstance(value[4], list):
        number, prompt_id, prompt, extra_data, outputs = value
        rest = [_normal(item, names, None) for item in (prompt_id, prompt, extra_data)]
        return [names.number(number), *rest, sorted(outputs)]
    items = [_normal(item, names, None) for item in value]
    if key in _UNORDERED:
        return sorted(items)
    if key == "errors":
        return sorted(items, key=lambda item: (item["type"], item["details"]))
    return items


def _text(value: str, names: Names) -> str:
    value = names.text(value)
    if value.startswith("tensor(") or value == "<tensor>" or len(value) > 400:
        return "<long>"
    if value.endswith("<cut>"):
        return "<long>"
    if "Saving image outside the output folder" in value:
        return "<outside>"
    value = _COUNTER.sub("_#####_", value)
    value = _TEMP.sub("ComfyUI_temp_#####", value)
    return _DIRECTORY.sub("<dir>", value)


@dataclass(frozen=True, slots=True)
class Told:
    """What one socket was told: the first frame, jobs' frames in order, how often the status changed, the rest."""

    greeting: Any
    jobs: Mapping[str, list[Any]]
    statuses: int
    last_status: Any
    other: list[Any]


def told(frames: list[dict[str, Any]], names: Names) -> Told:
    """Sort a socket's frames: what two threads of a server send has no fixed order between them."""
    greeting: Any = None
    jobs: dict[str, list[Any]] = {}
    statuses: list[Any] = []
    other: list[Any] = []
    current: str | None = None
    for frame in frames:
        if frame["kind"] == "binary":
            kind = {"binary": frame["event_type"], "text": frame.get("text"), "node": frame.get("node_id")}
            _append(jobs, current or "", kind)
            continue
        data = frame["json"].get("data", {})
        if frame["json"]["type"] == "status":
            if "sid" in data:
                greeting = "<greeting>"
            else:
                statuses.append(data["status"]["exec_info"]["queue_remaining"])
            continue
        prompt_id = data.get("prompt_id") if isinstance(data, dict) else None
        if prompt_id is None:
            other.append(_normal(frame["json"], names, None))
            continue
        current = names.text(prompt_id)
        _append(jobs, current, _job_frame(frame["json"], names))
    return Told(greeting, jobs, len(statuses), statuses[-1] if statuses else None, other)


def _append(jobs: dict[str, list[Any]], prompt_id: str, frame: Any) -> None:
    """Add a frame, unless it only repeats progress or a preview of the same node."""
    frames = jobs.setdefault(prompt_id, [])
    if frame is not None and frame not in frames[-3:]:
        frames.append(frame)


def _job_frame(frame: dict[str, Any], names: Names) -> Any:
    data = frame["data"]
    if frame["type"] == "progress":
        return {"progress": data["node"], "max": data["max"], "keys": sorted(data)}
    if frame["type"] != "progress_state" or not isinstance(data["nodes"], dict):
        return _normal(frame, names, None)
    nodes = {name: node for name, node in data["nodes"].items() if isinstance(node, dict)}
    return {
        "nodes": [
            (
                name,
                node["state"],
                node["max"],
                "<some>" if node["state"] == "running" and node["value"] else node["value"],
                node["display_node_id"],
                node["parent_node_id"],
                node["real_node_id"],
            )
            for name, node in nodes.items()
        ],
        "keys": sorted({key for node in nodes.values() for key in node}),
    }


def shape(recorded_value: Any, live_value: Any, path: str = "") -> list[str]:
    """List the keys of a recorded object that a live one lacks."""
    if not isinstance(recorded_value, dict):
        return []
    if not isinstance(live_value, dict):
        return [path]
    missing = [f"{path}/{key}" for key in recorded_value if key not in live_value]
    return missing + [
        problem
        for key, item in recorded_value.items()
        if key in live_value
        for problem in shape(item, live_value[key], f"{path}/{key}")
    ]
