"""What a node's function gets and gives.

A node is a function of `(context, **inputs)` that returns a tuple of outputs, or an `Outcome` when it shows
something. An `async` one takes time or reports progress; a plain one may be run in a thread when it is heavy.
Images are float32 arrays (batch, height, width, channel) from 0 to 1, masks (batch, height, width).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gateway.simulator.files import Files
from gateway.simulator.options import Card, Options

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outputs by slot, and what the client is shown."""

    outputs: tuple[Any, ...]
    ui: dict[str, list[Any]] | None = None


@dataclass(frozen=True, slots=True)
class Blocker:
    """An output that stops all that depends on it; with a message the first one to meet it reports it."""

    message: str | None = None


@dataclass(frozen=True, slots=True)
class Expansion:
    """Outputs that are links into a small graph that runs in the node's place."""

    graph: dict[str, Any]
    outputs: tuple[Any, ...]


class NodeFailure(Exception):
    """A failure that names its own exception type, for those whose real type is not at hand."""

    def __init__(self, message: str, *, kind: str = "RuntimeError", advice: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.advice = advice


class ThreadDeath(Exception):
    """What ends the execution thread of a real server: it answers HTTP and never runs a job again."""


class Interrupted(Exception):
    """The job was interrupted."""


def out_of_memory(card: Card) -> NodeFailure:
    """Return the failure that a full card gives."""
    return NodeFailure(
        f"CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of {card.vram_gb:.2f} GiB "
        "of which 512.00 MiB is free.",
        kind="torch.OutOfMemoryError",
        advice=(
            "This error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before you "
            "might have accidentally set the batch_size to a large number."
        ),
    )


class Progress(Protocol):
    """How a running node reports."""

    def step(self, value: int, total: int, preview: Callable[[], Array] | None = None) -> None:
        """Report a step; the preview is drawn only when somebody gets it."""
        ...

    def text(self, text: str) -> None:
        """Show a line of text at the node."""
        ...

    def check(self) -> None:
        """Raise `Interrupted` when the job was interrupted."""
        ...


@dataclass(slots=True, kw_only=True)
class Context:
    """What a node may use beside its inputs."""

    node_id: str
    class_type: str
    options: Options
    card: Card
    files: Files
    progress: Progress
    prompt: dict[str, Any]
    extra_pnginfo: Any
    sleep: Callable[[float], Awaitable[None]]
    #: Model files that this worker holds, with their size in GB.
    resident: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The behaviour of a class."""

    run: Callable[..., Any]
    #: Runs beside others, as ComfyUI's `async` nodes do.
    asynchronous: bool = False
    #: Whether the same inputs may give something new: an empty string means always.
    changed: Callable[[Files, dict[str, Any]], str] | None = None
    #: Which of its lazy inputs it needs, given the others (each a list of values).
    lazy: Callable[[dict[str, list[Any]]], list[str]] | None = None


Nodes = Mapping[str, Node]
