"""Values that a subgraph's node holds for widgets inside it.

A subgraph's input that leads to a widget is a widget of the node that stands for the subgraph. Its value is saved
with that node: in the order of the subgraph's inputs, or, by older editors, in the order of the `proxyWidgets`, which
name inner nodes and their widgets (`-1`: an input of the subgraph itself).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.domain.workflow import document, frames, tracing, widgets

Values = dict[int, Any]  # by the position of the subgraph's input


class Promotion:
    """The widgets of subgraphs' nodes, for one unfolded document."""

    def __init__(self, unfolded: tuple[frames.Frame, ...], drawing: widgets.Drawing) -> None:
        self._drawing = drawing
        self._found: dict[frames.Frame, Values] = {}
        # From the inside out: a host's value counts before the one that it covers.
        for frame in reversed(unfolded):
            if frame.host is not None:
                self._found[frame] = {**self._covered(frame), **_own(frame)}

    def of(self, frame: frames.Frame) -> Mapping[int, Any]:
        """What the host of this frame says for the inputs of its subgraph."""
        return self._found.get(frame, {})

    def _covered(self, frame: frames.Frame) -> Values:
        """The values of the widgets themselves, for hosts that have none of their own."""
        covered: Values = {}
        for position, links in frame.scope.entries.items():
            for link in links:
                found = self._widget(frame, link)
                if found is not None:
                    covered[position] = found.value
                    break
        return covered

    def _widget(self, frame: frames.Frame, link: document.Link) -> tracing.Literal | None:
        node = frame.scope.nodes.get(link.target)
        if node is None or not 0 <= link.target_slot < len(node.inputs):
            return None
        slot = node.inputs[link.target_slot]
        child, position = _inner(frame, link)
        if child is not None:
            held = self._found.get(child, {})
            return tracing.Literal(held[position]) if position in held else None
        drawn = self._drawing.of(node).values
        name = slot.widget or slot.name
        return tracing.Literal(drawn[name]) if name in drawn else None


def _inner(frame: frames.Frame, link: document.Link) -> tuple[frames.Frame | None, int | None]:
    child = frame.children.get(link.target)
    node = frame.scope.nodes.get(link.target)
    if child is None or node is None or not 0 <= link.target_slot < len(node.inputs):
        return None, None
    name = node.inputs[link.target_slot].name
    for position, slot in enumerate(child.scope.inputs):
        if slot.name == name:
            return child, position
    return None, None


def _own(frame: frames.Frame) -> Values:
    host = frame.host
    if host is None or not host.values:
        return {}
    if isinstance(host.values, Mapping):
        named = host.values
        return {place: named[slot.name] for place, slot in enumerate(frame.scope.inputs) if slot.name in named}
    proxies = host.properties.get("proxyWidgets")
    if isinstance(proxies, list) and proxies:
        places = [_proxied(frame, entry) for entry in proxies]
    else:
        places = [place for place in range(len(frame.scope.inputs)) if _is_widget(frame, place)]
    pairs = zip(places, host.values, strict=False)
    return {place: value for place, value in pairs if place is not None}


def _proxied(frame: frames.Frame, entry: Any) -> int | None:
    if not isinstance(entry, list) or len(entry) < 2 or not isinstance(entry[1], str):
        return None
    node_id, widget = document.identity_of(entry[0]) or "", entry[1]
    node_id = frame.scope.renamed.get(node_id, node_id)
    if node_id == "-1":
        names = [slot.name for slot in frame.scope.inputs]
        return names.index(widget) if widget in names else None
    for position, links in frame.scope.entries.items():
        for link in links:
            node = frame.scope.nodes.get(link.target)
            if node is None or node.id != node_id or not 0 <= link.target_slot < len(node.inputs):
                continue
            slot = node.inputs[link.target_slot]
            if widget in {slot.widget, slot.name} and position < len(frame.scope.inputs):
                return position
    return None


def _is_widget(frame: frames.Frame, position: int) -> bool:
    """Whether a subgraph's input leads to a widget, through however many subgraphs."""
    at: frames.Frame | None = frame
    place: int | None = position
    while at is not None and place is not None:
        links = at.scope.entries.get(place, ())
        if not links:
            return False
        node = at.scope.nodes.get(links[0].target)
        if node is None or not 0 <= links[0].target_slot < len(node.inputs):
            return False
        if node.inputs[links[0].target_slot].widget is not None:
            return True
        at, place = _inner(at, links[0])
    return False
