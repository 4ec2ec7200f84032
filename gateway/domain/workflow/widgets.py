"""The values of a node's widgets, by the names under which a graph sends them.

An editor saves `widgets_values` as a bare list, in the order in which it had drawn the widgets. So the drawing is
repeated here: one widget an input, in the order of the class; a second one behind a seed; those of the chosen variant
behind a dynamic combo; and the buttons that ComfyUI's own extensions add. What the list does not reach keeps its
default.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.domain.workflow import definitions, document

CONTROL = "control_after_generate"
FILTER = "control_filter_list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Widget:
    """One widget as an editor draws it."""

    name: str
    default: Any = None
    saved: bool = True  #: has a place in `widgets_values`
    sent: bool = True  #: is part of the graph
    source: definitions.Input | None = None

    @property
    def is_dynamic(self) -> bool:
        """Whether its value decides which widgets follow."""
        return self.source is not None and self.source.type == definitions.DYNAMIC_COMBO


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A node's widgets with their values."""

    values: Mapping[str, Any]  #: what is sent
    misfit: str | None = None  #: a widget whose value is of another kind, when the list does not fit the class
    count: int = 0  #: places that the widgets have in `widgets_values`


class Drawing:
    """Draws the nodes of one file, each once."""

    def __init__(self, classes: definitions.Classes) -> None:
        self._classes = classes
        self._drawn: dict[int, tuple[document.Node, Mapping[str, Any]]] = {}

    def of(self, node: document.Node) -> Mapping[str, Any]:
        """The values of a node's widgets by name."""
        if id(node) not in self._drawn:
            definition = self._classes.get(node.type)
            values = guessed(node) if definition is None else draw(definition, node.values).values
            self._drawn[id(node)] = (node, values)  # the node is kept, so that its id is not given to another
        return self._drawn[id(node)][1]


def guessed(node: document.Node) -> dict[str, Any]:
    """The values of a class that nobody knows, by what its file says: newer editors save an input for each widget."""
    if isinstance(node.values, Mapping):
        return dict(node.values)
    names = [slot.widget for slot in node.inputs if slot.widget is not None]
    return dict(zip(names, node.values, strict=False)) if len(names) == len(node.values) else {}


def draw(definition: definitions.Definition, saved: Sequence[Any] | Mapping[str, Any]) -> Drawn:
    """The widgets of a node of this class, filled with what was saved."""
    if isinstance(saved, Mapping):
        return _draw(definition, _ByName(saved))
    return _draw(definition, _InOrder(_without_forced(definition, saved)))


class _InOrder:
    """Values taken from the list that an editor saved."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values
        self.taken = 0

    def take(self, widget: Widget) -> Any:
        place, self.taken = self.taken, self.taken + 1
        return self.values[place] if place < len(self.values) else widget.default

    @property
    def rest(self) -> int:
        return max(len(self.values) - self.taken, 0)


class _ByName:
    """Values looked up by name, as some node packs save them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        self.taken = 0
        self.rest = 0

    def take(self, widget: Widget) -> Any:
        return self.values.get(widget.name, widget.default)


def _draw(definition: definitions.Definition, saved: _InOrder | _ByName) -> Drawn:
    values: dict[str, Any] = {}
    todo = deque(_widgets(definition))
    while todo:
        widget = todo.popleft()
        value = saved.take(widget) if widget.saved else widget.default
        if widget.sent:
            values[widget.name] = value
        if widget.is_dynamic and widget.source is not None:
            todo.extendleft(reversed([each for one in widget.source.variant(value) for each in _of_input(one)]))
        if widget.name == "index" and definition.name == "CustomCombo":
            todo.extend(Widget(name=f"option{number}", default="") for number in range(1, saved.rest + 1))
    return Drawn(values=values, count=saved.taken)


def _widgets(definition: definitions.Definition) -> Iterator[Widget]:
    required = [each for each in definition.inputs if each.section == "required"]
    for each in required:
        yield from _of_input(each)
    yield from _additions(definition, required)
    for each in definition.inputs:
        if each.section != "required":
            yield from _of_input(each)


def _of_input(each: definitions.Input) -> Iterator[Widget]:
    if not each.is_widget:
        return
    if each.type == "IMAGECOMPARE":
        yield Widget(name=each.name, default=["", ""], saved=False)
        return
    if each.type == "LOAD_3D":
        for button, label in _LOAD_3D_BUTTONS:
            yield Widget(name=button, default=label)
    yield Widget(name=each.name, default=each.default, source=each)
    if each.is_controlled:
        yield Widget(name=CONTROL, sent=False)
        if each.type == "COMBO":
            yield Widget(name=FILTER, sent=False)


_LOAD_3D_BUTTONS = (
    ("upload 3d model", "upload3dmodel"),
    ("upload extra resources", "uploadExtraResources"),
    ("clear", "clear"),
)
_WITH_3D_PREVIEW = frozenset({"Preview3D", "Preview3DAnimation", "SaveGLB"})


def _additions(definition: definitions.Definition, required: Sequence[definitions.Input]) -> Iterator[Widget]:
    """What ComfyUI's own extensions add behind the required inputs of a class."""
    if definition.name == "CustomCombo":
        yield Widget(name="index", default=0)
    if definition.name in _WITH_3D_PREVIEW:
        yield Widget(name="image", default="")
    for each in required:
        if each.options.get("audio_upload"):
            yield Widget(name="audioUI", sent=False)
            yield Widget(name="upload", sent=False)
        elif each.options.get("image_upload") or each.options.get("video_upload"):
            yield Widget(name="upload", sent=False)


def _without_forced(definition: definitions.Definition, saved: Sequence[Any]) -> Sequence[Any]:
    """Values of inputs that became sockets after the file was saved are left out, where the list shows that it has
    them: it is as long as it would be with all of them."""
    marks: list[bool] = []
    for each in definition.inputs:
        if each.is_widget or each.is_forced:
            marks.append(each.is_forced)
            marks.extend([False] if each.is_controlled else ())
    if any(marks) and len(marks) == len(saved):
        return [value for value, forced in zip(saved, marks, strict=True) if not forced]
    return saved
