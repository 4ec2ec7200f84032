"""Node classes as `GET /object_info` describes them, kept small.

Both formats are read: a list of choices in the type's place, and `["COMBO", {"options": …}]` with the dynamic
inputs of newer nodes. Equal values are kept once, since lists of samplers and files repeat in dozens of
classes: the 887 classes of a stock 0.33.0 take about 0.7 MB. What is malformed becomes an input that nothing
is known about.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from gateway.domain.comfy import structure
from gateway.domain.workflow import definitions

COMBO = "COMBO"
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
WILDCARD = "*"

STOCK_MODULES = ("nodes", "comfy_extras", "comfy_api_nodes")
UPLOAD_FLAGS: Mapping[str, str] = {
    "image_upload": "image",
    "animated_image_upload": "image",
    "audio_upload": "audio",
    "video_upload": "video",
    "file_upload": "file",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """One input of a node class."""

    type: str  #: `COMBO` when it has choices
    required: bool
    #: None also when the worker's own list says nothing: of uploads, and lists that the editor fetches
    choices: tuple[Any, ...] | None = None
    default: str | float | bool | None = None
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    upload: str | None = None  #: image, mask, audio, video or file
    multiline: bool = False
    multiselect: bool = False
    control_after_generate: bool = False  #: the editor draws a new value for each run: a seed
    variants: Variants = ()  #: of a dynamic combo, by key


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeClass:
    """One node class as a worker describes it."""

    name: str
    inputs: Mapping[str, InputSpec]
    outputs: tuple[str, ...]
    is_output: bool
    is_stock: bool
    module: str
    shape: str = ""  #: a short name for what an editor draws of it


Variants = tuple[tuple[str, tuple[tuple[str, InputSpec], ...]], ...]


def read(info: Mapping[str, Any]) -> dict[str, NodeClass]:
    """The classes of this object_info by name; entries that are no objects are left out."""
    reader = _Reader()
    return {name: reader.node_class(name, entry) for name, entry in info.items() if isinstance(entry, dict)}


class _Reader:
    """Reads one object_info; remembers what it has seen to keep equal values once."""

    def __init__(self) -> None:
        self._seen: dict[Any, Any] = {}

    def node_class(self, name: str, entry: Mapping[str, Any]) -> NodeClass:
        outputs = entry.get("output")
        listed = outputs if isinstance(outputs, list) else []
        types = [kind if isinstance(kind, str) else COMBO for kind in listed]
        module = entry.get("python_module")
        module = module if isinstance(module, str) else ""
        only_mask = bool(types) and set(types) == {"MASK"}
        return NodeClass(
            name=name,
            inputs=dict(self._inputs(entry.get("input"), only_mask=only_mask, owner=name)),
            outputs=self._once(tuple(types)),
            is_output=entry.get("output_node") is True,
            is_stock=module.split(".")[0] in STOCK_MODULES,
            module=self._once(module),
            shape=definitions.shape(entry),
        )

    def _inputs(self, sections: Any, *, only_mask: bool, owner: str) -> Iterator[tuple[str, InputSpec]]:
        if not isinstance(sections, dict):
            return
        for section in ("required", "optional"):
            fields = sections.get(section)
            for field, entry in fields.items() if isinstance(fields, dict) else ():
                spec = self._spec(entry, required=section == "required")
                kind = structure.UPLOAD_INPUTS.get((owner, field)) or spec.upload
                if kind is not None:
                    kind = "mask" if only_mask and kind == "image" else kind
                    spec = dataclasses.replace(spec, choices=None, upload=kind)
                yield self._once(field), self._once(spec)

    def _spec(self, entry: Any, *, required: bool) -> InputSpec:
        kind, options = _kind_and_options(entry)
        choices = kind if isinstance(kind, list) else options.get("options") if kind == COMBO else None
        if "remote" in options or not isinstance(choices, list):
            choices = None
        return InputSpec(
            type=self._once(kind) if isinstance(kind, str) else COMBO,
            required=required,
            choices=self._once(tuple(map(_hashable, choices))) if choices is not None else None,
            default=_scalar(options.get("default")),
            minimum=_number(options.get("min")),
            maximum=_number(options.get("max")),
            step=_number(options.get("step")),
            upload=next((kind for flag, kind in UPLOAD_FLAGS.items() if options.get(flag)), None),
            multiline=options.get("multiline") is True,
            multiselect=bool(options.get("multiselect")) or "multi_select" in options,
            control_after_generate=bool(options.get("control_after_generate")),
            variants=self._variants(options) if kind == DYNAMIC_COMBO else (),
        )

    def _variants(self, options: Mapping[str, Any]) -> Variants:
        listed = options.get("options")
        return tuple(
            (str(option.get("key")), tuple(self._inputs(option.get("inputs"), only_mask=False, owner="")))
            for option in (listed if isinstance(listed, list) else ())
            if isinstance(option, dict)
        )

    def _once(self, value: T) -> T:
        # Not by equality: 1, 1.0 and True are equal, and not the same choice.
        return self._seen.setdefault((type(value), value if isinstance(value, str) else repr(value)), value)


def _kind_and_options(entry: Any) -> tuple[Any, Mapping[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    if not isinstance(entry, list) or not entry or not isinstance(entry[0], (str, list)):
        return WILDCARD, {}
    options = entry[1] if len(entry) > 1 and isinstance(entry[1], dict) else {}
    return entry[0], options


def _hashable(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def _scalar(value: Any) -> str | float | bool | None:
    return value if isinstance(value, (str, int, float, bool)) else None


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
