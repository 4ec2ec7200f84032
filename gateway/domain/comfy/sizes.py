"""How much a graph makes at once, as far as its own numbers tell: what its memory depends on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from gateway.domain.comfy import graph as graphs

_COUNTS: Final = ("batch_size", "length", "num_frames", "frames", "amount")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What one node makes at once."""

    node: str
    class_type: str
    width: int
    height: int
    count: int = 1  #: pictures or frames

    @property
    def pixels(self) -> int:
        """Of all of them."""
        return self.width * self.height * self.count

    def __str__(self) -> str:
        return f"{self.width}x{self.height}" + (f", {self.count} at once" if self.count > 1 else "")


def sizes(graph: graphs.Graph) -> Iterator[Size]:
    """The nodes whose own inputs say how large their result is."""
    for node_id, node in graph.items():
        inputs = node["inputs"]
        width, height = _whole(inputs.get("width")), _whole(inputs.get("height"))
        if width and height:
            count = 1
            for name in _COUNTS:
                count *= _whole(inputs.get(name)) or 1
            yield Size(node=node_id, class_type=node["class_type"], width=width, height=height, count=count)


def largest(graph: graphs.Graph) -> Size | None:
    """The largest of them; None when the graph does not say."""
    return max(sizes(graph), key=lambda size: size.pixels, default=None)


def pixels(graph: graphs.Graph) -> int:
    """Pixels that the graph makes at once, at most; 0 when it does not say."""
    found = largest(graph)
    return min(found.pixels, 2**53) if found else 0


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else 0
