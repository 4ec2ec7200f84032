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
    def is_choice(self) -> bool:
        """Whether it is a list to choose from, which shows its first choice where nothing is chosen."""
        return self.source is not None and self.source.type in {"COMBO", definitions.DYNAMIC_COMBO}

    @property
    def is_dynamic(self) -> bool:
        """Whether its value decides which widgets follow."""
        return self.source is not None and self.source.type == definitions.DYNAMIC_COMBO


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A saved value of another kind than its widget, in a list that is longer or shorter than the class asks for."""

    widget: str
    value: Any
    saved: int  #: how many values the file has
    wanted: int  #: how many the class has places for


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A node's widgets with their values."""

    values: Mapping[str, Any]  #: what is sent
    misfit: Misfit | None = None
    prompts: frozenset[str] = frozenset()  #: widgets whose text may have choices and comments


class Drawing:
    """Draws the nodes of one file, each once."""

    def __init__(self, classes: definitions.Classes) -> None:
        self._classes = classes
        self._drawn: dict[int, tuple[document.Node, Drawn]] = {}

    def of(self, node: document.Node) -> Drawn:
        """A node's widgets with their values."""
        if id(node) not in self._drawn:
            definition = self._classes.get(node.type)
            drawn = Drawn(values=_guessed(node)) if definition is None else draw(definition, node.values)
            self._drawn[id(node)] = (node, drawn)  # the node is kept, so that its id is not given to another
        return self._drawn[id(node)][1]


def _guessed(node: document.Node) -> dict[str, Any]:
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
        self.rest = 0

    def take(self, widget: Widget) -> Any:
        return self.values.get(widget.name, widget.default)


def _draw(definition: definitions.Definition, saved: _InOrder | _ByName) -> Drawn:
    values: dict[str, Any] = {}
    prompts: set[str] = set()
    wrong: tuple[str, Any] | None = None
    todo = deque(_widgets(definition))
    while todo:
        widget = todo.popleft()
        value = saved.take(widget) if widget.saved else widget.default
        if value is None and widget.is_choice:
            value = widget.default
        if widget.sent:
            values[widget.name] = value
        if widget.source is not None and widget.source.options.get("dynamicPrompts"):
            prompts.add(widget.name)
        if wrong is None and not _fits(widget, value):
            wrong = (widget.name, value)
        if widget.is_dynamic and widget.source is not None:
            todo.extendleft(reversed([each for one in widget.source.variant(value) for each in _of_input(one)]))
        if widget.name == "index" and definition.name == "CustomCombo":
            todo.extend(Widget(name=f"option{number}", default="") for number in range(1, saved.rest + 1))
    if wrong is None or isinstance(saved, _ByName) or saved.taken == len(saved.values):
        return Drawn(values=values, prompts=frozenset(prompts))
    misfit = Misfit(widget=wrong[0], value=wrong[1], saved=len(saved.values), wanted=saved.taken)
    return Drawn(values=values, misfit=misfit, prompts=frozenset(prompts))


_KINDS: Mapping[str, tuple[type, ...]] = {
    "INT": (int, float),
    "FLOAT": (int, float),
    "BOOLEAN": (bool,),
    "STRING": (str,),
    "COMBO": (str, int, float, bool),
}


def _fits(widget: Widget, value: Any) -> bool:
    """Whether a value is of its widget's kind; a widget without a value is as its default left it."""
    kind = None if widget.source is None else widget.source.type
    if value is None or kind is None or kind not in _KINDS or value == widget.default:
        return True
    is_number = kind in {"INT", "FLOAT"}
    return isinstance(value, _KINDS[kind]) and not (is_number and isinstance(value, bool))


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
