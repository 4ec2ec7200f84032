"""What is kept of templates: versions, what was added over the API, and names that point to versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gateway.domain.comfy import graph as graphs
from gateway.domain.templates import model

MAX_MOVES = 200  #: of one alias that are remembered


class Origin(StrEnum):
    """Where a version came from first."""

    FILE = "file"
    API = "api"


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A graph, and what an editor's file told beside it."""

    graph: graphs.Graph
    #: Inputs that titled primitives of the editor fed: these are not in the graph.
    titled: Mapping[model.Target, str] = field(default_factory=dict[model.Target, str])
    #: The worker's classes that counted, with a short name for how it described each.
    shapes: Mapping[str, str] = field(default_factory=dict[str, str])

    def as_dict(self) -> dict[str, Any]:
        """JSON of it."""
        titled = [[target.node, target.input, title] for target, title in self.titled.items()]
        return {"graph": self.graph, "titled": titled, "shapes": dict(self.shapes)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Converted:
        """What `as_dict` wrote."""
        titled = {model.Target(node, field): title for node, field, title in data["titled"]}
        return cls(graph=graphs.Graph(data["graph"]), titled=titled, shapes=data.get("shapes", {}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """All that a template is made of."""

    workflow: Converted
    text: str = ""  #: the sidecar's
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])  #: the default files that it names


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """A version to be kept."""

    name: str
    version: str
    content: Content
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionInfo:
    """A version that is kept, without its content."""

    name: str
    version: str
    origin: Origin
    created_at: float  #: when it was first seen
    current_at: float  #: when it last became the template's newest


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A template that was added over the API: which version it is now."""

    name: str
    version: str
    updated_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What an alias pointed to since a time. `version` None: it was removed."""

    version: str | None
    at: float
    candidate: str | None = None
    share: float = 0.0  #: of the orders that the candidate gets, 0 to 1
    is_rollback: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON of the move."""
        return {
            "version": self.version,
            "at": self.at,
            "candidate": self.candidate,
            "share": self.share,
            "is_rollback": self.is_rollback,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Move:
        """The move that `as_dict` wrote."""
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A name for a version of a template, as in `sdxl@stable`. The last of `moves` is what it is now."""

    template: str
    name: str
    moves: tuple[Move, ...]

    @property
    def now(self) -> Move:
        """What it points to."""
        return self.moves[-1]

    @property
    def is_set(self) -> bool:
        """Whether it points to anything."""
        return self.now.version is not None

    @property
    def before(self) -> Move | None:
        """What a rollback brings back: each takes back one move, and several go further back."""
        stack: list[Move] = []
        for move in self.moves:
            if move.is_rollback:
                del stack[-1:]
                if not stack:  # what it went back to is not remembered any more
                    stack = [move]
            else:
                stack.append(move)
        return stack[-2] if len(stack) > 1 and stack[-2].version is not None else None
