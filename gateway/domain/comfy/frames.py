"""ComfyUI's websocket frames as data.

Text frames are `{"type", "data"}`; binary frames begin with a big-endian 32-bit event type: 1 a preview
without ids, 3 text of a node, 4 a preview with JSON metadata (sent to clients that announced
`supports_preview_metadata`). The recordings under tests/fixtures/wire show each. Whatever is not understood
becomes `Unknown`: newer servers add types and keys, and a frame is never more than a hint (decision 2 of the
design).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

_IMAGE_TYPES: Final = {1: "image/jpeg", 2: "image/png"}


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """`status`: how many prompts the server has, the running one included."""

    remaining: int
    sid: str | None = None


@dataclass(frozen=True, slots=True)
class ExecutionStart:
    """`execution_start`; when, in seconds by the worker's clock."""

    prompt_id: str
    at: float | None = None


@dataclass(frozen=True, slots=True)
class ExecutionCached:
    """`execution_cached`: sent on every run; nodes whose results are reused."""

    prompt_id: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Executing:
    """`executing`: a node begins. `node` None with a prompt id is the end, with history already written."""

    prompt_id: str | None
    node: str | None


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node's entry in `progress_state`."""

    value: float
    maximum: float
    finished: bool


@dataclass(frozen=True, slots=True)
class ProgressState:
    """`progress_state`: cumulative, every node that began so far."""

    prompt_id: str
    nodes: Mapping[str, NodeState]


@dataclass(frozen=True, slots=True)
class Progress:
    """`progress`: steps of one node."""

    prompt_id: str
    node: str
    value: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Executed:
    """`executed`: an output node's result, also when it came from the cache."""

    prompt_id: str
    node: str
    output: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExecutionSuccess:
    """`execution_success`: sent *before* history is written; when, in seconds by the worker's clock."""

    prompt_id: str
    at: float | None = None


@dataclass(frozen=True, slots=True)
class ExecutionError:
    """`execution_error`, whole; also sent for a blocked node, whose run history then calls a success."""

    prompt_id: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExecutionInterrupted:
    """`execution_interrupted`."""

    prompt_id: str


@dataclass(frozen=True, slots=True)
class PreviewImage:
    """A binary preview; ids are None in the old form (type 1)."""

    prompt_id: str | None
    node: str | None
    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class NodeText:
    """Binary text of a node (type 3)."""

    node: str
    text: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A frame this gateway has no use for."""

    type: str


Frame = (
    QueueStatus
    | ExecutionStart
    | ExecutionCached
    | Executing
    | ProgressState
    | Progress
    | Executed
    | ExecutionSuccess
    | ExecutionError
    | ExecutionInterrupted
    | PreviewImage
    | NodeText
    | Unknown
)


def decode_text(message: object) -> Frame:
    """The frame of a parsed text message; anything odd is `Unknown`, nothing raises."""
    if not isinstance(message, dict):
        return Unknown("not an object")
    kind, data = message.get("type"), message.get("data")
    decode = _DECODERS.get(kind) if isinstance(kind, str) else None
    if decode is None or not isinstance(data, dict):
        return Unknown(str(kind))
    try:
        return decode(data)
    except (KeyError, TypeError, ValueError, AttributeError):
        return Unknown(str(kind))


def _queue_status(data: dict[str, Any]) -> Frame:
    sid = data.get("sid")
    return QueueStatus(int(data["status"]["exec_info"]["queue_remaining"]), sid if isinstance(sid, str) else None)


def _executing(data: dict[str, Any]) -> Frame:
    node, prompt_id = data["node"], data.get("prompt_id")
    return Executing(None if prompt_id is None else str(prompt_id), None if node is None else str(node))


def _cached(data: dict[str, Any]) -> Frame:
    return ExecutionCached(str(data["prompt_id"]), tuple(str(node) for node in data["nodes"]))


def _progress_state(data: dict[str, Any]) -> Frame:
    nodes = {
        str(node): NodeState(float(entry["value"]), float(entry["max"]), entry["state"] == "finished")
        for node, entry in data["nodes"].items()
    }
    return ProgressState(str(data["prompt_id"]), nodes)


def _progress(data: dict[str, Any]) -> Frame:
    return Progress(str(data["prompt_id"]), str(data["node"]), float(data["value"]), float(data["max"]))


def seconds_of(data: Mapping[str, Any]) -> float | None:
    """A message's `timestamp` in seconds by the worker's clock; None when it has none."""
    stamp = data.get("timestamp")
    return stamp / 1000 if isinstance(stamp, int | float) and not isinstance(stamp, bool) else None


def _executed(data: dict[str, Any]) -> Frame:
    output = data["output"]
    return Executed(str(data["prompt_id"]), str(data["node"]), output if isinstance(output, dict) else {})


_DECODERS: Final[Mapping[str, Callable[[dict[str, Any]], Frame]]] = {
    "status": _queue_status,
    "execution_start": lambda data: ExecutionStart(str(data["prompt_id"]), seconds_of(data)),
    "execution_cached": _cached,
    "executing": _executing,
    "progress_state": _progress_state,
    "progress": _progress,
    "executed": _executed,
    "execution_success": lambda data: ExecutionSuccess(str(data["prompt_id"]), seconds_of(data)),
    "execution_error": lambda data: ExecutionError(str(data["prompt_id"]), data),
    "execution_interrupted": lambda data: ExecutionInterrupted(str(data["prompt_id"])),
}


def decode_binary(message: bytes, parse_json: Callable[[bytes], object]) -> Frame:
    """The frame of a binary message. `parse_json` reads the metadata of type 4 (raising ValueError)."""
    try:
        return _decode_binary(message, parse_json)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError):
        return Unknown("binary")


def _decode_binary(message: bytes, parse_json: Callable[[bytes], object]) -> Frame:
    (kind,) = struct.unpack_from(">I", message)
    if kind == 1:
        (image_type,) = struct.unpack_from(">I", message, 4)
        return PreviewImage(None, None, _IMAGE_TYPES[image_type], message[8:])
    if kind == 3:
        (length,) = struct.unpack_from(">I", message, 4)
        return NodeText(message[8 : 8 + length].decode(), message[8 + length :].decode())
    if kind == 4:
        (length,) = struct.unpack_from(">I", message, 4)
        metadata = parse_json(message[8 : 8 + length])
        if not isinstance(metadata, dict):
            return Unknown("binary 4")
        node = metadata.get("display_node_id") or metadata.get("node_id")
        content_type = str(metadata.get("image_type", "image/jpeg"))
        prompt_id = metadata.get("prompt_id")
        return PreviewImage(
            None if prompt_id is None else str(prompt_id),
            None if node is None else str(node),
            content_type,
            message[8 + length :],
        )
    return Unknown(f"binary {kind}")


def prompt_of(frame: Frame) -> str | None:
    """The prompt a frame belongs to; None for those without an id."""
    match frame:
        case QueueStatus() | NodeText() | Unknown():
            return None
        case _:
            return frame.prompt_id
