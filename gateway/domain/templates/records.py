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
class Content:
    """All that a template is made of; two of equal content are the same version."""

    graph: graphs.Graph
    text: str = ""  #: the sidecar's TOML
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])  #: the default files that it names

    @property
    def version(self) -> str:
        """The digest that names this content."""
        return model.content_version(self.graph, self.text, self.files)


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
    share: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON of the move."""
        return {"version": self.version, "at": self.at, "candidate": self.candidate, "share": self.share}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Move:
        """The move that `as_dict` wrote."""
        return cls(version=data["version"], at=data["at"], candidate=data["candidate"], share=data["share"])


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
    def before(self) -> str | None:
        """The version that a rollback brings back: the latest that it pointed to and does not now."""
        past = (move.version for move in reversed(self.moves[:-1]))
        return next((version for version in past if version not in {None, self.now.version}), None)
