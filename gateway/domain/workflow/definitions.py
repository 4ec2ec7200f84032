"""Node classes as the editor sees them: the inputs in order, which of them are widgets, and their defaults.

`gateway.domain.comfy.node_classes` keeps what a worker checks; this keeps what an editor draws. A class is read from
the raw `GET /object_info` when a workflow uses it, so that converting one file never reads all 900.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.domain.comfy import structure

DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
AUTOGROW = "COMFY_AUTOGROW_V3"

#: Types that the editor draws a widget for. Those in the second half come with ComfyUI's own extensions.
WIDGET_TYPES = frozenset({
    "INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "MARKDOWN", "TEXTAREA", "COLOR", "IMAGEUPLOAD", "FILEUPLOAD",
    "TREESELECT", "MULTISELECT", "SELECTBUTTON", "CHART", "GALLERIA", "IMAGECOMPARE", "CURVE", "RANGE", "PAINTER",
    "BOUNDING_BOX", "BOUNDING_BOXES", "COLORS", "COMPOSITOR", DYNAMIC_COMBO,
    "LOAD_3D", "PREVIEW_3D", "WEBCAM", "AUDIO_RECORD", "AUDIO_UI", "AUDIOUPLOAD",
})  # fmt: skip

#: Options that change nothing about what a saved file becomes: bounds, words for people, and lists of files, which come
#: and go. A dynamic combo's list counts, since it names inputs.
_IDLE_OPTIONS = frozenset({
    "options", "min", "max", "step", "round", "tooltip", "display", "display_name", "placeholder", "advanced", "lazy",
    "multiline", "remote",
})  # fmt: skip

SEED_NAMES = frozenset({"seed", "noise_seed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input of a class."""

    name: str
    type: str
    options: Mapping[str, Any]
    section: str = "required"

    @property
    def is_widget(self) -> bool:
        """Whether the editor draws a widget for it."""
        return self.type in WIDGET_TYPES and not self.options.get("forceInput")

    @property
    def is_forced(self) -> bool:
        """Whether it would be a widget, had its author not made it a socket."""
        return self.type in WIDGET_TYPES and bool(self.options.get("forceInput"))

    @property
    def is_controlled(self) -> bool:
        """Whether a second widget follows that says how the value changes after each run."""
        wanted = self.options.get("control_after_generate")
        return bool(wanted) or (wanted is None and self.type == "INT" and self.name in SEED_NAMES)

    @property
    def default(self) -> Any:
        """The value of a new node's widget."""
        if self.type in {"COMBO", DYNAMIC_COMBO}:
            return self._first_choice()
        if "default" in self.options:
            return self.options["default"]
        return {"INT": 0, "FLOAT": 0, "STRING": "", "BOOLEAN": False, "TEXTAREA": "", "MARKDOWN": ""}.get(self.type)

    def _first_choice(self) -> Any:
        if self.type == DYNAMIC_COMBO:
            return next((option.get("key") for option in self._choices() if isinstance(option, dict)), None)
        if "default" in self.options:
            return self.options["default"]
        return next(iter(self._choices()), None)

    def _choices(self) -> Sequence[Any]:
        listed = self.options.get("options")
        return listed if isinstance(listed, list) else ()

    @property
    def variants(self) -> tuple[Any, ...]:
        """The keys of a dynamic combo's variants."""
        chosen = self._choices() if self.type == DYNAMIC_COMBO else ()
        keys = (option.get("key") for option in chosen if isinstance(option, dict))
        return tuple(key for key in keys if not isinstance(key, (list, dict)))

    def variant(self, key: Any) -> tuple[Input, ...]:
        """The inputs that a dynamic combo adds for this choice, named as a graph names them."""
        for option in self._choices():
            if isinstance(option, dict) and option.get("key") == key:
                return tuple(_inputs(option.get("inputs"), {}, prefix=f"{self.name}."))
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One node class."""

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    title: str


class Classes:
    """The classes of one object_info, each read when it is asked for."""

    def __init__(self, info: Mapping[str, Any]) -> None:
        self._info = info
        self._read: dict[str, Definition | None] = {}

    @property
    def shapes(self) -> dict[str, str]:
        """The shapes of all classes that were asked for, by name."""
        return {name: shape(self._info.get(name)) for name in self._read}

    def get(self, name: str) -> Definition | None:
        """The class of this name, or None when it is not described."""
        if name not in self._read:
            self._read[name] = read(name, self._info)
        return self._read[name]

    def names(self) -> Iterable[str]:
        """All names."""
        return self._info


def read(name: str, info: Mapping[str, Any]) -> Definition | None:
    """The class of this name, or None when this object_info does not describe it."""
    entry = info.get(name)
    if not isinstance(entry, Mapping):
        return None
    order = entry.get("input_order")
    outputs = entry.get("output")
    title = entry.get("display_name")
    return Definition(
        name=name,
        inputs=tuple(_inputs(entry.get("input"), order if isinstance(order, dict) else {})),
        outputs=tuple(kind if isinstance(kind, str) else "COMBO" for kind in outputs or ())
        if isinstance(outputs, list)
        else (),
        title=title if isinstance(title, str) and title else name,
    )


def shape(entry: object) -> str:
    """A short name for all that a conversion reads of this class; empty when it is not described."""
    if not isinstance(entry, Mapping):
        return ""
    found = read("", {"": entry})
    text = "" if found is None else repr((found.outputs, [_shown(each) for each in found.inputs]))
    return hashlib.blake2b(text.encode(errors="backslashreplace"), digest_size=8).hexdigest()


def _shown(each: Input, depth: int = 0) -> object:
    options = [(key, _shallow(value, depth)) for key, value in sorted(each.options.items()) if key not in _IDLE_OPTIONS]
    variants: list[object] = []
    if depth < structure.MAX_DEPTH:
        variants.extend((key, [_shown(inner, depth + 1) for inner in each.variant(key)]) for key in each.variants)
    return each.name, each.type, each.section, options, variants


def _shallow(value: Any, depth: int) -> Any:
    """The value as far down as anybody nests: a worker may tell what no `repr` comes to the end of."""
    if not isinstance(value, (list, dict)):
        return value
    if depth >= structure.MAX_DEPTH:
        return ...
    if isinstance(value, list):
        return [_shallow(each, depth + 1) for each in value]
    return {key: _shallow(each, depth + 1) for key, each in value.items()}


def _inputs(sections: Any, order: Mapping[str, Any], *, prefix: str = "") -> Iterator[Input]:
    if not isinstance(sections, Mapping):
        return
    for section in ("required", "optional"):
        fields = sections.get(section)
        if not isinstance(fields, Mapping):
            continue
        listed = order.get(section)
        known = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
        for name in dict.fromkeys(itertools.chain(known, fields)):
            if name in fields:
                yield _input(prefix + name, fields[name], section)


def _input(name: str, entry: Any, section: str) -> Input:
    kind = entry[0] if isinstance(entry, list) and entry else entry
    options = entry[1] if isinstance(entry, list) and len(entry) > 1 and isinstance(entry[1], dict) else {}
    if isinstance(kind, list):
        return Input(name=name, type="COMBO", options={**options, "options": kind}, section=section)
    wanted = options.get("widgetType")
    if isinstance(wanted, str):
        kind = wanted
    return Input(name=name, type=kind if isinstance(kind, str) else "*", options=options, section=section)
