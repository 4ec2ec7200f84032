"""Titles such as `$prompt.text!:what to draw`, as Pixelle-MCP and ComfyKit read them.

$NAME[.FIELD][!][:DESCRIPTION]     the node's input FIELD (or NAME) is the parameter NAME; `!`: it is required
$~NAME  $NAME.~FIELD               the same, and the value is a file
Size, $width!, $height!            several in one title, then without descriptions
$output.NAME                       what this node makes is the output NAME
MCP                                the text in this node describes the whole template
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gateway.domain.comfy import graph as graphs
from gateway.domain.templates.dialects import declared
from gateway.domain.templates.model import ParameterType

MARK: Final = r"\$(?P<file>~)?(?P<name>\w+)(?:\.(?P<inner>~)?(?P<field>\w+))?(?P<required>!)?"
ONE: Final = re.compile(rf"{MARK}(?:\s*[:：](?P<about>.+))?", re.DOTALL)
OUTPUT: Final = re.compile(r"\$output\.(?P<name>\w+)")
DESCRIPTION: Final = "MCP"
DESCRIPTION_FIELDS: Final = ("value", "text", "string")

#: What a file is, by words in the class that loads it.
FILE_KINDS: Final = (
    ("Mask", ParameterType.MASK), ("Audio", ParameterType.AUDIO), ("Video", ParameterType.VIDEO),
    ("Image", ParameterType.IMAGE),
)  # fmt: skip


def parameters(graph: graphs.Graph) -> Iterator[declared.Declared]:
    """The parameters that titles declare. A mark for an input that the node does not have, is just a title."""
    for node_id, node in graph.items():
        title = graphs.node_title(node) or ""
        if "$" not in title or OUTPUT.fullmatch(title.strip()):
            continue
        for mark in _marks(title.strip()):
            field = mark["field"] or mark["name"]
            value = node["inputs"].get(field)
            if field not in node["inputs"] or graphs.is_link(value):
                continue
            is_file = bool(mark["file"] or mark["inner"])
            yield declared.Declared(
                name=mark["name"],
                node=node_id,
                field=field,
                type=_file_kind(node["class_type"]) if is_file else None,
                description=declared.text_of(mark.groupdict().get("about")),
                required=bool(mark["required"]),
            )


def outputs(graph: graphs.Graph) -> Iterator[tuple[str, str]]:
    """Name and node of the outputs that titles declare."""
    for node_id, node in graph.items():
        found = OUTPUT.fullmatch((graphs.node_title(node) or "").strip())
        if found is not None:
            yield found["name"], node_id


def description(graph: graphs.Graph) -> tuple[str, str] | None:
    """The node that describes the template, and its text; None where there is not exactly one."""
    nodes = [node_id for node_id, node in graph.items() if graphs.node_title(node) == DESCRIPTION]
    if len(nodes) != 1:
        return None
    inputs = graph[nodes[0]]["inputs"]
    texts = [declared.text_of(inputs.get(field)) for field in DESCRIPTION_FIELDS]
    return next(((nodes[0], text) for text in texts if text is not None), None)


def _marks(title: str) -> Iterator[re.Match[str]]:
    whole = ONE.fullmatch(title)
    if whole is not None:
        yield whole
        return
    for part in title.split(","):
        mark = re.fullmatch(MARK, part.strip())
        if mark is not None:
            yield mark


def _file_kind(class_type: str) -> ParameterType:
    return next((kind for word, kind in FILE_KINDS if word in class_type), ParameterType.FILE)
