"""Where an input's value comes from, through everything that exists in the editor only.

From an input back along its link: out of a subgraph by its entry, into one by its exit, through reroutes, past
bypassed nodes by the type of what they make, from a Get node to its Set node; until a node that a worker executes, a
value that a person typed (a primitive, a promoted widget), or nothing. No step recurses, and each output is followed
once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gateway.domain import errors
from gateway.domain.comfy import object_info, structure
from gateway.domain.workflow import document, frames

REROUTES: Final = frozenset({"Reroute", "Reroute (rgthree)"})
PRIMITIVE: Final = "PrimitiveNode"
GET: Final = frozenset({"GetNode", "easy getNode"})
SET: Final = frozenset({"SetNode", "easy setNode"})
NOTES: Final = frozenset({"Note", "MarkdownNote"})
#: Switches and labels of widespread packs. They act in the browser; what they muted is saved as muted.
SWITCHES: Final = frozenset({
    "Bookmark (rgthree)", "Fast Actions Button (rgthree)", "Fast Bypasser (rgthree)", "Fast Groups Bypasser (rgthree)",
    "Fast Groups Muter (rgthree)", "Fast Muter (rgthree)", "Label (rgthree)", "Mute / Bypass Relay (rgthree)",
    "Mute / Bypass Repeater (rgthree)", "Node Collector (rgthree)", "Random Unmuter (rgthree)",
})  # fmt: skip
#: Classes that exist in the editor only, and never become part of a graph.
VIRTUAL: Final = NOTES | SWITCHES | GET | SET | REROUTES | {PRIMITIVE}


@dataclass(frozen=True, slots=True)
class Output:
    """An output of a node that a worker executes."""

    node: str
    slot: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that a subgraph's node holds."""

    value: Any


@dataclass(frozen=True, slots=True)
class Primitive:
    """A primitive's value. It writes it, muted or not, into the widgets that it is connected to. Whoever is connected
    to it through anything else, a reroute or the border of a subgraph, keeps the value that it has."""

    value: Any


@dataclass(frozen=True, slots=True)
class Nothing:
    """The input is not connected to anything that runs."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """The way back leads to something that is not there, or in a circle."""

    fault: errors.Fault


Source = Output | Literal | Primitive | Nothing | Wrong
NOTHING: Final = Nothing()


@dataclass(frozen=True, slots=True)
class _At:
    """An input of a node: where to look next."""

    frame: frames.Frame
    node: document.Node
    slot: document.Slot

    def wrong(self, reason: str, message: str) -> Wrong:
        """A fault of this input."""
        return Wrong(self.frame.fault(self.node, reason, message, field=self.slot.name))


class Held(Protocol):
    """What subgraphs' nodes say of the widgets inside; `promotion.Promotion` knows it."""

    def of(self, frame: frames.Frame) -> Mapping[int, Any]:
        """Values for the inputs of the frame's subgraph, by position."""
        ...

    def over(self, frame: frames.Frame, node: document.Node) -> Mapping[str, Any]:
        """Values for widgets of a node inside that no input leads to, by name."""
        ...


_Key = tuple[frames.Frame, str, int]  # a node's output


class Tracer:
    """Follows the links of one unfolded document."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._known: dict[_Key, Source] = {}
        self._sets: dict[str, Mapping[str, document.Node]] = {}

    def source(self, frame: frames.Frame, node: document.Node, slot: document.Slot) -> Source:
        """What feeds this input."""
        at = _At(frame, node, slot)
        trail: dict[_Key, None] = {}  # the outputs that were met on the way
        found: Source | None = None
        while found is None:
            link = _link(at)
            if not isinstance(link, document.Link):
                found = link
                break
            key = (at.frame, link.origin, link.origin_slot)
            found = self._known.get(key)
            if found is None and key in trail:
                found = at.wrong("link_cycle", "its links lead in a circle.")
            if found is None:
                step = self._step(at, link)
                if isinstance(step, _At):
                    trail[key] = None
                    at = step
                else:
                    found = self._known[key] = step
        if trail and isinstance(found, Primitive):
            found = NOTHING
        self._known.update(dict.fromkeys(trail, found))
        return found

    def _step(self, at: _At, link: document.Link) -> _At | Source:
        frame = at.frame
        if link.origin == document.ENTRY and frame.parent is not None:
            return self._outside(frame, link.origin_slot)
        node = frame.scope.nodes.get(link.origin)
        if node is None:
            message = f"its link {link.id} comes from node {link.origin}, which does not exist."
            return at.wrong("dangling_link", message)
        if node.type == PRIMITIVE:
            return self._primitive(frame, node)
        if node.mode == document.MUTED:
            return NOTHING
        if node.mode == document.BYPASSED:
            slot = _bypass(node, link.origin_slot)
            return NOTHING if slot is None else _At(frame, node, slot)
        child = frame.children.get(node.id)
        if child is not None:
            inner = child.scope.exits.get(link.origin_slot)
            return NOTHING if inner is None else self._step_inside(child, inner)
        if node.type in VIRTUAL:
            return self._virtual(frame, node)
        return Output(frame.id_of(node), link.origin_slot)

    def _step_inside(self, frame: frames.Frame, link: document.Link) -> _At | Source:
        # An input to come back to: the exit of the subgraph, which has no node of its own.
        exit_node = document.Node(
            id=document.EXIT, type="", title=None, mode=0, inputs=(), outputs=(), values=(), properties={}
        )
        return _At(frame, exit_node, document.Slot(name="", type="*", link=link.id))

    def _outside(self, frame: frames.Frame, position: int) -> _At | Source:
        host, parent = frame.host, frame.parent
        if host is None or parent is None or not 0 <= position < len(frame.scope.inputs):
            return NOTHING
        slot = host_slot(host, frame.scope, position)
        if slot is not None and slot.link is not None:
            return _At(parent, host, slot)
        values = self._held.of(frame)
        return Literal(values[position]) if position in values else NOTHING

    def _primitive(self, frame: frames.Frame, node: document.Node) -> Source:
        held = self._held.over(frame, node)
        if "value" in held:
            return Primitive(held["value"])
        values = node.values
        return Primitive(values[0]) if isinstance(values, tuple) and values else NOTHING

    def _virtual(self, frame: frames.Frame, node: document.Node) -> _At | Source:
        if node.type in GET:
            return self._from_set(frame, node)
        is_passage = node.type in REROUTES | SET and node.inputs
        return _At(frame, node, node.inputs[0]) if is_passage else NOTHING

    def _from_set(self, frame: frames.Frame, node: document.Node) -> _At | Source:
        name = _variable(node)
        above: frames.Frame | None = frame
        while above is not None:
            other = self._set_nodes(above).get(name) if name is not None else None
            if other is not None:
                return NOTHING if other.mode == document.MUTED else _At(above, other, other.inputs[0])
            above = above.parent
        message = f"there is no Set node named {structure.shown_text(name or '')!r}."
        return Wrong(frame.fault(node, "no_set_node", message))

    def _set_nodes(self, frame: frames.Frame) -> Mapping[str, document.Node]:
        if frame.scope.id not in self._sets:
            found = [node for node in frame.scope.nodes.values() if node.type in SET and node.inputs]
            named = {name: node for node in reversed(found) if (name := _variable(node)) is not None}
            self._sets[frame.scope.id] = named
        return self._sets[frame.scope.id]


def _link(at: _At) -> document.Link | Nothing | Wrong:
    if at.slot.link is None:
        return NOTHING
    link = at.frame.scope.links.get(at.slot.link)
    return link or at.wrong("dangling_link", f"its link {structure.shown_text(at.slot.link)} does not exist.")


def _variable(node: document.Node) -> str | None:
    """The name that a Get or Set node is about."""
    values = node.values if isinstance(node.values, tuple) else tuple(node.values.values())
    return values[0] if values and isinstance(values[0], str) else None


def host_slot(host: document.Node, scope: document.Scope, position: int) -> document.Slot | None:
    """The input of a subgraph's node that belongs to this input of its definition: by name, else by place."""
    name = scope.inputs[position].name
    for slot in host.inputs:
        if slot.name == name:
            return slot
    return None


def _bypass(node: document.Node, position: int) -> document.Slot | None:
    """The input that a bypassed node hands on in place of this output."""
    kind = node.outputs[position].type if 0 <= position < len(node.outputs) else "*"
    opposite = node.inputs[position] if 0 <= position < len(node.inputs) else None
    if opposite is not None and opposite.type == kind:
        return opposite
    for slot in node.inputs:
        if slot.type == kind:
            return slot
    if opposite is not None and object_info.types_match(opposite.type, kind):
        return opposite
    for slot in node.inputs:
        if object_info.types_match(slot.type, kind):
            return slot
    return None
