"""Examples of a template: inputs that its author gave with it, checked like any inputs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.domain import errors
from gateway.domain.comfy import structure
from gateway.domain.templates import model, sidecar, values

DEFAULTS: Final = model.Example(name="defaults")  #: of a template whose author gave none
_SEED: Final = 1  #: where the author gave none: an example makes the same picture every time


def told(tables: Iterable[sidecar.ExampleTable]) -> tuple[model.Example, ...]:
    """Those of a file, a sidecar or a pipeline."""
    return tuple(
        model.Example(name=table.name, inputs=dict(table.inputs), tolerance=table.tolerance) for table in tables
    )


def inputs_of(example: model.Example, parameters: Sequence[model.Parameter]) -> dict[str, Any]:
    """What is ordered: the example's inputs, with a seed wherever one would be drawn."""
    seeds = {
        parameter.name: max(_SEED, int(parameter.minimum or 0))
        for parameter in parameters
        if parameter.type is model.ParameterType.SEED
    }
    return {**seeds, **example.inputs}


def faults(found: Sequence[model.Example], parameters: Sequence[model.Parameter]) -> Iterator[errors.Fault]:
    """What is wrong with examples of these parameters, as much of it as anybody reads."""
    return itertools.islice(_all_faults(found, parameters), structure.MAX_FAULTS)


def _all_faults(found: Sequence[model.Example], parameters: Sequence[model.Parameter]) -> Iterator[errors.Fault]:
    known = {parameter.name: parameter for parameter in parameters}
    names: set[str] = set()
    for index, example in enumerate(found):
        if example.name.casefold() in names:
            yield _fault(f"{index}.name", "invalid_value", f"There are two examples called {example.name!r}.")
        names.add(example.name.casefold())
        for name, value in example.inputs.items():
            yield from _value_faults(f"{index}.inputs.{name}", name, value, known)


def _value_faults(place: str, name: str, value: Any, known: Mapping[str, model.Parameter]) -> Iterator[errors.Fault]:
    parameter = known.get(name)
    if parameter is None:
        message = f"There is no parameter {name!r}.{values.suggestion(name, list(known))}"
        yield _fault(place, "unknown_parameter", message)
    elif parameter.type in model.FILE_TYPES:
        complaint = structure.path_complaint(value) if isinstance(value, str) else "is no path"
        if complaint is not None:
            yield _fault(place, "invalid_value", f"The file {value!r} {complaint}.")
    else:
        try:
            values.read(parameter, value, values.Limits())
        except values.Refused as refused:
            yield _fault(place, refused.reason, refused.message)


def _fault(place: str, reason: str, message: str) -> errors.Fault:
    return errors.Fault(reason=reason, message=message, field=f"examples.{place}")
