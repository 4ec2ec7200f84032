"""SwarmUI's input nodes: `SwarmInputText`, `SwarmInputInteger`, …, which say everything about their value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from gateway.domain.comfy import graph as graphs
from gateway.domain.templates.dialects import comfy_deploy, declared
from gateway.domain.templates.model import ParameterType

PREFIX: Final = "SwarmInput"
FIELD: Final = "value"

TYPES: Final[dict[str, ParameterType | None]] = {
    "Integer": ParameterType.INTEGER,
    "Float": ParameterType.FLOAT,
    "Text": ParameterType.STRING,
    "Boolean": ParameterType.BOOLEAN,
    "Dropdown": None,
    "ModelName": ParameterType.MODEL,
    "Checkpoint": ParameterType.MODEL,
    "Image": ParameterType.IMAGE,
}
#: Not mere carriers: they load what their value names, and a stock node does the same.
STAND_INS: Final = {
    "Checkpoint": declared.StandIn(class_type="CheckpointLoaderSimple", field="ckpt_name"),
    "Image": declared.StandIn(class_type="LoadImage", field="image", inputs={"image": ""}),
}


def parameters(graph: graphs.Graph) -> Iterator[declared.Declared]:
    """The parameters that SwarmUI's nodes declare."""
    for node_id, node in graph.items():
        kind = node["class_type"].removeprefix(PREFIX)
        inputs: dict[str, Any] = node["inputs"]
        if not node["class_type"].startswith(PREFIX) or kind not in TYPES or graphs.is_link(inputs.get(FIELD)):
            continue
        title = declared.text_of(inputs.get("title")) or graphs.node_title(node)
        is_number = kind in {"Integer", "Float"}
        choices = comfy_deploy.choices_of(inputs.get("values")) if kind == "Dropdown" else ()
        yield declared.Declared(
            name=declared.text_of(inputs.get("raw_id")) or (title or kind).lower(),
            node=node_id,
            field=FIELD,
            type=_type(kind, inputs, choices),
            title=title,
            description=declared.text_of(inputs.get("description")),
            minimum=declared.number_of(inputs.get("min")) if is_number else None,
            maximum=declared.number_of(inputs.get("max")) if is_number else None,
            step=declared.number_of(inputs.get("step")) if is_number else None,
            choices=choices,
            multiline=inputs.get("view_type") == "prompt",
            order=declared.number_of(inputs.get("order_priority")) or 0,
            is_carrier=kind not in STAND_INS,
            stand_in=STAND_INS.get(kind),
        )


def _type(kind: str, inputs: dict[str, Any], choices: tuple[str, ...]) -> ParameterType | None:
    if choices:
        return ParameterType.CHOICE
    return ParameterType.SEED if inputs.get("view_type") == "seed" else TYPES[kind]
