"""What ComfyUI's HTTP routes answer, as data: `/prompt`, `/queue`, `/system_stats`.

History has a module of its own. Parsing is lenient: keys that newer versions add are ignored, keys that are missing
leave None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.domain import errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A 200 answer to `POST /prompt`. `node_errors` names outputs that were dropped because they are wrong."""

    number: float
    node_errors: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSnapshot:
    """Prompt ids a worker has, from `GET /queue`."""

    running: tuple[str, ...]
    pending: tuple[str, ...]

    def __contains__(self, prompt_id: object) -> bool:
        return prompt_id in self.running or prompt_id in self.pending

    def __len__(self) -> int:
        return len(self.running) + len(self.pending)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """What `GET /system_stats` tells, sizes in bytes."""

    comfyui_version: str | None = None
    python_version: str | None = None
    pytorch_version: str | None = None
    device: str | None = None
    vram_total: int | None = None
    vram_free: int | None = None
    ram_total: int | None = None
    ram_free: int | None = None
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class LogLine:
    """What ComfyUI printed, and when by its own clock."""

    at: str
    text: str


def parse_accepted(answer: object) -> Accepted:
    """A 200 answer to `POST /prompt`; WorkerFault when it is not one."""
    if not isinstance(answer, dict) or "prompt_id" not in answer:
        raise errors.WorkerFault("the worker answered POST /prompt with something that is not ComfyUI's")
    node_errors = answer.get("node_errors")
    number = answer.get("number")
    return Accepted(
        number=float(number) if isinstance(number, int | float) else 0.0,
        node_errors=node_errors if isinstance(node_errors, dict) else {},
    )


def parse_queue(answer: object) -> QueueSnapshot:
    """An answer to `GET /queue`; WorkerFault when it is not one."""
    if not isinstance(answer, dict):
        raise errors.WorkerFault("the worker answered GET /queue with something that is not ComfyUI's")
    return QueueSnapshot(running=_ids(answer.get("queue_running")), pending=_ids(answer.get("queue_pending")))


def _ids(entries: object) -> tuple[str, ...]:
    if not isinstance(entries, list):
        return ()
    return tuple(str(entry[1]) for entry in entries if isinstance(entry, list) and len(entry) > 1)


def parse_system_stats(answer: object) -> WorkerFacts:
    """An answer to `GET /system_stats`; WorkerFault when it is not one."""
    if not isinstance(answer, dict) or not isinstance(answer.get("system"), dict):
        raise errors.WorkerFault("GET /system_stats did not answer as ComfyUI does; is this a ComfyUI?")
    system: dict[str, Any] = answer["system"]
    devices = answer.get("devices")
    device = devices[0] if isinstance(devices, list) and devices and isinstance(devices[0], dict) else {}
    return WorkerFacts(
        comfyui_version=_text(system.get("comfyui_version")),
        python_version=_text(system.get("python_version")),
        pytorch_version=_text(system.get("pytorch_version")),
        device=_text(device.get("name")),
        vram_total=_bytes(device.get("vram_total")),
        vram_free=_bytes(device.get("vram_free")),
        ram_total=_bytes(system.get("ram_total")),
        ram_free=_bytes(system.get("ram_free")),
        simulated=system.get("simulated") is True,
    )


def parse_log(answer: object) -> tuple[LogLine, ...]:
    """The lines of an answer to `GET /internal/logs/raw`; none when it is not one."""
    entries = answer.get("entries") if isinstance(answer, dict) else None
    if not isinstance(entries, list):
        return ()
    return tuple(
        LogLine(at=str(entry.get("t")), text=entry["m"])
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("m"), str)
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _bytes(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def refusal(body: Mapping[str, Any]) -> str:
    """ComfyUI's error body of a 400 answer to `POST /prompt` as one sentence, with nodes and fields."""
    error = body.get("error")
    head = str(error.get("message") or error.get("type")) if isinstance(error, dict) else str(error or "refused")
    details = [f"node {fault.node} ({fault.class_type}): {fault.message}" for fault in node_faults(body)]
    return f"{head}: {'; '.join(details)}" if details else head


def node_faults(body: Mapping[str, Any]) -> tuple[errors.Fault, ...]:
    """The `node_errors` of a POST answer; reasons are ComfyUI's words."""
    node_errors = body.get("node_errors")
    if not isinstance(node_errors, dict):
        return ()
    found: list[errors.Fault] = []
    for node, entry in node_errors.items():
        class_type = entry.get("class_type") if isinstance(entry, dict) else None
        for fault in (entry.get("errors") or []) if isinstance(entry, dict) else []:
            if isinstance(fault, dict):
                text = (
                    f"{fault.get('message')} ({fault.get('details')})" if fault.get("details") else fault.get("message")
                )
                found.append(
                    errors.Fault(
                        reason=str(fault.get("type")), message=str(text), node=str(node), class_type=_text(class_type)
                    )
                )
    return tuple(found)
