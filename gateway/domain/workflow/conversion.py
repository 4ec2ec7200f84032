"""A saved workflow becomes the graph that ComfyUI's editor would post.

    document.read      JSON → scopes with nodes and links
    frames.unfold      each subgraph once for every node that stands for it
    promotion.values   what those nodes say of the widgets inside
    widgets.draw       a node's values by name
    tracing.Tracer     what feeds each input

Nothing here recurses, and everything is bounded, so that a hostile file costs little more than reading it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info, structure
from gateway.domain.workflow import definitions, document, frames, promotion, texts, tracing, widgets

_GROUP_PREFIXES = ("workflow>", "workflow/")
_CALLED = "Node name for S&R"  #: the property by which names of files refer to a node
_MAX_HINTS = 10  #: near names are looked for among all classes, which takes its time
_SILENT_MODES = frozenset({document.MUTED, document.BYPASSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What became of a workflow."""

    graph: graphs.Graph
    unknown: tuple[errors.Fault, ...] = ()  #: nodes whose class the catalog does not have, when that was allowed
    #: `definitions.shape` of each class that counted.
    shapes: Mapping[str, str] = field(default_factory=dict[str, str])


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
    conversion = _Conversion(unfolded, info)
    nodes = conversion.nodes()
    faults = [*conversion.faults, *(() if allow_unknown else conversion.unknown)]
    if faults:
        raise _refused(faults)
    graph = graphs.parse_graph(nodes)
    return Converted(graph=graph, unknown=tuple(conversion.unknown), shapes=conversion.shapes)


class _Conversion:
    """One file on its way."""

    def __init__(self, unfolded: tuple[frames.Frame, ...], info: Mapping[str, Any]) -> None:
        self._frames = unfolded
        self._classes = definitions.Classes(info)
        self._drawing = widgets.Drawing(self._classes)
        self._held = promotion.Promotion(unfolded, self._drawing)
        self._tracer = tracing.Tracer(self._held)
        self._called: dict[str, document.Node] | None = None
        self._hints: dict[str, str] = {}
        self.unknown: dict[errors.Fault, None] = {}  # each once: many inputs may meet the same fault
        self.faults: dict[errors.Fault, None] = {}

    @property
    def shapes(self) -> dict[str, str]:
        """Of each class that counted and is described."""
        return {name: shape for name, shape in self._classes.shapes.items() if shape}

    def nodes(self) -> dict[str, dict[str, Any]]:
        """The nodes of the graph; what is wrong is in `unknown` and `faults` then."""
        nodes: dict[str, dict[str, Any]] = {}
        silent: set[frames.Frame] = set()
        for frame in self._frames:
            if frame.parent in silent or (frame.host is not None and frame.host.mode in _SILENT_MODES):
                silent.add(frame)
                continue
            for node in frame.scope.nodes.values():
                if self._runs(frame, node):
                    nodes[frame.id_of(node)] = self._node(frame, node)
        _drop_dead_links(nodes)
        return nodes

    def _runs(self, frame: frames.Frame, node: document.Node) -> bool:
        if node.mode in _SILENT_MODES or node.id in frame.children or node.type in tracing.VIRTUAL:
            return False
        # A label, a switchboard: of no known class, and connected to nothing.
        is_apart = node.id not in frame.scope.origins and all(slot.link is None for slot in node.inputs)
        return not (is_apart and self._classes.get(node.type) is None)

    def _node(self, frame: frames.Frame, node: document.Node) -> dict[str, Any]:
        if self._classes.get(node.type) is None:
            self._tell(self.unknown, frame.fault(node, "missing_node_type", self._missing(node.type)))
        drawn = self._drawing.of(node)
        if drawn.misfit is not None:
            self._tell(self.faults, _misfit(frame, node, drawn.misfit))
        over = self._held.over(frame, node)
        inputs = {name: self._sent(node, name, over.get(name, value)) for name, value in drawn.values.items()}
        for slot in node.inputs:
            match self._tracer.source(frame, node, slot):
                case tracing.Output(node=origin, slot=number):
                    inputs[slot.name] = [origin, number]
                case tracing.Literal(value=value):
                    inputs[slot.name] = _wrapped(value)
                case tracing.Primitive(value=value):
                    inputs[slot.name] = self._sent(node, slot.name, value)
                case tracing.Wrong(fault=fault):
                    self._tell(self.faults, fault)
                case tracing.Nothing():
                    pass
        return {"class_type": node.type, "inputs": inputs, "_meta": {"title": node.title or self._title(node)}}

    def _sent(self, node: document.Node, name: str, value: Any) -> Any:
        """What a widget of this name sends."""
        if isinstance(value, str):
            if name in self._drawing.of(node).prompts:
                return texts.plain_prompt(value)
            if name == structure.PREFIX_FIELD and "%" in value:
                return texts.with_values(value, lambda called, widget: self._value_of(called, widget, node))
        return _wrapped(value)

    def _value_of(self, called: str, widget: str, asking: document.Node) -> Any:
        """The value of a widget of the node that goes by this name, for a name of a file."""
        if self._called is None:
            self._called = self._names()
        node = self._called.get(called)
        value = None if node is None or node is asking else self._drawing.of(node).values.get(widget)
        return value if isinstance(value, (str, int, float)) else None

    def _names(self) -> dict[str, document.Node]:
        """Nodes by the names that authors may call them by; the first of a name counts, titles count last."""
        nodes = [node for frame in self._frames for node in frame.scope.nodes.values()]
        named = [(node.properties.get(_CALLED, node.type), node) for node in nodes]
        titled = [(node.title or self._title(node), node) for node in nodes]
        return {name: node for name, node in reversed([*named, *titled]) if isinstance(name, str)}

    def _title(self, node: document.Node) -> str:
        definition = self._classes.get(node.type)
        return node.type if definition is None else definition.title

    def _tell(self, told: dict[errors.Fault, None], fault: errors.Fault) -> None:
        if len(told) < structure.MAX_FAULTS:
            told[fault] = None

    def _missing(self, kind: str) -> str:
        if kind.startswith(_GROUP_PREFIXES):
            return "group nodes are of the past; open the file in ComfyUI, turn it into a subgraph, and save."
        if kind not in self._hints and len(self._hints) < _MAX_HINTS:
            self._hints[kind] = object_info.near_class(kind, self._classes.names())
        return f"no node class of this name is known; its node pack may be missing.{self._hints.get(kind, '')}"


def _misfit(frame: frames.Frame, node: document.Node, found: widgets.Misfit) -> errors.Fault:
    # A container is named by its kind: it may be deeper than what can be written out.
    value = object_info.shown(found.value) if isinstance(found.value, str) else structure.kind_of(found.value)
    message = (
        f"the file has {found.saved} widget values, this version of the class has places for {found.wanted}, and "
        f"{value} is no value for {found.widget!r}. Open the file in ComfyUI and save it anew."
    )
    return frame.fault(node, "widget_mismatch", message, field=found.widget)


def _refused(faults: Sequence[errors.Fault]) -> errors.InvalidWorkflow:
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return errors.InvalidWorkflow(f"The workflow cannot be converted. {faults[0].message}{more}", faults=faults)


def _wrapped(value: Any) -> Any:
    # A bare list would be taken for a link.
    return {"__value__": value} if isinstance(value, list) else value


def _drop_dead_links(nodes: dict[str, dict[str, Any]]) -> None:
    """Inputs linked to nodes that the graph does not have are left out, as the editor does."""
    for node in nodes.values():
        dead = [name for name, value in node["inputs"].items() if structure.is_link(value) and value[0] not in nodes]
        for name in dead:
            del node["inputs"][name]
