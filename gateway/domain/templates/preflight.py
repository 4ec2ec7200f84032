"""Would this worker run this template? Checked with the template's defaults against what the worker tells of itself.

Node classes, input names, types, ranges, choices, links between outputs and inputs, and model files. What callers give
is not judged: inputs that a required parameter sets, and files that are uploaded for the job. A worker that fails here
may still run an order with other values (another model); each order is checked on its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info, structure
from gateway.domain.templates import model

_MAX_NEAREST: Final = 50  #: findings that come with the nearest valid value: to find it takes its time
Value = str | int | float | bool
Wanted = tuple[str, str, str]  #: class, input and file


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that a worker would refuse, and the nearest value that it takes there, where there is one."""

    fault: errors.Fault
    nearest: Value | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON of the finding."""
        pairs = self.fault.as_dict()
        return pairs if self.nearest is None else {**pairs, "nearest": self.nearest}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of checking a template against one worker. `findings` None: the worker has told nothing yet."""

    worker: str
    findings: tuple[Finding, ...] | None

    @property
    def passes(self) -> bool | None:
        """Whether it would run the template as it is."""
        return None if self.findings is None else not self.findings


def of_all(steps: Sequence[Sequence[Verdict]]) -> tuple[Verdict, ...]:
    """Of several templates in a row, which may run on different workers: what stands against a step counts only where
    no worker would run that step."""
    found: dict[str, tuple[Finding, ...] | None] = {}
    for verdicts in steps:
        runs = any(verdict.passes for verdict in verdicts)
        for verdict in verdicts:
            before = found.setdefault(verdict.worker, () if verdict.findings is not None else None)
            if before is not None and verdict.findings is not None and not runs:
                found[verdict.worker] = tuple(dict.fromkeys((*before, *verdict.findings)))
    return tuple(Verdict(worker=worker, findings=found[worker]) for worker in sorted(found))


def check(template: model.Template, catalog: object_info.NodeCatalog) -> tuple[Finding, ...]:
    """Everything that this worker would refuse; () when it would run the template."""
    graph = _with_defaults(template)
    given = _given_by_callers(template)
    faults = [fault for fault in _faults(graph, catalog) if (fault.node, fault.field) not in given]
    setters = _setters(template)
    return tuple(
        Finding(
            fault=_with_parameter(template, setters, fault),
            nearest=_nearest(graph, catalog, fault) if at < _MAX_NEAREST else None,
        )
        for at, fault in enumerate(faults[: structure.MAX_FAULTS])
    )


def _with_defaults(template: model.Template) -> graphs.Graph:
    values = {
        (target.node, target.input): parameter.default
        for parameter in template.parameters
        if parameter.default is not None
        for target in parameter.targets
    }
    return graphs.replace_inputs(template.graph, values)


def _given_by_callers(template: model.Template) -> set[tuple[str | None, str | None]]:
    return {
        (target.node, target.input)
        for parameter in template.parameters
        if parameter.required or parameter.default_file is not None
        for target in parameter.targets
    }


def _faults(graph: graphs.Graph, catalog: object_info.NodeCatalog) -> Iterator[errors.Fault]:
    told: set[tuple[str | None, str | None]] = set()
    for fault in catalog.check(graph, partial=False):
        told.add((fault.node, fault.field))
        yield fault
    # Custom nodes' choices are not judged above, but files that are not there are.
    models = graphs.requirements(graph, catalog).models
    lacking = frozenset(sorted(model for model in models if catalog.lacks_model(*model))[: structure.MAX_FAULTS])
    for wanted, nodes in sorted(_places(graph, lacking).items()):
        for fault in catalog.lacks(graphs.Requirements(models=frozenset({wanted}))):
            for node in nodes:
                if (node, fault.field) not in told:
                    yield dataclasses.replace(fault, node=node)


def _places(graph: graphs.Graph, models: Set[Wanted]) -> Mapping[Wanted, Sequence[str]]:
    """The nodes that name each of these files."""
    places: dict[Wanted, list[str]] = {}
    for node_id, node in graph.items():
        for field, value in node["inputs"].items():
            if isinstance(value, str) and (wanted := (node["class_type"], field, value)) in models:
                places.setdefault(wanted, []).append(node_id)
    return places


def _setters(template: model.Template) -> Mapping[tuple[str | None, str | None], str]:
    """The parameter that sets a place, the first where several do."""
    return {
        (target.node, target.input): parameter.name
        for parameter in reversed(template.parameters)
        for target in parameter.targets
    }


def _with_parameter(
    template: model.Template, setters: Mapping[tuple[str | None, str | None], str], fault: errors.Fault
) -> errors.Fault:
    """The fault with the parameter that sets the place, or the pack that the class comes with."""
    setter = setters.get((fault.node, fault.field))
    return template.explained(fault) if setter is None else dataclasses.replace(fault, parameter=setter)


def _nearest(graph: graphs.Graph, catalog: object_info.NodeCatalog, fault: errors.Fault) -> Value | None:
    """The nearest that the worker takes at this place."""
    if fault.reason == "missing_node_type":
        return object_info.nearest_class(fault.class_type or "", catalog.classes)
    spec = catalog.input(fault.class_type or "", fault.field or "")
    if spec is None or fault.node is None:
        return None
    if fault.reason in {"value_not_in_list", "missing_model"}:
        return _nearest_choice(graph[fault.node]["inputs"].get(fault.field), spec.choices or ())
    bound = {"value_smaller_than_min": spec.minimum, "value_bigger_than_max": spec.maximum}.get(fault.reason)
    if bound is not None:
        return int(bound) if spec.type == "INT" else bound
    return spec.default if fault.reason in {"invalid_input_type", "required_input_missing"} else None


def _nearest_choice(wrong: Any, choices: tuple[Any, ...]) -> Value | None:
    """The most alike of the choices, however little that is; of values that are no text, the first."""
    if not choices:
        return None
    if not isinstance(wrong, str):
        return choices[0]
    is_file = graphs.is_model_file("", wrong)
    find = object_info.nearest_file if is_file else object_info.nearest_choice
    return find(wrong, choices, cutoff=0.0)
