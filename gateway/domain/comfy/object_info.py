"""What one ComfyUI can run: its `GET /object_info`, kept small, and graphs checked against it.

The checks follow ComfyUI's own validation with its leniencies (recorded in `05_validation_errors`): a float
for an integer is truncated, a numeric string is a number, an unknown input is ignored, a literal where a link
belongs passes, and a graph of which one output can run is accepted. Where a node may have validation of its
own we say nothing: custom node packs are checked for missing classes, inputs and model files only, never for
ranges, choices or link types. A false refusal is worse than a late one.

A catalog is immutable; workers with the same `digest` can share one.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import node_classes, structure

MATCH_TYPE = "COMFY_MATCHTYPE_V3"
NUMBERS = frozenset({"INT", "FLOAT"})
#: How alike two names must be for one to be suggested (difflib's ratio). `IPAdapterAdvanced` and `KSamplerAdvanced`
#: share 0.73, and are different things.
_ALIKE = 0.8
_ALIKE_STEMS = 0.75
_SOMEWHAT_ALIKE = 0.6
_LONGEST = 200  #: characters of a wrong name that are compared
_MAX_HINTS = 20  #: looking for near names takes its time; a report with more of them helps nobody
NO_OUTPUTS = "The workflow has no node that makes an output, such as SaveImage."


class NodeCatalog:
    """All node classes of one ComfyUI; fulfils `graph.NodeFacts`."""

    def __init__(self, classes: Mapping[str, node_classes.NodeClass]) -> None:
        self.classes = classes
        self._definitions: dict[str, str] = {}  #: digests, as they are asked for

    @classmethod
    def parse(cls, info: Mapping[str, Any]) -> NodeCatalog:
        """The catalog that this `GET /object_info` describes; a class that makes no sense has no known
        inputs."""
        classes = node_classes.read(info)
        if info and not classes:
            raise errors.WorkerFault("The answer is not an object_info: no entry describes a node class.")
        return cls(classes)

    def __contains__(self, class_type: object) -> bool:
        return class_type in self.classes

    def __len__(self) -> int:
        return len(self.classes)

    @cached_property
    def digest(self) -> str:
        """A short name for this content, equal wherever the content is equal."""
        digest = hashlib.blake2b(digest_size=16)
        for name in sorted(self.classes):
            digest.update(repr(self.classes[name]).encode(errors="backslashreplace"))
        return digest.hexdigest()

    def input(self, class_type: str, field: str) -> node_classes.InputSpec | None:
        """What is known about an input; `model.height` finds an input inside a dynamic combo."""
        node_class = self.classes.get(class_type)
        if node_class is None:
            return None
        return node_class.inputs.get(field) or _nested(node_class.inputs, field)

    def choices(self, class_type: str, field: str) -> tuple[Any, ...] | None:
        """What this input offers, model files included; None when it has no list."""
        spec = self.input(class_type, field)
        return spec.choices if spec is not None else None

    def is_output(self, class_type: str) -> bool | None:
        """Whether ComfyUI runs this class for its own sake; None when the class is unknown."""
        node_class = self.classes.get(class_type)
        return node_class.is_output if node_class is not None else None

    def upload_kind(self, class_type: str, field: str) -> str | None:
        """What kind of uploaded file this input names, or None."""
        spec = self.input(class_type, field)
        return spec.upload if spec is not None else None

    def definition(self, class_type: str) -> str:
        """A short name for how this class is defined here; empty when it is not."""
        known = self._definitions.get(class_type)
        if known is None:
            node_class = self.classes.get(class_type)
            text = "" if node_class is None else repr(node_class)
            known = hashlib.blake2b(text.encode(errors="backslashreplace"), digest_size=8).hexdigest() if text else ""
            self._definitions[class_type] = known
        return known

    def can_run(self, needs: graphs.Requirements) -> bool:
        """Whether nothing of these requirements is missing here, and nothing here is known to refuse the graph."""
        if not needs.classes <= self.classes.keys():
            return False
        if any(self.definition(class_type) == digest for class_type, digest in needs.unfit):
            return False
        return not any(self.lacks_model(*model) for model in needs.models)

    def lacks(self, needs: graphs.Requirements) -> tuple[errors.Fault, ...]:
        """What of these requirements is missing here: node classes and model files, with the nearest that is
        there."""
        missing = sorted(needs.classes - self.classes.keys())
        models = sorted(model for model in needs.models if self.lacks_model(*model))
        return (
            *(self._missing_class(class_type, hint=at < _MAX_HINTS) for at, class_type in enumerate(missing)),
            *(self._missing_model(*model, hint=at < _MAX_HINTS) for at, model in enumerate(models)),
        )

    def check(self, graph: graphs.Graph, *, partial: bool = True) -> tuple[errors.Fault, ...]:
        """What ComfyUI would refuse about this graph, each with node and field.

        With `partial`, as for ComfyUI itself, a graph of which at least one output can run is fine; without
        it, whatever is wrong with any node that an output depends on is told.
        """
        unknown = tuple(itertools.islice(self._unknown(graph), structure.MAX_FAULTS))
        outputs = graphs.output_nodes(graph, self)
        if not unknown and not outputs:
            return (errors.Fault(reason="prompt_no_outputs", message=NO_OUTPUTS),)
        reached = graphs.upstream(graph, outputs)
        hints = itertools.count()
        checked = (self._node_faults(graph, node_id, hints) for node_id in graph if node_id in reached)
        faults = list(itertools.chain.from_iterable(checked))
        if partial and not unknown and faults and _some_output_runs(graph, outputs, faults):
            return ()
        return (*unknown, *faults)[: structure.MAX_FAULTS]

    def _unknown(self, graph: graphs.Graph) -> Iterator[errors.Fault]:
        """The nodes of classes that are not here. Each class is looked for once."""
        told: dict[str, errors.Fault] = {}
        for node_id, node in graph.items():
            class_type = node["class_type"]
            if class_type in self.classes:
                continue
            if class_type not in told:
                told[class_type] = self._missing_class(class_type, hint=len(told) < _MAX_HINTS)
            yield dataclasses.replace(told[class_type], node=node_id)

    def lacks_model(self, class_type: str, field: str, file: str) -> bool:
        """Whether this input has a list, and this file is not in it."""
        choices = self.choices(class_type, field)
        return choices is not None and file not in choices

    def _missing_class(self, class_type: str, *, hint: bool) -> errors.Fault:
        near = near_class(class_type, self.classes) if hint else ""
        message = f"No node class {class_type!r} here; the custom node may not be installed.{near}"
        return errors.Fault(reason="missing_node_type", message=message, class_type=class_type)

    def _missing_model(self, class_type: str, field: str, file: str, *, hint: bool) -> errors.Fault:
        near = near_file(file, self.choices(class_type, field) or ()) if hint else ""
        message = f"The model file {file!r} is not there.{near}"
        return errors.Fault(reason="missing_model", message=message, class_type=class_type, field=field)

    def _node_faults(self, graph: graphs.Graph, node_id: str, hints: Iterator[int]) -> Iterator[errors.Fault]:
        node = graph[node_id]
        node_class = self.classes.get(node["class_type"])
        if node_class is None:
            return
        inputs = node["inputs"]
        for field, spec in _expected(node_class.inputs.items(), inputs, ""):
            place = structure.Place(node_id, node_class.name, field)
            if field not in inputs:
                if spec.required and not spec.type.startswith("COMFY_"):
                    yield place.fault("required_input_missing", f"The input {field!r} is required.")
            elif isinstance(inputs[field], list):
                yield from self._link_faults(graph, place, spec, node_class)
            else:
                yield from _literal_faults(place, spec, inputs[field], hints, is_stock=node_class.is_stock)

    def _link_faults(
        self, graph: graphs.Graph, place: structure.Place, spec: node_classes.InputSpec, target: node_classes.NodeClass
    ) -> Iterator[errors.Fault]:
        link = graph[place.node]["inputs"][place.field or ""]
        if not structure.is_link(link) or link[0] not in graph:
            yield place.fault("bad_linked_input", 'A link is ["id of a node", number of its output].')
            return
        source = self.classes.get(graph[link[0]]["class_type"])
        if source is None:
            return
        if link[1] >= len(source.outputs):
            if source.is_stock:
                yield place.fault("bad_link_slot", _no_such_slot(source, link[0], link[1]))
        elif target.is_stock and not types_match(source.outputs[link[1]], spec.type):
            message = (
                f"Needs {spec.type}; output {link[1]} of node {link[0]} ({source.name}) is {source.outputs[link[1]]}."
            )
            yield place.fault("return_type_mismatch", message)


def near_class(wrong: str, known: Iterable[str]) -> str:
    """A sentence that suggests a class of nearly this name, or nothing."""
    return _suggestion(nearest_class(wrong, known))


def near_file(wrong: str, known: Iterable[Any]) -> str:
    """A sentence that suggests a model file of nearly this name, or nothing."""
    return _suggestion(nearest_file(wrong, known))


def near_choice(wrong: str, known: Iterable[Any]) -> str:
    """A sentence that suggests the nearest of a list's choices, or nothing."""
    return _suggestion(nearest_choice(wrong, known))


def nearest_class(wrong: str, known: Iterable[str]) -> str | None:
    """A class of nearly this name."""
    return _nearest(wrong.lower(), {name.lower(): name for name in known}, cutoff=_ALIKE)


def nearest_file(wrong: str, known: Iterable[Any], *, cutoff: float = _ALIKE_STEMS) -> str | None:
    """A model file of nearly this name; folder and ending do not count, which would make any two short names alike."""
    return _nearest(_stem(wrong), {_stem(file): file for file in known if isinstance(file, str)}, cutoff=cutoff)


def nearest_choice(wrong: str, known: Iterable[Any], *, cutoff: float = _SOMEWHAT_ALIKE) -> str | None:
    """The choice of a list that is nearest to this."""
    return _nearest(wrong, {text: text for text in known if isinstance(text, str)}, cutoff=cutoff)


def _nearest(wrong: str, known: Mapping[str, str], *, cutoff: float) -> str | None:
    found = difflib.get_close_matches(wrong[:_LONGEST], known, n=1, cutoff=cutoff)
    return known[found[0]] if found else None


def _suggestion(nearest: str | None) -> str:
    return "" if nearest is None else f" Did you mean {nearest!r}?"


def _stem(file: str) -> str:
    name = file.replace("\\", "/").rpartition("/")[2].lower()
    return name.rpartition(".")[0] or name


def types_match(made: str, wanted: str) -> bool:
    """Whether ComfyUI lets an output of type `made` into an input of type `wanted`; either may be a list
    `A,B`."""
    if made == wanted or {made, wanted} & {MATCH_TYPE, node_classes.COMBO} or wanted.startswith("COMFY_"):
        return True
    made_types = {word.strip() for word in made.split(",")}
    wanted_types = {word.strip() for word in wanted.split(",")}
    return node_classes.WILDCARD in made_types | wanted_types or not made_types.isdisjoint(wanted_types)


def _no_such_slot(source: node_classes.NodeClass, node: str, slot: int) -> str:
    count = len(source.outputs)
    return f"Linked to output {slot} of node {node} ({source.name}), which has {count} (counted from 0)."


def _some_output_runs(graph: graphs.Graph, outputs: Sequence[str], faults: Iterable[errors.Fault]) -> bool:
    users: dict[str, list[str]] = {}
    for node_id, node in graph.items():
        for source in structure.linked_nodes(node["inputs"]):
            users.setdefault(source, []).append(node_id)
    tainted: set[str] = set()
    todo = [fault.node for fault in faults if fault.node is not None]
    while todo:
        node_id = todo.pop()
        if node_id not in tainted:
            tainted.add(node_id)
            todo.extend(users.get(node_id, ()))
    return any(output not in tainted for output in outputs)


def _expected(
    specs: Iterable[tuple[str, node_classes.InputSpec]], inputs: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, node_classes.InputSpec]]:
    """The inputs that a node has, those of the chosen variants of its dynamic combos included."""
    for name, spec in specs:
        field = prefix + name
        yield field, spec
        chosen = inputs.get(field)
        if spec.variants and isinstance(chosen, str):
            yield from _expected(dict(spec.variants).get(chosen, ()), inputs, f"{field}.")


def _nested(specs: Mapping[str, node_classes.InputSpec], field: str) -> node_classes.InputSpec | None:
    head, dot, rest = field.partition(".")
    spec = specs.get(head)
    if not dot or spec is None:
        return None
    for _key, members in spec.variants:
        inside = dict(members)
        found = inside.get(rest) or _nested(inside, rest)
        if found is not None:
            return found
    return None


def _literal_faults(
    place: structure.Place, spec: node_classes.InputSpec, value: Any, hints: Iterator[int], *, is_stock: bool
) -> Iterator[errors.Fault]:
    """`hints` counts those that were given: near names are looked for a few times only."""
    if structure.is_asset_reference(value) or (isinstance(value, dict) and "__value__" in value):
        return
    if spec.type in NUMBERS:
        number = as_number(spec.type, value)
        if number is None:
            yield place.fault("invalid_input_type", f"{shown(value)} is no {spec.type}.")
        elif is_stock:
            yield from _range_faults(place, spec, number)
    elif is_stock and spec.choices and not spec.multiselect and value not in spec.choices:
        hint = ""
        if isinstance(value, str) and next(hints) < _MAX_HINTS:
            hint = _near_value(place.field, value, spec.choices)
        yield place.fault("value_not_in_list", f"{shown(value)} is not among the choices.{hint}")


def _near_value(field: str | None, value: str, choices: Iterable[Any]) -> str:
    is_file = graphs.is_model_file(field or "", value)
    return near_file(value, choices) if is_file else near_choice(value, choices)


def as_number(kind: str, value: Any) -> float | None:
    """The number that ComfyUI makes of a value for an INT or FLOAT input, or None where it gives up."""
    try:
        return int(value) if kind == "INT" else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _range_faults(place: structure.Place, spec: node_classes.InputSpec, value: float) -> Iterator[errors.Fault]:
    if spec.minimum is not None and value < spec.minimum:
        yield place.fault("value_smaller_than_min", f"{value} is smaller than the minimum of {spec.minimum}.")
    if spec.maximum is not None and value > spec.maximum:
        yield place.fault("value_bigger_than_max", f"{value} is bigger than the maximum of {spec.maximum}.")


def shown(value: object) -> str:
    """A value as a message shows it: short, and without characters that a terminal would act on."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
