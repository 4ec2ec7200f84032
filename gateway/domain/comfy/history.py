"""What `GET /history/{prompt_id}` says about a run: the verdict, its outputs, its times.

History is the truth about a run (decision 2 of the design): an entry exists only once the run has ended. Frames tell
the same, if none of them was missed (`transcript`). Two facts history does not tell: a node blocked with a message
sends `execution_error` although history calls the run a success, and what POST answered about outputs that were
dropped.
"""

from __future__ import annotations

import mimetypes
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from gateway.domain import model
from gateway.domain.comfy import frames

# Parts of messages after which a CUDA context is beyond repair: every later job on that process fails, too.
_CUDA_FAULTS: Final = (
    "illegal memory access",
    "device-side assert",
    "unspecified launch failure",
    "misaligned address",
    "an illegal instruction was encountered",
    "CUDA error: unknown error",
    "ECC error",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_NOT_INITIALIZED",
)


class Verdict(StrEnum):
    """How a run ended, by its history entry."""

    SUCCESS = "success"
    ERROR = "error"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """A file a node lists, to be fetched from `/view`."""

    node: str
    key: str  #: the key it was listed under: `images`, `gifs`, `audio`, `3d` …
    filename: str
    subfolder: str
    folder: str  #: ComfyUI's `type`: output, temp or input

    @property
    def path(self) -> str:
        """Subfolder and name in one."""
        return f"{self.subfolder}/{self.filename}" if self.subfolder else self.filename


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputText:
    """Text a node shows instead of a file."""

    node: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One run that has ended. Times are seconds by the worker's clock, None where it told none."""

    verdict: Verdict
    error: Mapping[str, Any] | None
    outputs: Mapping[str, Mapping[str, Any]]
    cached: tuple[str, ...]
    started_at: float | None
    ended_at: float | None

    @property
    def seconds(self) -> float | None:
        """How long it executed, by the worker's clock."""
        if self.started_at is None or self.ended_at is None:
            return None
        return max(0.0, self.ended_at - self.started_at)


def parse_entry(answer: object, prompt_id: str) -> HistoryEntry | None:
    """The entry of `prompt_id` in an answer to `GET /history/{prompt_id}`; None when it has not ended (or is unknown:
    the answer is `{}` for both)."""
    entry = _object(_object(answer).get(prompt_id))
    if not entry:
        return None
    status = _object(entry.get("status"))
    messages = dict(_messages(status.get("messages")))
    error = messages.get("execution_error")
    if "execution_interrupted" in messages:
        verdict = Verdict.INTERRUPTED
    elif status.get("status_str") == "success":
        verdict = Verdict.SUCCESS
    else:
        verdict = Verdict.ERROR
    ends = ("execution_success", "execution_error", "execution_interrupted")
    return HistoryEntry(
        verdict=verdict,
        error=error,
        outputs={str(node): _object(output) for node, output in _object(entry.get("outputs")).items()},
        cached=tuple(str(node) for node in messages.get("execution_cached", {}).get("nodes") or ()),
        started_at=frames.seconds_of(messages.get("execution_start", {})),
        ended_at=next((frames.seconds_of(messages[end]) for end in ends if end in messages), None),
    )


def _messages(messages: object) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(messages, list):
        for message in messages:
            if isinstance(message, list) and len(message) == 2 and isinstance(message[1], dict):
                yield str(message[0]), message[1]


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def items_of(node: str, output: Mapping[str, Any]) -> tuple[OutputFile | OutputText, ...]:
    """What one node's output lists, whatever key it is listed under, in the order given.

    `images`, `gifs`, `video`, `audio`, `3d`, `files`, `latents` … hold objects with `filename`; `text` holds strings;
    `result` of the 3D previews holds paths; flags such as `animated: [true]` are not outputs.
    """
    items: list[OutputFile | OutputText] = []
    for key, values in output.items():
        for value in values if isinstance(values, list | tuple) else (values,):
            item = _item(node, key, value)
            if item is not None:
                items.append(item)
    return tuple(items)


def _item(node: str, key: str, value: object) -> OutputFile | OutputText | None:
    if isinstance(value, dict):
        filename = value.get("filename")
        if not isinstance(filename, str) or not filename:
            return None
        return OutputFile(
            node=node,
            key=key,
            filename=filename,
            subfolder=str(value.get("subfolder") or ""),
            folder=str(value.get("type") or "output"),
        )
    if isinstance(value, str) and key in {"text", "string", "texts"}:
        return OutputText(node=node, text=value)
    if isinstance(value, str) and key == "result" and _suffix(value) in _MESHES:
        folder, name = posixpath.split(value)
        return OutputFile(node=node, key=key, filename=name, subfolder=folder, folder="output")
    return None


_MESHES: Final = frozenset({".glb", ".gltf", ".obj", ".fbx", ".stl", ".ply", ".usdz", ".splat", ".ksplat", ".spz"})
_CONTENT_TYPES: Final[Mapping[str, str]] = {
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".jxl": "image/jxl",
    ".exr": "image/x-exr",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
    ".flac": "audio/flac",
    ".opus": "audio/ogg",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".obj": "model/obj",
    ".stl": "model/stl",
    ".latent": "application/octet-stream",
    ".safetensors": "application/octet-stream",
}


def _suffix(path: str) -> str:
    return posixpath.splitext(path)[1].lower()


def content_type_of(filename: str) -> str:
    """The media type of a file name, by its extension; `application/octet-stream` when it tells nothing."""
    suffix = _suffix(filename)
    return _CONTENT_TYPES.get(suffix) or mimetypes.types_map.get(suffix) or "application/octet-stream"


def type_of(content_type: str, filename: str) -> model.OutputType:
    """The contract's kind of an output with this media type and name."""
    if filename.lower().endswith(".latent"):
        return model.OutputType.LATENT
    family = content_type.partition("/")[0]
    if family in {"image", "video", "audio", "text"}:
        return model.OutputType(family)
    return model.OutputType.FILE


def job_error(data: Mapping[str, Any]) -> model.JobError:
    """An `execution_error` as the contract's JobError. The worker's tensors and absolute paths stay out of it."""
    kind = str(data.get("exception_type") or "Error")
    message = str(data.get("exception_message") or kind).strip()
    node, class_type = data.get("node_id"), data.get("node_type")
    traceback = data.get("traceback")
    place = f"Node {node} ({class_type}): " if node is not None else ""
    if is_out_of_memory(kind, message):
        code = "out_of_memory"
    elif is_cuda_fault(message):
        code = "cuda_fault"
    else:
        code = "node_execution_error"
    return model.JobError(
        code=code,
        message=f"{place}{message}",
        node_id=None if node is None else str(node),
        class_type=None if class_type is None else str(class_type),
        traceback="".join(str(line) for line in traceback) if isinstance(traceback, Sequence) else None,
        details={"exception_type": kind},
    )


def is_out_of_memory(exception_type: str, message: str) -> bool:
    """Whether an exception means that the card's (or the host's) memory was too small."""
    return (
        "OutOfMemory" in exception_type
        or exception_type == "MemoryError"
        or "out of memory" in message.lower()
        or message.startswith("Allocation on device")
    )


def is_cuda_fault(message: str) -> bool:
    """Whether a message means that the process' CUDA context is lost, so that only a restart helps."""
    return any(fault.lower() in message.lower() for fault in _CUDA_FAULTS)
