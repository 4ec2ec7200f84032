"""The order in which nodes run, and what makes two nodes the same for the cache.

ComfyUI starts at the outputs and stacks what they need; of the nodes that are ready it prefers an output (or an
asynchronous) one, then one that feeds an output directly, then one that does so over one more node, else the
first. The recordings show that order, so it is kept.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from gateway.simulator.catalog import Catalog

Prompt = dict[str, Any]


def is_link(value: Any) -> bool:
    """Whether an input is a link: `[node id, output slot]`."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int | float)
        and not isinstance(value[1], bool)
    )


class Signatures:
    """The cache keys of a prompt's nodes: class, inputs and those of all ancestors; ids do not matter."""

    def __init__(self, prompt: Prompt, changed: Callable[[str, dict[str, Any]], str | None]) -> None:
        self._prompt = prompt
        self._changed = changed
        self._known: dict[str, bytes] = {}

    def all(self) -> dict[str, bytes]:
        """Return every node's key. A node without usable `inputs` raises, as it kills a real server's thread."""
        for node_id in self._prompt:
            self._of(node_id)
        return self._known

    def _of(self, node_id: str) -> bytes:
        waiting = [node_id]
        entered: set[str] = set()
        while waiting:
            current = waiting[-1]
            if current in self._known:
                waiting.pop()
                continue
            needed: list[str] = []
            if current not in entered:
                entered.add(current)
                needed = [name for name in self._sources(current) if name not in self._known and name not in entered]
            if needed:
                waiting += needed
                continue
            self._known[current] = self._digest(current)
            waiting.pop()
        return self._known[node_id]

    def _sources(self, node_id: str) -> list[str]:
        inputs = self._prompt[node_id]["inputs"].values()
        return [value[0] for value in inputs if is_link(value) and value[0] in self._prompt]

    def _digest(self, node_id: str) -> bytes:
        node = self._prompt[node_id]
        inputs: dict[str, Any] = node["inputs"]
        parts: list[Any] = [node["class_type"]]
        change = self._changed(node["class_type"], inputs)
        if change is not None:
            parts.append(change or uuid.uuid4().hex)
        for name in sorted(inputs):
            value = inputs[name]
            if is_link(value):
                source = self._known.get(value[0], b"")
                parts.append([name, "link", source.hex(), value[1]])
            else:
                parts.append([name, value])
        try:
            data = orjson.dumps(parts, option=orjson.OPT_NON_STR_KEYS)
        except TypeError:
            data = repr(parts).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, digest_size=16).digest()


class Order:
    """What is still to run of one prompt."""

    def __init__(
        self, prompt: Prompt, catalog: Catalog, cached: Callable[[str], bool], asynchronous: frozenset[str]
    ) -> None:
        self._prompt = prompt
        self._catalog = catalog
        self._cached = cached
        self._asynchronous = asynchronous
        self._blocked_by: dict[str, set[str]] = {}
        self._blocking: dict[str, list[str]] = {}
        self._external: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._blocked_by)

    def add(self, node_id: str) -> None:
        """Add a node and all that it needs and that is not cached."""
        waiting = [node_id]
        links: list[tuple[str, str]] = []
        while waiting:
            current = waiting.pop()
            if current in self._blocked_by:
                continue
            self._blocked_by[current] = set()
            self._blocking[current] = []
            lazy = self._lazy(current)
            for name, value in self._prompt[current]["inputs"].items():
                if is_link(value) and name not in lazy and not self._cached(value[0]):
                    waiting.append(value[0])
                    links.append((value[0], current))
        for source, target in links:
            if source not in self._blocked_by[target]:
                self._blocked_by[target].add(source)
                self._blocking[source].append(target)

    def next(self) -> str | None:
        """Return the node to run now, or None while all are blocked."""
        ready = [
            node_id for node_id, blockers in self._blocked_by.items() if not blockers and node_id not in self._external
        ]
        if len(ready) < 2:
            return ready[0] if ready else None
        return (
            self._first(ready, self._is_urgent)
            or self._first(ready, lambda item: self._any_output(self._blocking[item]))
            or self._first(
                ready,
                lambda item: any(self._any_output(self._blocking[target]) for target in self._blocking[item]),
            )
            or ready[0]
        )

    def hold(self, node_id: str) -> None:
        """Leave a node out of the choice while it runs by itself."""
        self._external.add(node_id)

    def release(self, node_id: str) -> None:
        """Let a held node be chosen again."""
        self._external.discard(node_id)

    def done(self, node_id: str) -> None:
        """Take a node out; what waited for it may be ready."""
        for target in self._blocking.pop(node_id):
            self._blocked_by[target].discard(node_id)
        del self._blocked_by[node_id]

    def replace(self, node_id: str, prompt: Prompt, sources: list[str]) -> None:
        """Make a node wait for a graph that runs in its place."""
        self._prompt = prompt
        for source in sources:
            self.add(source)
            self._blocked_by[node_id].add(source)
            self._blocking[source].append(node_id)

    def _lazy(self, node_id: str) -> frozenset[str]:
        return self._catalog.classes[self._prompt[node_id]["class_type"]].lazy

    def _is_output(self, node_id: str) -> bool:
        return self._catalog.classes[self._prompt[node_id]["class_type"]].is_output

    def _is_urgent(self, node_id: str) -> bool:
        return self._is_output(node_id) or self._prompt[node_id]["class_type"] in self._asynchronous

    def _any_output(self, node_ids: Iterable[str]) -> bool:
        return any(self._is_output(node_id) for node_id in node_ids)

    @staticmethod
    def _first(ready: list[str], accepts: Callable[[str], bool]) -> str | None:
        return next((node_id for node_id in ready if accepts(node_id)), None)
