"""What one worker is believed to hold: the models of the graphs it ran last, and their nodes' results.

ComfyUI's classic cache keeps what the last graph used; other caches, and cards with room, keep more. How far back a
worker remembers is learned: the graphs it ran lie on a stack, each run tells (in `execution_cached`) which of its
loaders were still held and which were not although they lie there, and the depth follows. Memory pressure shows as a
loader that is gone from where it should be; a `/free`, a restart or somebody else's prompt empties the stack.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

_STACK: Final = 12  #: graphs that are remembered

Files = frozenset[str]  #: names of model files


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The last graphs of a worker, newest first, of which the first `depth` are believed to be held."""

    depth: int = 1
    models: tuple[Files, ...] = ()  #: distinct sets of model files
    results: tuple[frozenset[int], ...] = ()  #: keys of the nodes that ran, for each of `models`

    @cached_property
    def files(self) -> Files:
        """The model files it holds."""
        return self.models[0] if self.models and self.depth == 1 else Files().union(*self.models[: self.depth])

    @cached_property
    def keys(self) -> frozenset[int]:
        """The keys of the results it holds."""
        held = self.results[: self.depth]
        return held[0] if len(held) == 1 else frozenset[int]().union(*held)

    def after(self, models: Files, keys: frozenset[int]) -> Memory:
        """The memory once a graph with these models and results has run."""
        if self.models and self.models[0] == models:
            return Memory(depth=self.depth, models=self.models, results=(keys, *self.results[1:]))
        others = [(old, results) for old, results in zip(self.models, self.results, strict=True) if old != models][
            : _STACK - 1
        ]
        return Memory(
            depth=self.depth,
            models=(models, *(old for old, _ in others)),
            results=(keys, *(results for _, results in others)),
        )

    def emptied(self) -> Memory:
        """Nothing is held any more; how far back it remembers stays known."""
        return Memory(depth=self.depth)

    def told(self, loaders: Mapping[int, bool]) -> Memory:
        """With the depth that a run showed: for the key of each loader of its graph, whether it was still held.

        `self` is the memory before that run.
        """
        kept = [place for key, cached in loaders.items() if cached and (place := self._place(key)) is not None]
        lost = [place for key, cached in loaders.items() if not cached and (place := self._place(key)) is not None]
        depth = self.depth
        if lost:
            depth = min(depth, *lost)
        if kept:
            depth = max(depth, *(place + 1 for place in kept))
        return self if depth == self.depth else Memory(depth=depth, models=self.models, results=self.results)

    def _place(self, key: int) -> int | None:
        return next((place for place, keys in enumerate(self.results) if key in keys), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a finished run tells: its nodes' keys with the model files that each names, and which were cached."""

    keys: tuple[int, ...]
    files: Mapping[int, Files] = field(default_factory=dict[int, Files])  #: by the place of a loader among the keys
    cached: Collection[int] = ()  #: places of the nodes that were answered from the cache

    @property
    def missing(self) -> Files:
        """The model files that had to be loaded."""
        return Files().union(*(files for place, files in self.files.items() if place not in self.cached))

    @property
    def loaders(self) -> Mapping[int, bool]:
        """For the key of each loader, whether it was held."""
        return {self.keys[place]: place in self.cached for place in self.files if place < len(self.keys)}
