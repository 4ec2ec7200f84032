"""A saved workflow becomes the graph that ComfyUI's editor would post.

    document.read      JSON → scopes with nodes and links
    frames.unfold      each subgraph once for every node that stands for it
    promotion.values   what those nodes say of the widgets inside
    widgets.draw       a node's values by name
    tracing.Tracer     what feeds each input

Nothing here recurses, and everything is bounded, so that a hostile file costs little more than reading it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info, structure
from gateway.domain.workflow import definitions, document, frames, promotion, tracing, widgets

_SILENT_MODES = frozenset({document.MUTED, document.BYPASSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What became of a workflow."""

    graph: graphs.Graph
    unknown: tuple[errors.Fault, ...] = ()  #: nodes whose class the catalog does not have, when that was allowed


def convert(workflow: object, info: Mapping[str, Any], *, allow_unknown: bool = False) -> Converted:
    """The API-format graph of a UI-format workflow.

    `workflow` is the JSON value that the editor saved, `info` what a worker answers to `GET /object_info` (raw: the
    parsed `NodeCatalog` does not keep what an editor needs). Raises `InvalidWorkflow` alone, each fault with the id
    that the node has in a graph (`outer:inner` inside subgraphs), its class, its title and subgraph in words, and the
    input. Nodes of classes that `info` lacks are faults (`missing_node_type`) unless `allow_unknown`; then they are
    told in the result, with what the file itself says about their values.
    """
    found = document.read(workflow)
    unfolded = frames.unfold(found)
    return _Conversion(unfolded, info, allow_unknown=allow_unknown).run()


class _Conversion:
    """One file on its way."""

    def __init__(self, unfolded: tuple[frames.Frame, ...], info: Mapping[str, Any], *, allow_unknown: bool) -> None:
        self._frames = unfolded
        self._allow_unknown = allow_unknown
        self._classes = definitions.Classes(info)
        self._drawing = widgets.Drawing(self._classes)
        self._tracer = tracing.Tracer(promotion.Promotion(unfolded, self._drawing).of)
        self._unknown: list[errors.Fault] = []

    def run(self) -> Converted:
        nodes: dict[str, dict[str, Any]] = {}
        silent: set[frames.Frame] = set()
        for frame in self._frames:
            if frame.parent in silent or (frame.host is not None and frame.host.mode in _SILENT_MODES):
                silent.add(frame)
                continue
            for node in frame.scope.nodes.values():
                if self._runs(frame, node):
                    nodes[frame.id_of(node)] = self._node(frame, node)
        if self._unknown and not self._allow_unknown:
            raise self._refused()
        _drop_dead_links(nodes)
        return Converted(graph=graphs.parse_graph(nodes), unknown=tuple(self._unknown))

    def _runs(self, frame: frames.Frame, node: document.Node) -> bool:
        return not (node.mode in _SILENT_MODES or node.id in frame.children or node.type in tracing.VIRTUAL)

    def _node(self, frame: frames.Frame, node: document.Node) -> dict[str, Any]:
        definition = self._classes.get(node.type)
        if definition is None:
            self._miss(frame, node)
        inputs = {name: _wrapped(value) for name, value in self._drawing.of(node).items()}
        for slot in node.inputs:
            match self._tracer.source(frame, node, slot):
                case tracing.Output(node=origin, slot=number):
                    inputs[slot.name] = [origin, number]
                case tracing.Literal(value=value) | tracing.Primitive(value=value):
                    inputs[slot.name] = _wrapped(value)
                case tracing.Nothing():
                    pass
        title = node.title or (definition.title if definition is not None else node.type)
        return {"class_type": node.type, "inputs": inputs, "_meta": {"title": title}}

    def _miss(self, frame: frames.Frame, node: document.Node) -> None:
        if len(self._unknown) < structure.MAX_FAULTS:
            hint = object_info.near_class(node.type, self._classes.names())
            message = f"no node class of this name is known; the node pack may not be installed.{hint}"
            self._unknown.append(frame.fault(node, "missing_node_type", message))

    def _refused(self) -> errors.InvalidWorkflow:
        names = sorted({fault.class_type or "" for fault in self._unknown})
        shown = ", ".join(names[:10]) + (" …" if len(names) > 10 else "")
        return errors.InvalidWorkflow(
            f"The workflow uses node classes that are not known: {shown}.", faults=self._unknown
        )


def _wrapped(value: Any) -> Any:
    # A bare list would be taken for a link.
    return {"__value__": value} if isinstance(value, list) else value


def _drop_dead_links(nodes: dict[str, dict[str, Any]]) -> None:
    """Inputs linked to nodes that the graph does not have are left out, as the editor does."""
    for node in nodes.values():
        dead = [name for name, value in node["inputs"].items() if structure.is_link(value) and value[0] not in nodes]
        for name in dead:
            del node["inputs"][name]
