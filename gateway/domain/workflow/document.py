"""A saved workflow as data: scopes (the canvas itself, and each subgraph) with nodes, slots and links.

What is read is what the conversion needs; positions, colours and groups are left where they are. Every shape that an
editor has written since 2023 is taken: links as lists or as objects, ids as numbers or as text, `widgets_values` as a
list or as an object, native reroutes (which leave the ends of a link as they are), files with and without subgraphs.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from gateway.domain import errors
from gateway.domain.comfy import structure

#: Ids of the two nodes that stand for the borders of a subgraph.
ENTRY = "-10"
EXIT = "-20"

MUTED = 2
BYPASSED = 4

MAX_NODES = 20_000  #: in the file, over all subgraphs
MAX_LINKS = 100_000  #: likewise
MAX_SUBGRAPHS = 2_000
MAX_SLOTS = 2_000  #: inputs or outputs of one node
MAX_ID = 100  #: characters
MAX_VALUES = 5_000  #: widgets of one node


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """An input or output of a node, or of a subgraph."""

    name: str
    type: str
    link: str | None = None  #: of an input: the link that ends here
    widget: str | None = None  #: the widget that this input stands for


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A connection between two nodes of one scope."""

    id: str
    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node as it was saved."""

    id: str
    type: str
    title: str | None
    mode: int
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    values: tuple[Any, ...] | Mapping[str, Any]  #: its widgets' values, in order or by name
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The canvas, or a subgraph's definition."""

    id: str
    name: str
    nodes: Mapping[str, Node]
    links: Mapping[str, Link]
    inputs: tuple[Slot, ...] = ()
    outputs: tuple[Slot, ...] = ()
    entries: Mapping[int, tuple[Link, ...]] = field(default_factory=dict[int, tuple[Link, ...]])
    exits: Mapping[int, Link] = field(default_factory=dict[int, Link])
    origins: frozenset[str] = frozenset()  #: nodes that something is connected to
    size: int = 0  #: nodes, links and slots: what it costs to use it once
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])  #: ids in the file → ids here, where they differ


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A whole file."""

    root: Scope
    subgraphs: Mapping[str, Scope]


def read(data: object) -> Document:
    """The workflow that this JSON value is; `InvalidWorkflow` with the places where it is none."""
    if not isinstance(data, dict) or not isinstance(data.get("nodes"), list):
        raise errors.InvalidWorkflow("This is not a workflow as ComfyUI's editor saves it: it has no list of nodes.")
    raw = cast("dict[str, Any]", data)
    definitions = list(_definitions(raw))
    _bound(raw, definitions)
    root = _scope(raw, identity="")
    numbers = _Numbers(raw, root)
    subgraphs: dict[str, Scope] = {}
    for definition in definitions:
        scope = numbers.distinct(_scope(definition, identity=identity_of(definition.get("id")) or ""))
        if scope.id in subgraphs:
            raise _wrong("duplicate_subgraph", f"Two subgraphs have the id {_shown(scope.id)}.")
        subgraphs[scope.id] = scope
    return Document(root=root, subgraphs=subgraphs)


class _Numbers:
    """Node ids that are taken. The editor keeps them distinct over all subgraphs of a file, and gives a node whose
    number is taken the next free one as it loads the file; so the ids in a graph are only those that a person sees
    when this is done as well."""

    def __init__(self, raw: Mapping[str, Any], root: Scope) -> None:
        self._taken = set(root.nodes)
        last = raw.get(
            "last_node_id", raw.get("state", {}).get("lastNodeId") if isinstance(raw.get("state"), dict) else 0
        )
        self._last = last if isinstance(last, int) and 0 <= last < 2**53 else 0

    def distinct(self, scope: Scope) -> Scope:
        """The scope, with numbers of its own."""
        renamed: dict[str, str] = {}
        for node_id in scope.nodes:
            if node_id in self._taken and node_id.isdecimal():
                renamed[node_id] = self._next()
            self._taken.add(renamed.get(node_id, node_id))
        return _renumbered(scope, renamed) if renamed else scope

    def _next(self) -> str:
        self._last += 1
        while str(self._last) in self._taken:
            self._last += 1
        return str(self._last)


def _renumbered(scope: Scope, renamed: Mapping[str, str]) -> Scope:
    def moved(link: Link) -> Link:
        ends = {"origin": renamed.get(link.origin, link.origin), "target": renamed.get(link.target, link.target)}
        return dataclasses.replace(link, **ends)

    return dataclasses.replace(
        scope,
        nodes={
            renamed.get(key, key): dataclasses.replace(node, id=renamed.get(key, key))
            for key, node in scope.nodes.items()
        },
        links={key: moved(link) for key, link in scope.links.items()},
        entries={key: tuple(map(moved, links)) for key, links in scope.entries.items()},
        exits={key: moved(link) for key, link in scope.exits.items()},
        origins=frozenset(renamed.get(key, key) for key in scope.origins),
        renamed=renamed,
    )


def _definitions(raw: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    # Editors keep all of them at the root; a file that was put together by hand may nest them.
    todo: list[Mapping[str, Any]] = [raw]
    while todo:
        held = todo.pop().get("definitions")
        listed: Any = held.get("subgraphs") if isinstance(held, dict) else None
        for position, definition in enumerate(cast("list[Any]", listed) if isinstance(listed, list) else ()):
            if not isinstance(definition, dict) or not isinstance(definition.get("nodes"), list):
                raise _wrong("invalid_subgraph", f"Subgraph definition {position} has no list of nodes.")
            if identity_of(definition.get("id")) is None:
                raise _wrong("invalid_subgraph", f"Subgraph definition {position} has no id.")
            yield definition
            todo.append(definition)


def _bound(raw: Mapping[str, Any], definitions: list[dict[str, Any]]) -> None:
    scopes = (raw, *definitions)
    links = [scope.get("links") for scope in scopes]
    counts = {
        "nodes": (sum(len(scope["nodes"]) for scope in scopes), MAX_NODES),
        "links": (sum(len(each) for each in links if isinstance(each, (list, dict))), MAX_LINKS),
        "subgraphs": (len(definitions), MAX_SUBGRAPHS),
    }
    for what, (count, most) in counts.items():
        if count > most:
            raise _wrong(f"too_many_{what}", f"The workflow has {count} {what}; {most} is the most.")


def _scope(raw: Mapping[str, Any], *, identity: str) -> Scope:
    name = raw.get("name")
    name = name if isinstance(name, str) and identity else identity
    place = f" in subgraph {_shown(name)}" if identity else ""
    links = dict(_links(raw.get("links"), place))
    nodes: dict[str, Node] = {}
    for position, entry in enumerate(raw["nodes"]):
        node = _node(entry, position, place)
        if node.id in nodes:
            raise _at(node.id, node.type, "duplicate_node", "an id that another node has, too", place)
        nodes[node.id] = node
    slots = sum(len(node.inputs) + len(node.outputs) + len(node.values) for node in nodes.values())
    return Scope(
        id=identity,
        origins=frozenset(link.origin for link in links.values()),
        size=len(nodes) + len(links) + slots,
        name=name,
        nodes=nodes,
        links=links,
        inputs=_slots(raw.get("inputs"), identity, None, place) if identity else (),
        outputs=_slots(raw.get("outputs"), identity, None, place) if identity else (),
        entries=_entries(raw, links) if identity else {},
        exits=_exits(raw, links) if identity else {},
    )


def _entries(raw: Mapping[str, Any], links: Mapping[str, Link]) -> dict[int, tuple[Link, ...]]:
    """The links from each input of a subgraph, in the order that the input names them."""
    found: dict[int, dict[str, Link]] = {}
    for link in itertools.chain(_named(raw.get("inputs"), links), links.values()):
        if link.origin == ENTRY:
            found.setdefault(link.origin_slot, {}).setdefault(link.id, link)
    return {position: tuple(each.values()) for position, each in found.items()}


def _exits(raw: Mapping[str, Any], links: Mapping[str, Link]) -> dict[int, Link]:
    """The link to each output of a subgraph; of several, the one that the output names first."""
    found: dict[int, Link] = {}
    for link in itertools.chain(_named(raw.get("outputs"), links), links.values()):
        if link.target == EXIT:
            found.setdefault(link.target_slot, link)
    return found


def _named(slots: Any, links: Mapping[str, Link]) -> Iterator[Link]:
    for slot in cast("list[Any]", slots) if isinstance(slots, list) else ():
        named = slot.get("linkIds") if isinstance(slot, dict) else None
        for link_id in map(identity_of, cast("list[Any]", named) if isinstance(named, list) else ()):
            if link_id is not None and link_id in links:
                yield links[link_id]


def _links(raw: Any, place: str) -> Iterator[tuple[str, Link]]:
    if isinstance(raw, dict):
        raw = list(raw.values())
    for position, entry in enumerate(raw if isinstance(raw, list) else ()):
        if entry is None:
            continue
        parts = _link_parts(entry)
        identity, origin, target = (identity_of(part) for part in (parts[0], parts[1], parts[3]))
        slots = (_slot_number(parts[2]), _slot_number(parts[4]))
        if identity is None or origin is None or target is None or slots[0] is None or slots[1] is None:
            raise _wrong("invalid_link", f"Link {position}{place} is not a link: its ids, slots or both are missing.")
        yield identity, Link(id=identity, origin=origin, origin_slot=slots[0], target=target, target_slot=slots[1])


def _link_parts(entry: Any) -> tuple[Any, ...]:
    if isinstance(entry, dict):
        return tuple(entry.get(key) for key in ("id", "origin_id", "origin_slot", "target_id", "target_slot"))
    return tuple(entry[:5]) if isinstance(entry, list) and len(entry) >= 5 else (None,) * 5


def _node(raw: Any, position: int, place: str) -> Node:
    if not isinstance(raw, dict):
        raise _wrong("node_not_an_object", f"Node {position}{place} is {structure.kind_of(raw)}, not an object.")
    identity = identity_of(raw.get("id"))
    kind = raw.get("type")
    if identity is None:
        raise _wrong("invalid_node_id", f"Node {position}{place} has no id.")
    if not isinstance(kind, str) or not kind or structure.text_complaint(kind) is not None:
        raise _at(identity, None, "invalid_class_type", "no type", place)
    values: Any = raw.get("widgets_values")
    if isinstance(values, (list, dict)) and len(values) > MAX_VALUES:
        raise _at(identity, kind, "too_many_values", f"{len(values)} widget values; {MAX_VALUES} is the most", place)
    title = raw.get("title")
    mode = raw.get("mode")
    properties = raw.get("properties")
    return Node(
        id=identity,
        type=kind,
        title=title if isinstance(title, str) else None,
        mode=mode if isinstance(mode, int) else 0,
        inputs=_slots(raw.get("inputs"), identity, kind, place),
        outputs=_slots(raw.get("outputs"), identity, kind, place),
        values=tuple(values) if isinstance(values, list) else values if isinstance(values, dict) else (),
        properties=properties if isinstance(properties, dict) else {},
    )


def _slots(raw: Any, identity: str, kind: str | None, place: str) -> tuple[Slot, ...]:
    if not isinstance(raw, list):
        return ()
    listed = cast("list[Any]", raw)
    if len(listed) > MAX_SLOTS:
        raise _at(identity, kind, "too_many_slots", f"{len(listed)} inputs or outputs; {MAX_SLOTS} is the most", place)
    return tuple(map(_slot, listed))


def _slot(raw: Any) -> Slot:
    if not isinstance(raw, dict):
        return Slot(name="", type="*")
    name, kind, widget = raw.get("name"), raw.get("type"), raw.get("widget")
    widget_name = widget.get("name") if isinstance(widget, dict) else None
    return Slot(
        name=name if isinstance(name, str) else "",
        type=kind if isinstance(kind, str) else "COMBO" if isinstance(kind, list) else "*",
        link=identity_of(raw.get("link")),
        widget=widget_name if isinstance(widget_name, str) else None,
    )


def identity_of(value: Any) -> str | None:
    """An id as text: editors have written them as numbers and as text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 2**63 else None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID:
        return None
    return value if structure.text_complaint(value) is None else None


def _slot_number(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 5:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1 <= value <= structure.MAX_SLOT:
        return None
    return int(value) if value == int(value) else None


def _wrong(reason: str, message: str) -> errors.InvalidWorkflow:
    return errors.InvalidWorkflow(message, faults=[errors.Fault(reason=reason, message=message)])


def _at(identity: str, kind: str | None, reason: str, what: str, place: str) -> errors.InvalidWorkflow:
    shown = None if kind is None else _shown(kind)
    message = f"Node {_shown(identity)}{f' ({shown})' if shown else ''}{place} has {what}."
    fault = errors.Fault(reason=reason, message=message, node=_shown(identity), class_type=shown)
    return errors.InvalidWorkflow(message, faults=[fault])


def _shown(text: str) -> str:
    return structure.shown_text(text)
