"""What the scheduler keeps of a graph: how much work it is, and a key for each node's result.

ComfyUI keeps a node's result under a key made of the node's class, its inputs and everything it depends on; so do we.
Two graphs that begin alike have equal keys there, and a worker that ran the one has that part of the other. Our keys
are 32 bits of a hash: a false match among the few that are compared costs a moment, never a wrong picture.

`work` is a number that a run's time grows with: steps × pixels × pictures × frames, or seconds of sound, whatever of
these the graph says. Only ratios between graphs of the same kind mean anything.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import structure

MOST_NODES: Final = 250  #: keys of a larger graph are not kept; it is placed by its models alone
_PIXELS: Final = 512 * 512  #: of a picture that counts as one
_FACTORS: Final = frozenset({"batch_size", "length", "frames", "num_frames", "video_frames", "seconds", "duration"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """A graph as the scheduler sees it. `keys` are in the order of the graph's nodes."""

    work: float = 1.0
    keys: tuple[int, ...] = ()
    held: frozenset[int] = field(default=frozenset[int](), compare=False)  #: the keys as a set

    @property
    def bucket(self) -> int:
        """Runs of one kind are learned apart for each doubling of their work."""
        return round(math.log2(self.work)) if self.work > 0 else 0

    def pack(self) -> bytes:
        """As it is stored."""
        return struct.pack(f"<d{len(self.keys)}I", self.work, *self.keys)

    @classmethod
    def unpack(cls, data: bytes | None) -> Sketch:
        """What `pack` made; of nothing, a sketch that tells nothing."""
        if not data:
            return UNKNOWN
        work, *keys = struct.unpack(f"<d{len(data) // 4 - 2}I", data)
        return cls(work=work, keys=tuple(keys), held=frozenset(keys))


UNKNOWN: Final = Sketch()


def sketch(graph: graphs.Graph) -> Sketch:
    """The sketch of a graph as it is stored: asset references may stand in it."""
    keys = tuple(_keys(graph).values()) if len(graph) <= MOST_NODES else ()
    return Sketch(work=work(graph), keys=keys, held=frozenset(keys))


def work(graph: graphs.Graph) -> float:
    """How much there is to do: the steps of all samplers, times the largest of each factor that any node names."""
    steps = 0.0
    pixels = 0.0
    factors: dict[str, float] = {}
    for node in graph.values():
        inputs = node["inputs"]
        steps += _number(inputs.get("steps"))
        pixels = max(pixels, _number(inputs.get("width")) * _number(inputs.get("height")))
        for name in _FACTORS.intersection(inputs):
            factors[name] = max(factors.get(name, 0.0), _number(inputs[name]))
    amount = (steps or 1.0) * (pixels / _PIXELS or 1.0)
    for factor in factors.values():
        amount *= factor or 1.0
    return amount if math.isfinite(amount) else 1.0


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if 0 < value < 1e9 else 0.0


def _keys(graph: graphs.Graph) -> dict[str, int]:
    """A key for each node, in the graph's order."""
    found: dict[str, bytes] = {}
    for node_id in graph:
        if node_id not in found:
            _find(graph, node_id, found)
    return {node_id: int.from_bytes(found[node_id], "little") for node_id in graph}


def _find(graph: graphs.Graph, node_id: str, found: dict[str, bytes]) -> None:
    """The digests of a node and of what it depends on. A graph that was checked has no cycles, but may be deep."""
    todo = [node_id]
    while todo:
        current = todo[-1]
        inputs = graph[current]["inputs"]
        waiting = [source for source in structure.linked_nodes(inputs) if source not in found and source in graph]
        if waiting:
            todo += waiting
            continue
        todo.pop()
        if current not in found:
            found[current] = _digest(graph[current], found)


def _digest(node: Mapping[str, Any], found: Mapping[str, bytes]) -> bytes:
    inputs = node["inputs"]
    parts: list[object] = [node["class_type"]]
    for name in sorted(inputs):
        value = inputs[name]
        if isinstance(value, list) and structure.is_link(value):
            value = (found.get(value[0]), value[1])
        parts += (name, value)
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=4).digest()
