"""What the frames of one prompt add up to: progress, early outputs, and hints that it ended.

A `Watch` is fed the frames of its own prompt and answers with the signs worth acting on. It does no I/O. An end is a
hint, after which history is read, unless its transcript tells the whole run.

Progress weighs every node that has to run equally, a sampler's steps being fractions of its node, and never falls:
ComfyUI does not tell beforehand which nodes a cached run skips, so cached nodes count as done when it names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gateway.domain import model
from gateway.domain.comfy import frames, transcript


class EndHint(StrEnum):
    """How sure a frame makes us that history has the entry."""

    WRITTEN = "written"  #: `executing` with node null: history is written
    COMING = "coming"  #: success, error or interruption: history follows within moments


@dataclass(frozen=True, slots=True)
class Started:
    """The worker began to execute the prompt."""


@dataclass(frozen=True, slots=True)
class Moved:
    """There is a new progress snapshot."""

    progress: model.Progress


@dataclass(frozen=True, slots=True)
class Produced:
    """An output node has its result."""

    node: str
    output: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Previewed:
    """There is a preview picture."""

    preview: model.Preview


@dataclass(frozen=True, slots=True)
class Ended:
    """The run seems to have ended."""

    hint: EndHint


Sign = Started | Moved | Produced | Previewed | Ended


@dataclass(slots=True, kw_only=True)
class Watch:
    """The state of one prompt as told by its frames. `classes` maps the graph's node ids to their classes."""

    classes: Mapping[str, str]
    started: bool = False
    cached: frozenset[str] = frozenset()
    error: Mapping[str, Any] | None = None  #: of an `execution_error` frame: history may call the run a success
    transcript: transcript.Transcript = field(default_factory=transcript.Transcript)
    _done: set[str] = field(default_factory=set[str])
    _current: str | None = None
    _step: float = 0.0
    _steps: float = 1.0
    _value: float = 0.0

    def feed(self, frame: frames.Frame) -> tuple[Sign, ...]:
        """Take one frame of this prompt; returns what it means, often nothing."""
        self.transcript.take(frame)
        match frame:
            case frames.ExecutionStart():
                self.started = True
                return (Started(), Moved(self.progress()))
            case frames.ExecutionCached(nodes=nodes):
                self.started = True
                self.cached = frozenset(nodes)
                self._done.update(nodes)
                return (Moved(self.progress()),) if nodes else ()
            case frames.Executing(node=node):
                return (Ended(EndHint.WRITTEN),) if node is None else self._begin(node)
            case frames.ProgressState(nodes=nodes):
                return self._states(nodes)
            case frames.Progress(node=node, value=value, maximum=maximum):
                self._current, self._step, self._steps = node, value, max(maximum, 1.0)
                return (Moved(self.progress()),)
            case frames.Executed(node=node, output=output):
                self._done.add(node)
                return (Produced(node, output),) if output else ()
            case frames.PreviewImage():
                node = frame.node or self._current or ""
                preview = model.Preview(node_id=node, content_type=frame.content_type, data=frame.data)
                return (Previewed(preview),)
            case frames.ExecutionError(data=data):
                self.error = data
                return (Ended(EndHint.COMING),)
            case frames.ExecutionSuccess() | frames.ExecutionInterrupted():
                return (Ended(EndHint.COMING),)
            case frames.QueueStatus() | frames.NodeText() | frames.Unknown():
                return ()

    def _begin(self, node: str) -> tuple[Sign, ...]:
        self.started = True
        self._current, self._step, self._steps = node, 0.0, 1.0
        return (Moved(self.progress()),)

    def _states(self, nodes: Mapping[str, frames.NodeState]) -> tuple[Sign, ...]:
        before = len(self._done)
        self._done.update(node for node, state in nodes.items() if state.finished)
        return (Moved(self.progress()),) if len(self._done) != before else ()

    def progress(self) -> model.Progress:
        """A complete snapshot of how far the prompt is."""
        total = max(len(self.classes), 1)
        done = min(len(self._done & self.classes.keys()), total)
        running = self._current if self._current not in self._done else None
        fraction = min(self._step / self._steps, 1.0) if running is not None else 0.0
        self._value = min(max(self._value, (done + fraction) / total), 1.0)
        class_type = self.classes.get(running.partition(":")[0]) if running else None
        class_type = self.classes.get(running, class_type) if running else None
        stepping = running is not None and self._steps > 1
        return model.Progress(
            value=round(self._value, 4),
            nodes_done=done,
            nodes_total=total,
            current_node=running,
            current_node_class=class_type,
            step=int(self._step) if stepping else None,
            steps=int(self._steps) if stepping else None,
            message=_message(class_type or running, self._step, self._steps) if running else None,
        )


def _message(name: str | None, step: float, steps: float) -> str | None:
    return f"{name} {int(step)}/{int(steps)}" if steps > 1 else name
