"""Where a value comes from: the literal behind an input, through the nodes that only carry, choose or join values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.domain.comfy import graph as graphs
from gateway.domain.templates.model import Target

#: Nodes that hand a value on: which input to follow. Switches and joiners have rules of their own.
CARRIED: Final = (
    "value", "text", "string", "prompt", "source", "input", "any", "anything", "string_a", "int", "float", "number",
    "seed", "noise_seed", "text_a", "text1", "any_01", "high_level_description", "", "*",
)  # fmt: skip
TEXT_JOINERS: Final[Mapping[str, tuple[str, ...]]] = {
    "StringConcatenate": ("string_a", "string_b"),
    "JoinStrings": ("string1", "string2"),
    "Text Concatenate": ("text_a", "text_b", "text_c", "text_d"),
    "JWStringConcat": ("a", "b"),
}
#: Nodes that work out a number: what goes into them is not the number that comes out.
COMPUTES: Final = ("Math", "Expression", "Calc", "GetImageSize", "Convert", "Resolution")
#: Of these, the ones that change one number into another, as to a multiple of 16: the number before is a person's.
ROUNDERS: Final = ("Math", "Expression")
PRIMITIVE: Final = "Primitive"
#: Nodes that write text themselves, from instructions.
WRITERS: Final = ("TextGenerate", "GeminiNode", "Claude", "OpenAIChat", "LLM", "Ollama", "OpenRouter")
#: Placeholders in a template that a person's words replace.
PERSONS_PLACES: Final = ("prompt", "caption", "text", "input", "subject", "user", "description")
#: Words in a node's title that tell whose text it holds.
MACHINES_TITLES: Final = ("system", "template", "instruction", "rewrite")
MACHINES_WORDS: Final = ("you are ", "<start_of_turn>", "<|im_start|>")  #: how instructions to a language model begin
PERSONS_TITLES: Final = ("user", "your ")

#: What a fixed beginning ends with, before the words of a person follow.
BEGINNINGS: Final = (" ", ",", ":", ";", "，", "：", "\n")

MAX_PLACES: Final = 2_000


@dataclass(frozen=True, slots=True)
class _Place:
    """An input on the way up, and what lies between."""

    target: Target
    is_written: bool = False  #: a node that writes text itself
    is_off: bool = False  #: a switch that is set to its other input


class Origins:
    """The literals of one graph."""

    def __init__(self, graph: graphs.Graph) -> None:
        self.graph = graph
        self.steps = 0  #: taken so far, by whoever walks this graph
        self._texts: dict[tuple[str, str], Target | None] = {}

    def number(self, node: str, field: str) -> Target | None:
        """The input that holds the number which reaches this one, if some input does."""
        places = self._places(node, field)
        return next((each.target for each in places if not each.is_off and is_number(self._value(each.target))), None)

    def text(self, node: str, field: str) -> Target | None:
        """The input that holds the text which reaches this one: of several, the one that a person writes."""
        if (node, field) not in self._texts:
            found = [each for each in self._places(node, field) if isinstance(self._value(each.target), str)]
            self._texts[node, field] = min(found, key=self._strangeness).target if found else None
        return self._texts[node, field]

    def selector(self, node: str, field: str) -> str | None:
        """The node whose list of shapes a width or height is worked out from."""
        for each in self._places(node, field, through_rounders=True):
            if isinstance(self.graph[each.target.node]["inputs"].get("aspect_ratio"), str):
                return each.target.node
        return None

    def titled(self, node: str, field: str, words: tuple[str, ...]) -> Target | None:
        """The primitive with one of these words in its title that a computed number is worked out from."""
        seen: set[str] = set()
        todo = [self.graph[node]["inputs"].get(field)]
        while todo:
            value = todo.pop()
            source = value[0] if graphs.is_link(value) else None
            if source is None or source in seen:
                continue
            seen.add(source)
            title = (graphs.node_title(self.graph[source]) or "").casefold()
            inputs, class_type = self.graph[source]["inputs"], self.graph[source]["class_type"]
            if is_number(inputs.get("value")) and any(word in title for word in words):
                return Target(source, "value")
            if any(word in class_type for word in (*ROUNDERS, PRIMITIVE)):
                todo.extend(inputs.values())
        return None

    def switched(self, node: str) -> tuple[str | None, list[str]] | None:
        """The input that a switch is known to hand on, and all that it could; None for all other nodes."""
        inputs = self.graph[node]["inputs"]
        if not {"on_true", "on_false"} & inputs.keys():
            return None
        state = inputs.get("switch")
        if graphs.is_link(state):
            state = self.graph[state[0]]["inputs"].get("value")
        on = {True: "on_true", False: "on_false"}[state] if isinstance(state, bool) else None
        return on, ["on_true", "on_false"] if state is True else ["on_false", "on_true"]

    def _value(self, place: Target) -> Any:
        return self.graph[place.node]["inputs"].get(place.input)

    def _strangeness(self, place: _Place) -> int:
        """How unlikely it is that a person writes this text for this input."""
        title = (graphs.node_title(self.graph[place.target.node]) or "").casefold()
        is_machines = self._value(place.target).lstrip()[:20].casefold().startswith(MACHINES_WORDS)
        if any(word in title for word in MACHINES_TITLES):
            return 8 + is_machines
        is_named = any(word in title for word in PERSONS_TITLES)
        return 4 * is_machines + 2 * place.is_written + place.is_off + 2 * (not is_named)

    def _places(self, node: str, field: str, *, through_rounders: bool = False) -> Iterator[_Place]:
        """The literal inputs that are met on the way up, the likeliest first."""
        seen: set[_Place] = set()
        todo = [_Place(Target(node, field))]
        while todo and len(seen) < MAX_PLACES:
            place = todo.pop()
            if place in seen:
                continue
            seen.add(place)
            self.steps += 1
            value = self._value(place.target)
            if graphs.is_link(value):
                onward = list(self._onward(place, value[0], through_rounders=through_rounders))
                todo.extend(reversed(onward))
            else:
                yield place

    def _onward(self, place: _Place, source: str, *, through_rounders: bool) -> Iterator[_Place]:
        """The inputs of this node that may be what it hands on to this place."""
        node = self.graph[source]
        is_written = place.is_written or any(word in node["class_type"] for word in WRITERS)
        if through_rounders and "aspect_ratio" in node["inputs"]:
            yield _Place(Target(source, "aspect_ratio"), is_written, place.is_off)
        switched = self.switched(source)
        on = switched[0] if switched is not None else None
        fields = self._carried(source, through_rounders=through_rounders) if switched is None else switched[1]
        for field in fields:
            if field in node["inputs"]:
                yield _Place(Target(source, field), is_written, place.is_off or (on is not None and field != on))

    def _carried(self, node: str, *, through_rounders: bool) -> list[str]:
        """The inputs that a node's output may be, the likeliest first."""
        inputs = self.graph[node]["inputs"]
        class_type = self.graph[node]["class_type"]
        if any(word in class_type for word in COMPUTES):
            return self._rounded(node, through_rounders=through_rounders)
        if class_type in TEXT_JOINERS:
            parts = [field for field in TEXT_JOINERS[class_type] if field in inputs]
            return sorted(parts, key=lambda field: _lateness(inputs[field]))
        find = inputs.get("find", inputs.get("regex_pattern"))
        if isinstance(find, str) and {"replace", "string"} <= inputs.keys():
            return _replaced(find, inputs["string"])
        return [*CARRIED]

    def _rounded(self, node: str, *, through_rounders: bool) -> list[str]:
        """The one number that a formula is of, where a person writes that number into a primitive."""
        node_inputs = self.graph[node]["inputs"]
        if not any(word in self.graph[node]["class_type"] for word in ROUNDERS):
            return []
        linked = [field for field, value in node_inputs.items() if graphs.is_link(value)]
        if len(linked) != 1 or any(is_number(value) for value in node_inputs.values()):
            return []
        source = self.graph[node_inputs[linked[0]][0]]["class_type"]
        return linked if through_rounders or source.startswith(PRIMITIVE) else []


def _lateness(part: object) -> int:
    """Of texts that are joined: what is linked is a person's, then what is whole, and beginnings come last."""
    if graphs.is_link(part):
        return 0
    return 2 if isinstance(part, str) and (not part or part.endswith(BEGINNINGS)) else 1


def _replaced(find: str, template: object) -> list[str]:
    """Of a template: what a person's placeholder is replaced by, then the template where it has other placeholders."""
    is_persons = any(word in find.casefold() for word in PERSONS_PLACES)
    return ["replace", *(["string"] if graphs.is_link(template) else [])] if is_persons else ["string"]


def is_number(value: object) -> bool:
    """Whether this is a number as JSON has them."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
