"""Template + values → graph, or every fault at once.

Binding has two steps, because bytes that came with the request must become assets before the graph can name them:

1. `bind` checks the values and draws seeds. Its `Bound` says which bytes to store (`inline`), which assets must exist
   (`assets`) and which strings may name one (`paths`).
2. `Bound.graph(asset_ids)` makes the graph, `Bound.inputs(asset_ids)` the inputs as used, given the ids under which
   the inline bytes were stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import structure
from gateway.domain.templates import values as readers
from gateway.domain.templates.model import MAX_SEED, Parameter, ParameterType, Template
from gateway.domain.templates.values import AssetUse, Inline, Limits, PathUse


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A template whose values are known to be good."""

    template: Template
    values: Mapping[str, Any]  #: by parameter; those that the graph keeps as they are, are not in it

    @property
    def inline(self) -> tuple[Inline, ...]:
        """Bytes that must be stored as assets before the graph is made, default files included."""
        return tuple(value for value in self.values.values() if isinstance(value, Inline))

    @property
    def assets(self) -> tuple[AssetUse, ...]:
        """Assets that the caller named; whether they exist is not known here."""
        return tuple(value for value in self.values.values() if isinstance(value, AssetUse))

    @property
    def paths(self) -> tuple[PathUse, ...]:
        """Strings that may be an uploaded asset's `file_path`; otherwise a worker must have that file."""
        return tuple(value for value in self.values.values() if isinstance(value, PathUse))

    @property
    def seed_parameter(self) -> str | None:
        """The seed that counts up in a batch of one order."""
        seeds = [item.name for item in self.template.parameters if item.type == ParameterType.SEED]
        return next((name for name in seeds if name == "seed"), seeds[0] if seeds else None)

    def graph(self, asset_ids: Mapping[str, str] | None = None) -> graphs.Graph:
        """The graph with all values in it; `asset_ids` tells by parameter what each of `inline` was stored as."""
        inputs = self.inputs(asset_ids)
        return graphs.replace_inputs(
            self.template.graph,
            {
                (target.node, target.input): inputs[parameter.name]
                for parameter in self.template.parameters
                if parameter.name in inputs
                for target in parameter.targets
            },
        )

    def inputs(self, asset_ids: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The inputs as used, defaults and drawn seeds included, ready for JSON and for ordering the same again."""
        stored = asset_ids or {}
        return {name: _as_json(value, stored) for name, value in self.values.items()}


def _as_json(value: Any, asset_ids: Mapping[str, str]) -> Any:
    match value:
        case Inline(parameter=parameter):
            return reference(asset_ids[parameter])
        case AssetUse(asset_id=asset_id):
            return reference(asset_id)
        case PathUse(path=path):
            return path
        case _:
            return value


def reference(asset_id: str) -> dict[str, Any]:
    """The contract's reference to an asset."""
    return {"__type": structure.ASSET_TYPE, "info": {"id": asset_id}}


def bind(template: Template, values: object, *, draw_seed: Callable[[], int], limits: Limits | None = None) -> Bound:
    """The template with these values in their places; raises `InvalidInputs` with every fault."""
    bound, faults = read(template, values, draw_seed=draw_seed, limits=limits)
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        first = f"{faults[0].parameter}: {faults[0].message}"
        raise errors.InvalidInputs(f"The inputs do not fit the template {template.name}. {first}{more}", faults=faults)
    return bound


def read(
    template: Template, values: object, *, draw_seed: Callable[[], int], limits: Limits | None = None
) -> tuple[Bound, list[errors.Fault]]:
    """The template with those of the values that are good, and what is wrong with the others; `InvalidInputs` when it
    is not even an object."""
    if not isinstance(values, dict):
        raise errors.InvalidInputs(f"The inputs are an object of values by name, not {structure.kind_of(values)}.")
    faults: list[errors.Fault] = list(_unknown(template, values))
    bound: dict[str, Any] = {}
    for parameter in template.parameters:
        try:
            value = _value(template, parameter, values.get(parameter.name), draw_seed, limits or Limits())
        except readers.Refused as refused:
            faults.append(_placed(template, readers.fault(parameter, refused.reason, refused.message)))
        else:
            if value is not None:
                bound[parameter.name] = value
    return Bound(template=template, values=bound), faults


def _unknown(template: Template, values: Mapping[Any, Any]) -> Iterator[errors.Fault]:
    names = [parameter.name for parameter in template.parameters]
    for name in values:
        if name not in names:
            near = readers.suggestion(str(name), names)
            shown = structure.shown_text(str(name))
            yield errors.Fault(
                reason="unknown_parameter", message=f"There is no parameter {shown}.{near}", parameter=shown
            )


def _placed(template: Template, fault: errors.Fault) -> errors.Fault:
    node = template.graph.get(fault.node or "")
    return fault if node is None else errors.Fault(**{**fault.as_dict(), "class_type": node["class_type"]})


def _value(template: Template, parameter: Parameter, given: Any, draw_seed: Callable[[], int], limits: Limits) -> Any:
    if parameter.type == ParameterType.SEED and (given is None or _is_minus_one(given)):
        return draw_within(parameter, draw_seed)
    if given is not None:
        return readers.read(parameter, given, limits)
    if parameter.default_file is not None:
        return readers.inline(parameter, template.files[parameter.default_file])
    if parameter.default is not None:
        return readers.read(parameter, parameter.default, limits)
    if parameter.required:
        raise readers.Refused("missing_input", "This input is required.")
    return None


def _is_minus_one(given: Any) -> bool:
    return isinstance(given, (int, float)) and given == -1


def draw_within(parameter: Parameter, draw_seed: Callable[[], int]) -> int:
    """A drawn seed within the parameter's bounds."""
    lowest = int(parameter.minimum or 0)
    highest = MAX_SEED if parameter.maximum is None else int(parameter.maximum)
    return lowest + draw_seed() % (highest - lowest + 1)
