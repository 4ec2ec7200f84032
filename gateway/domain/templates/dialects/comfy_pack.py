"""comfy-pack's input and output nodes: `CPackInputString`, `CPackInputImage`, … named by their titles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from gateway.domain.comfy import graph as graphs
from gateway.domain.templates.dialects import declared
from gateway.domain.templates.model import ParameterType

PREFIX: Final = "CPackInput"
WIDEST: Final = 2**63 - 2_048
LOAD_IMAGE: Final = declared.StandIn(class_type="LoadImage", field="image")

#: What its nodes are called as long as nobody names them.
GIVEN_TITLES: Final = frozenset({
    "Image Input", "String Input", "Int Input", "File Input", "Any Input", "Image Output", "Audio Output",
    "Video Output", "File Output", "Zip Output(img + txt file)", "Enable Zip Output", "Output Text to File",
})  # fmt: skip
#: The input that holds the value, its type, and whether the node only hands it on.
INPUTS: Final[dict[str, tuple[str, ParameterType | None, bool]]] = {
    "CPackInputString": ("value", ParameterType.STRING, True),
    "CPackInputInt": ("value", ParameterType.INTEGER, True),
    "CPackInputAny": ("input", None, True),
    "CPackInputFile": ("path", ParameterType.FILE, True),
    "CPackInputImage": ("image", ParameterType.IMAGE, False),
}
OUTPUTS: Final = frozenset({
    "CPackOutputImage", "CPackOutputAudio", "CPackOutputVideo", "CPackOutputFile", "CPackOutputZip",
    "CPackOutputTextFile",
})  # fmt: skip


def parameters(graph: graphs.Graph) -> Iterator[declared.Declared]:
    """The parameters that comfy-pack's input nodes declare."""
    taken: set[str] = set()
    users = _users(graph)
    for node_id, node in graph.items():
        known = INPUTS.get(node["class_type"])
        if known is None or known[0] not in node["inputs"] or graphs.is_link(node["inputs"][known[0]]):
            continue
        field, kind, is_carrier = known
        name = _name(node, users.get(node_id))
        name = name if name not in taken else f"{name}_{node_id}"
        taken.add(name)
        yield declared.Declared(
            name=name,
            node=node_id,
            field=field,
            type=kind,
            title=_own_title(node),
            minimum=_bound(node["inputs"].get("min")),
            maximum=_bound(node["inputs"].get("max")),
            is_carrier=is_carrier,
            stand_in=LOAD_IMAGE if node["class_type"] == "CPackInputImage" else None,
        )


def outputs(graph: graphs.Graph) -> Iterator[tuple[str, str]]:
    """Name and node of the outputs that somebody has named."""
    for node_id, node in graph.items():
        title = _own_title(node)
        if title is not None and node["class_type"] in OUTPUTS:
            yield title, node_id


def _bound(value: object) -> float | None:
    """A bound that somebody chose; the editor rounds the widest ones, as JavaScript does."""
    number = declared.number_of(value)
    return None if number is None or abs(number) >= WIDEST else number


def _own_title(node: dict[str, Any]) -> str | None:
    title = declared.text_of(graphs.node_title(node))
    return None if title is None or title in GIVEN_TITLES or title == node["class_type"] else title


def _users(graph: graphs.Graph) -> dict[str, str]:
    """By node: the first input that takes what it makes."""
    found: dict[str, str] = {}
    for user in graph.values():
        for field, value in user["inputs"].items():
            if graphs.is_link(value):
                found.setdefault(value[0], field)
    return found


def _name(node: dict[str, Any], user: str | None) -> str:
    """The title; without one, the input that the value goes to; without that, the kind of node."""
    title = _own_title(node)
    if title is not None and declared.name_of(title):
        return title
    return user or node["class_type"].removeprefix(PREFIX).lower()
