"""Primitive nodes with titles of their own: the title names the value.

ComfyUI's own `PrimitiveInt`, `PrimitiveString`, … are nodes of the graph. The editor's older `PrimitiveNode` is not in
any graph that is posted: its value stands in the inputs that it fed, and only the editor's file knows its title.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.domain.comfy import graph as graphs
from gateway.domain.templates.dialects import declared
from gateway.domain.templates.model import ParameterType, Target

FIELD: Final = "value"
TYPES: Final = {
    "PrimitiveInt": ParameterType.INTEGER,
    "PrimitiveFloat": ParameterType.FLOAT,
    "PrimitiveString": ParameterType.STRING,
    "PrimitiveStringMultiline": ParameterType.STRING,
    "PrimitiveBoolean": ParameterType.BOOLEAN,
}
#: Titles that the editor gives, and words that authors keep before their own: `Int (Steps)`.
KINDS: Final = frozenset({
    "int", "integer", "float", "boolean", "bool", "string", "text", "text string", "input text", "number",
    "primitive", "primitivenode", "primitive node",
})  # fmt: skip
BRACKETS: Final = re.compile(r"(?P<kind>[^()（）]*)[(（](?P<name>[^()（）]+)[)）]\s*")
GIVEN: Final = re.compile(r"multiline( - )?", re.IGNORECASE)
#: Subgraphs that are looked into; each of a file may stand in it many times.
MAX_GRAPHS: Final = 2_000


def parameters(graph: graphs.Graph) -> Iterator[declared.Declared]:
    """The parameters that titled primitives declare."""
    for node_id, node in graph.items():
        kind = TYPES.get(node["class_type"])
        title = own_title(graphs.node_title(node))
        if kind is None or title is None or graphs.is_link(node["inputs"].get(FIELD)):
            continue
        yield declared.Declared(
            name=title.lower(),
            node=node_id,
            field=FIELD,
            type=kind,
            title=title,
            multiline=node["class_type"].endswith("Multiline"),
        )


def own_title(title: str | None) -> str | None:
    """The words of the author in the title of a primitive, if they wrote any."""
    words = declared.text_of(title)
    if words is None or words.startswith("$") or words == "MCP" or words in TYPES:
        return None
    found = BRACKETS.fullmatch(words)
    if found is not None and found["kind"].strip().casefold() in KINDS:
        words = GIVEN.sub("", found["name"]).strip()
    return None if not words or words.casefold() in KINDS else words


def of_editor_file(document: object) -> Mapping[Target, str]:
    """The titles of the editor's `PrimitiveNode`s by the inputs that they feed, from the file that the editor saves."""
    listed = _listed(_of(_of(document, "definitions"), "subgraphs"))
    subgraphs = {_of(each, "id"): each for each in listed if isinstance(_of(each, "id"), str)}
    found: dict[Target, str] = {}
    todo = [("", document)]
    for _graph in range(MAX_GRAPHS):
        if not todo:
            break
        prefix, graph = todo.pop()
        found.update(_titled(graph, prefix))
        for node in _listed(_of(graph, "nodes")):
            kind = _of(node, "type")
            if isinstance(kind, str) and kind in subgraphs:
                todo.append((f"{prefix}{_of(node, 'id')}:", subgraphs[kind]))
    return found


def _titled(graph: object, prefix: str) -> Iterator[tuple[Target, str]]:
    nodes = {_of(node, "id"): node for node in _listed(_of(graph, "nodes")) if _is_key(_of(node, "id"))}
    links = {link[0]: link for link in map(_link, _listed(_of(graph, "links"))) if link is not None}
    for node in nodes.values():
        title = own_title(_of(node, "title")) if _of(node, "type") == "PrimitiveNode" else None
        outputs = _listed(_of(node, "outputs")) if title is not None else []
        for link in (link for output in outputs for link in _listed(_of(output, "links"))):
            target = _fed(nodes, links.get(link) if _is_key(link) else None, prefix)
            if title is not None and target is not None:
                yield target, title


def _fed(nodes: Mapping[Any, Any], link: tuple[Any, Any, int] | None, prefix: str) -> Target | None:
    """The input that this link ends at."""
    if link is None or not _is_key(link[1]):
        return None
    inputs = _listed(_of(nodes.get(link[1]), "inputs"))
    if not 0 <= link[2] < len(inputs):
        return None
    name = _of(_of(inputs[link[2]], "widget"), "name") or _of(inputs[link[2]], "name")
    return Target(f"{prefix}{link[1]}", name) if isinstance(name, str) else None


def _link(link: Any) -> tuple[Any, Any, int] | None:
    """Id, target node and target slot, of both ways to write a link."""
    if isinstance(link, list) and len(link) >= 5:
        number, node, slot = link[0], link[3], link[4]
    else:
        number, node, slot = _of(link, "id"), _of(link, "target_id"), _of(link, "target_slot")
    return (number, node, slot) if _is_key(number) and isinstance(slot, int) else None


def _of(value: object, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_key(value: object) -> bool:
    return isinstance(value, (str, int))
