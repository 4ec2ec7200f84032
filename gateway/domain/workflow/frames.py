"""Scopes in use: the canvas once, and a subgraph's definition once for each node that stands for it.

A frame knows where it hangs, and so gives its nodes the ids that the editor gives them: `outer:inner`.
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.domain import errors
from gateway.domain.comfy import structure
from gateway.domain.workflow import document

MAX_DEPTH = 100  #: of subgraphs inside subgraphs
MAX_PATH = 2_000  #: characters of an id `outer:inner:…`
MAX_SIZE = 250_000  #: nodes, links and slots, after every subgraph was put in its place


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One use of a scope. Frames are compared by identity."""

    scope: document.Scope
    path: str = ""  #: `outer:inner:` before the ids of its nodes
    parent: Frame | None = None
    host: document.Node | None = None  #: the node of the parent that it stands behind
    depth: int = 0
    children: dict[str, Frame] = field(default_factory=dict[str, "Frame"])  #: by the host's id

    def id_of(self, node: document.Node) -> str:
        """The node's id in a graph."""
        return self.path + node.id

    def fault(self, node: document.Node, reason: str, message: str, *, field: str | None = None) -> errors.Fault:
        """A fault at a node of this frame. The place is told in words, too."""
        return errors.Fault(
            reason=reason,
            message=f"{self.told(node)}: {message}",
            node=structure.shown_text(self.id_of(node)),
            class_type=structure.shown_text(node.type),
            field=None if field is None else structure.shown_text(field),
        )

    def told(self, node: document.Node) -> str:
        """The node and where it is, for people."""
        title = f" {structure.shown_text(node.title)!r}" if node.title and node.title != node.type else ""
        kind = structure.shown_text(node.type)
        inside = f" in subgraph {structure.shown_text(self.scope.name)!r}" if self.parent is not None else ""
        return f"Node {structure.shown_text(self.id_of(node))} ({kind}{title}){inside}"


def unfold(found: document.Document) -> tuple[Frame, ...]:
    """All frames of a document, the canvas first. `InvalidWorkflow` when a subgraph holds itself, or when it would be
    too many or too deep."""
    if _size(found) > MAX_SIZE:
        raise _too_large()
    root = Frame(scope=found.root)
    frames: list[Frame] = []
    size = 0
    todo = [root]
    while todo:
        frame = todo.pop()
        frames.append(frame)
        size += frame.scope.size
        if size > MAX_SIZE:
            raise _too_large()
        todo.extend(_children(frame, found))
    return tuple(frames)


def _size(found: document.Document) -> int:
    """Nodes, links and slots with every subgraph in its place, without putting it there; 0 where one holds itself."""
    scopes = {None: found.root, **found.subgraphs}
    uses = {
        name: [node.type for node in scope.nodes.values() if node.type in found.subgraphs]
        for name, scope in scopes.items()
    }
    sizes: dict[str | None, int] = {}
    try:
        for name in graphlib.TopologicalSorter(uses).static_order():
            sizes[name] = min(MAX_SIZE + 1, scopes[name].size + sum(sizes[each] for each in uses[name]))
    except graphlib.CycleError:
        return 0
    return sizes[None]


def _too_large() -> errors.InvalidWorkflow:
    message = f"With every subgraph in its place the workflow has more than {MAX_SIZE} nodes, links and slots."
    return errors.InvalidWorkflow(message, faults=[errors.Fault(reason="too_many_nodes", message=message)])


def _children(frame: Frame, found: document.Document) -> Iterator[Frame]:
    for node in frame.scope.nodes.values():
        definition = found.subgraphs.get(node.type)
        if definition is None:
            continue
        if any(definition is above.scope for above in _upwards(frame)):
            raise _refused(frame, node, "cyclic_subgraph", "this subgraph holds itself.")
        if frame.depth >= MAX_DEPTH or len(frame.path) > MAX_PATH:
            raise _refused(frame, node, "nested_too_deeply", f"subgraphs are nested more than {MAX_DEPTH} deep.")
        child = Frame(scope=definition, path=f"{frame.id_of(node)}:", parent=frame, host=node, depth=frame.depth + 1)
        frame.children[node.id] = child
        yield child


def _upwards(frame: Frame | None) -> Iterator[Frame]:
    while frame is not None:
        yield frame
        frame = frame.parent


def _refused(frame: Frame, node: document.Node, reason: str, message: str) -> errors.InvalidWorkflow:
    fault = frame.fault(node, reason, message)
    return errors.InvalidWorkflow(fault.message, faults=[fault])
