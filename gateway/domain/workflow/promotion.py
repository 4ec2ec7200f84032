"""Values that a subgraph's node holds for widgets inside it.

A subgraph's input that leads to a widget is a widget of the node that stands for the subgraph. Its value is saved
with that node: in the order of the subgraph's inputs, or, by older editors, in the order of the `proxyWidgets`, which
name inner nodes and their widgets (`-1`: an input of the subgraph itself).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from gateway.domain.workflow import document, frames, tracing, widgets

Values = dict[int, Any]  # by the position of the subgraph's input


class Promotion:
    """The widgets of subgraphs' nodes, for one unfolded document."""

    def __init__(self, unfolded: tuple[frames.Frame, ...], drawing: widgets.Drawing) -> None:
        self._drawing = drawing
        self._found: dict[frames.Frame, Values] = {}
        self._over: dict[tuple[frames.Frame, str], dict[str, Any]] = {}
        # From the inside out: a host's value counts before the one that it covers.
        for frame in reversed(unfolded):
            if frame.host is not None:
                self._found[frame] = {**self._covered(frame), **self._own(frame)}

    def of(self, frame: frames.Frame) -> Mapping[int, Any]:
        """What the host of this frame says for the inputs of its subgraph."""
        return self._found.get(frame, {})

    def over(self, frame: frames.Frame, node: document.Node) -> Mapping[str, Any]:
        """What the host of this frame says for widgets of a node inside that no input of the subgraph leads to."""
        return self._over.get((frame, node.id), {})

    def _own(self, frame: frames.Frame) -> Values:
        host = frame.host
        if host is None or not host.values:
            return {}
        if isinstance(host.values, Mapping):
            named = host.values
            return {place: named[slot.name] for place, slot in enumerate(frame.scope.inputs) if slot.name in named}
        proxies = host.properties.get("proxyWidgets")
        if not isinstance(proxies, list) or not proxies:
            places = [place for place in range(len(frame.scope.inputs)) if _is_widget(frame, place)]
            return dict(zip(places, host.values, strict=False))
        own: Values = {}
        for proxy, value in zip(map(_proxy, cast("list[Any]", proxies)), host.values, strict=False):
            if proxy is None:
                continue
            place = _place(frame, *proxy)
            if place is not None:
                own[place] = value
            else:
                self._write(frame, *proxy, value)
        return own

    def _write(self, frame: frames.Frame, node_id: str, widget: str, value: Any) -> None:
        """Keep a value for a widget that the host shows although no input of the subgraph leads to it."""
        node_id = frame.scope.renamed.get(node_id, node_id)
        child = frame.children.get(node_id)
        if child is None:
            self._over.setdefault((frame, node_id), {})[widget] = value
            return
        for position, slot in enumerate(child.scope.inputs):
            if slot.name == widget:
                self._found[child][position] = value

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


def _proxy(entry: Any) -> tuple[str, str] | None:
    """The node and widget that a proxy names; `-1` stands for the subgraph itself."""
    if not isinstance(entry, list) or len(cast("list[Any]", entry)) < 2 or not isinstance(entry[1], str):
        return None
    node_id = document.identity_of(entry[0])
    return None if node_id is None else (node_id, entry[1])


def _place(frame: frames.Frame, node_id: str, widget: str) -> int | None:
    """The input of the subgraph that leads to this widget."""
    if node_id == "-1":
        names = [slot.name for slot in frame.scope.inputs]
        return names.index(widget) if widget in names else None
    node_id = frame.scope.renamed.get(node_id, node_id)
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
