"""ComfyDeploy's external-input nodes: `ComfyUIDeployExternalText` and its siblings, named by their `input_id`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import structure
from gateway.domain.templates.dialects import declared
from gateway.domain.templates.model import ParameterType

PREFIX: Final = "ComfyUIDeployExternal"
DEFAULT: Final = "default_value"

#: Nodes that hand on one value: the input that holds it, and its type (None: what it goes to tells).
CARRIERS: Final[dict[str, tuple[str, ParameterType | None]]] = {
    "Text": (DEFAULT, ParameterType.STRING),
    "TextAny": (DEFAULT, None),
    "Enum": (DEFAULT, ParameterType.CHOICE),
    "Boolean": (DEFAULT, ParameterType.BOOLEAN),
    "Number": (DEFAULT, ParameterType.FLOAT),
    "NumberInt": (DEFAULT, ParameterType.INTEGER),
    "NumberSlider": (DEFAULT, ParameterType.FLOAT),
    "NumberSliderInt": (DEFAULT, ParameterType.INTEGER),
    "Slider": (DEFAULT, ParameterType.FLOAT),
    "Seed": (DEFAULT, ParameterType.SEED),
    "Checkpoint": (DEFAULT, ParameterType.MODEL),
    "Lora": ("default_lora_name", ParameterType.MODEL),
    "FaceModel": ("default_face_model_name", ParameterType.MODEL),
}
#: Nodes that load a file as a stock node does: that node, its input, and the type.
LOADERS: Final[dict[str, tuple[str, str, ParameterType]]] = {
    "Image": ("LoadImage", "image", ParameterType.IMAGE),
    "Audio": ("LoadAudio", "audio", ParameterType.AUDIO),
}
#: Nodes that have no stock twin and take the name of a file.
FILES: Final[dict[str, tuple[str, ParameterType]]] = {
    "Video": (DEFAULT, ParameterType.VIDEO),
    "Vid": (DEFAULT, ParameterType.VIDEO),
    "EXR": ("exr_file", ParameterType.FILE),
}


def parameters(graph: graphs.Graph) -> Iterator[declared.Declared]:
    """The parameters that ComfyDeploy's nodes declare."""
    for node_id, node in graph.items():
        kind = node["class_type"].removeprefix(PREFIX)
        name = declared.text_of(node["inputs"].get("input_id"))
        if node["class_type"].startswith(PREFIX) and name is not None:
            yield from _declared(graph, name, node_id, node["inputs"], kind)


def _declared(
    graph: graphs.Graph, name: str, node_id: str, inputs: dict[str, Any], kind: str
) -> Iterator[declared.Declared]:
    title, about = declared.text_of(inputs.get("display_name")), _description(inputs, kind)
    if kind in LOADERS:
        class_type, field, file_type = LOADERS[kind]
        stock = declared.StandIn(class_type=class_type, field=field, inputs={field: _default_file(graph, inputs)})
        yield declared.Declared(
            name=name, node=node_id, field=field, type=file_type, title=title, description=about, stand_in=stock
        )
        return
    field, value_type = (CARRIERS | FILES).get(kind, ("", None))
    if field not in inputs or graphs.is_link(inputs[field]):
        return
    yield declared.Declared(
        name=name,
        node=node_id,
        field=field,
        type=value_type,
        title=title,
        description=about,
        minimum=declared.number_of(inputs.get("min_value")),
        maximum=declared.number_of(inputs.get("max_value")),
        choices=choices_of(inputs.get("options")) if kind == "Enum" else (),
        multiline=kind == "Text",
        is_carrier=kind in CARRIERS,
    )


def _description(inputs: dict[str, Any], kind: str) -> str | None:
    # The seed's node explains itself in a field meant for the author's words.
    return None if kind == "Seed" else declared.text_of(inputs.get("description"))


def _default_file(graph: graphs.Graph, inputs: dict[str, Any]) -> str:
    """The file that the linked default loads, to be named in the node that stands in."""
    link = inputs.get(DEFAULT)
    source: dict[str, Any] = graph.get(link[0], {}).get("inputs", {}) if graphs.is_link(link) else {}
    names = (source.get(field) for field in ("image", "audio"))
    return next((name for name in names if isinstance(name, str)), "")


def choices_of(options: object) -> tuple[str, ...]:
    """Choices as authors write them: a JSON list, or one a line, or with commas between them."""
    text = declared.text_of(options) or ""
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        listed = text.splitlines() if "\n" in text else text.split(",")
    found = listed if isinstance(listed, list) else [text]
    texts = (str(item).strip() for item in found)
    return tuple(dict.fromkeys(text for text in texts if text and structure.text_complaint(text) is None))
