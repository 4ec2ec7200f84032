"""The small file beside a workflow, `NAME.toml`: what the author says about parameters, outputs and requirements."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, TypeVar

import pydantic

from gateway.domain import errors, tables, wording
from gateway.domain.comfy import structure
from gateway.domain.templates import model, values

NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"

Name = Annotated[str, pydantic.StringConstraints(pattern=NAME_PATTERN)]
_Plain = TypeVar("_Plain", bound=str | float | bool)
_Model = TypeVar("_Model", bound=pydantic.BaseModel)
_ROUNDS: Final = 4  #: a key that is gone may be missed in the table around it, which is left out then
_FEW: Final = 50  #: with more faults than this, nobody misses others


def _held(value: _Plain) -> _Plain:
    """The value, unless it is an integer that JSON's readers and ComfyUI have no room for."""
    complaint = structure.number_complaint(value) if isinstance(value, int) else None
    if complaint is not None:
        raise ValueError(complaint)
    return value


Number = Annotated[int | float, pydantic.AfterValidator(_held)]
Scalar = Annotated[str | int | float | bool, pydantic.AfterValidator(_held)]
Kind = Annotated[model.ParameterType, pydantic.Field(strict=False)]


class _Table(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ParameterTable(_Table):
    """`[parameters.NAME]`"""

    type: Kind
    target: str | None = None
    targets: list[str] = pydantic.Field(default_factory=list[str])
    role: str | None = None
    title: str | None = None
    description: str | None = None
    default: Scalar | None = None
    default_file: str | None = None
    required: bool | None = None
    min: Number | None = None
    max: Number | None = None
    step: Number | None = None
    choices: list[Scalar] = pydantic.Field(default_factory=list[Scalar])
    multiline: bool = False


class OutputTable(_Table):
    """`[outputs.NAME]`"""

    node: str
    title: str | None = None
    description: str | None = None


class PackTable(_Table):
    """`[[requirements.packs]]`"""

    name: str
    url: str | None = None
    classes: list[str] = pydantic.Field(default_factory=list[str])


class ModelTable(_Table):
    """`[[requirements.models]]`"""

    file: str
    folder: str | None = None
    url: str | None = None
    sha256: Annotated[str, pydantic.StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None


class RequirementsTable(_Table):
    """`[requirements]`"""

    packs: list[PackTable] = pydantic.Field(default_factory=list[PackTable])
    models: list[ModelTable] = pydantic.Field(default_factory=list[ModelTable])


def _seconds(value: object) -> object:
    """A number of seconds, or a number with its unit as in `15m`."""
    if not isinstance(value, str):
        return value
    found = _SPAN.fullmatch(value.strip())
    if found is None:
        raise ValueError("a time is a number of seconds, or a number with s, m, h or d: 90, 15m, 2h")
    return float(found["number"]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found["unit"]]


LONGEST: Final = 10 * 365 * 86400  #: a time; as long as an order may ask its job to be kept
_SPAN: Final = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[smhd])")
Seconds = Annotated[float, pydantic.BeforeValidator(_seconds), pydantic.Field(gt=0, le=LONGEST)]


class LimitsTable(_Table):
    """`[limits]`: how often its jobs are tried, and how long they may take."""

    tries: Annotated[int, pydantic.Field(ge=1, le=100)] | None = None
    queue: Seconds | None = None
    run: Seconds | None = None
    idle: Seconds | None = None


class ExampleTable(_Table):
    """`[[examples]]`: inputs that show what the template does; `templates test` runs them."""

    name: Annotated[str, pydantic.StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    inputs: dict[Name, Scalar] = pydantic.Field(default_factory=dict[str, Scalar])
    tolerance: Annotated[float, pydantic.Field(ge=0, le=100, strict=False)] | None = None


Examples = Annotated[list[ExampleTable], pydantic.Field(max_length=200)]


class Sidecar(_Table):
    """The whole file. Without `parameters` they are inferred, without `outputs` they are, too."""

    title: str | None = None
    description: str | None = None
    tags: list[str] = pydantic.Field(default_factory=list[str])
    parameters: dict[Name, ParameterTable] = pydantic.Field(default_factory=dict[str, ParameterTable])
    outputs: dict[Name, OutputTable] = pydantic.Field(default_factory=dict[str, OutputTable])
    requirements: RequirementsTable = pydantic.Field(default_factory=RequirementsTable)
    limits: LimitsTable = pydantic.Field(default_factory=LimitsTable)
    examples: Examples = pydantic.Field(default_factory=list[ExampleTable])
    batch: Annotated[model.BatchKind, pydantic.Field(strict=False)] | None = None  #: how n pictures are made
    retention: Seconds | None = None  #: that its jobs and their outputs are kept


def read_sidecar(text: str, source: str) -> Sidecar:
    """The sidecar that this text is, TOML or a JSON object; raises `TemplateError` with every fault, naming file and
    key."""
    try:
        return Sidecar.model_validate(tables.parsed(text, source))
    except pydantic.ValidationError as error:
        faults = map(_fault, error.errors(include_url=False))
        raise refusal(source, _by_place(faults)) from None


def salvaged(value: Any, table: type[_Model]) -> _Model | None:
    """What is left of a file without the keys that make no sense, so that the rest can be looked at, too."""
    for _ in range(_ROUNDS):
        try:
            return table.model_validate(value)
        except pydantic.ValidationError as error:
            if error.error_count() > _FEW:
                return None
            value = tables.without(value, [problem["loc"] for problem in error.errors(include_url=False)])
    return None


def refusal(source: str, faults: tuple[errors.Fault, ...]) -> errors.TemplateError:
    """The error for these faults of a file."""
    first = faults[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return errors.TemplateError(f"{source}: {first.field}: {first.message}{more}", faults=faults)


def _by_place(faults: Iterable[errors.Fault]) -> tuple[errors.Fault, ...]:
    """One fault a key: of a union, pydantic tells what each member says."""
    places: dict[str | None, errors.Fault] = {}
    for fault in faults:
        known = places.get(fault.field)
        message = fault.message if known is None else f"{known.message}; {fault.message}"
        places[fault.field] = dataclasses.replace(fault, message=message)
    return tuple(places.values())


def _fault(error: Any) -> errors.Fault:
    place = _place(error)
    known = "parameters" if place[0] == "parameters" and len(place) > 1 else None
    message = wording.said(error)
    reason = "invalid_value"
    if error["type"] == "extra_forbidden":
        reason = "unknown_key"
        message = f"There is no such key.{values.suggestion(place[-1], _keys_at(place))}"
    return errors.Fault(reason=reason, message=message, parameter=place[1] if known else None, field=".".join(place))


#: What pydantic adds to a place for the member of a union that it tried,
SCALAR_ARMS: Final = frozenset({"str", "int", "float", "bool"})
#: after the names that an author chooses, which may be the same words: `parameters.NAME.KEY`, `examples.0.inputs.NAME`.
ARMS_FROM: Final = {"parameters": 3, "examples": 4}


def _place(error: Any) -> list[str]:
    """Where it is in the file, without what pydantic adds at the end."""
    place = list(map(str, error["loc"]))
    first = ARMS_FROM.get(place[0], len(place))
    is_ours = error["type"] != "extra_forbidden" and (
        place[-1] == "[key]" or (place[-1] in SCALAR_ARMS and len(place) > first)
    )
    return place[:-1] if is_ours else place


def _keys_at(place: list[str]) -> list[str]:
    tables: Mapping[str, type[_Table]] = {"parameters": ParameterTable, "outputs": OutputTable}
    if len(place) == 1:
        return list(Sidecar.model_fields)
    if place[0] in tables:
        return list(tables[place[0]].model_fields)
    if place[0] == "limits":
        return list(LimitsTable.model_fields)
    if place[0] == "examples":
        return list(ExampleTable.model_fields)
    if len(place) == 2:
        return list(RequirementsTable.model_fields)
    return list((PackTable if place[1] == "packs" else ModelTable).model_fields)


# Writing.


def write_sidecar(template: model.Template) -> str:
    """The file that says what this template is: the starting point for an author who wants to say more."""
    lines: list[str] = []
    about = {"title": template.title, "description": template.description, "tags": list(template.tags)}
    batch = None if template.batch is model.BatchKind.JOBS else str(template.batch)
    _write(lines, None, {**about, "batch": batch, "retention": template.retention})
    limits = {"queue": template.limits.queue, "run": template.limits.run, "idle": template.limits.idle}
    if template.tries is not None or any(limits.values()):
        _write(lines, "[limits]", {"tries": template.tries, **limits})
    for parameter in template.parameters:
        _write(lines, f"[parameters.{parameter.name}]", _parameter_pairs(parameter))
    for output in template.outputs:
        pairs = {"node": output.node, "title": output.title, "description": output.description}
        _write(lines, f"[outputs.{output.name}]", pairs)
    for pack in template.packs:
        pairs = {"name": pack.name, "url": pack.url, "classes": list(pack.classes)}
        _write(lines, "[[requirements.packs]]", pairs)
    for file in template.models:
        pairs = {"file": file.file, "folder": file.folder, "url": file.url, "sha256": file.sha256}
        _write(lines, "[[requirements.models]]", pairs)
    for example in template.examples:
        _write(lines, "[[examples]]", {"name": example.name, "tolerance": example.tolerance})
        if example.inputs:
            _write(lines, "[examples.inputs]", example.inputs)
    return "\n".join(lines) + "\n"


def _parameter_pairs(parameter: model.Parameter) -> dict[str, Any]:
    targets = list(map(str, parameter.targets))
    return {
        "type": str(parameter.type),
        "role": parameter.role,
        "target": targets[0] if len(targets) == 1 else None,
        "targets": targets if len(targets) > 1 else None,
        "title": parameter.title,
        "description": parameter.description,
        "default": parameter.default,
        "default_file": parameter.default_file,
        "required": True if parameter.required else None,
        "min": parameter.minimum,
        "max": parameter.maximum,
        "step": parameter.step,
        "choices": list(parameter.choices),
        "multiline": True if parameter.multiline else None,
    }


def _write(lines: list[str], heading: str | None, pairs: Mapping[str, Any]) -> None:
    if heading is not None:
        lines.extend(["", heading] if lines else [heading])
    lines.extend(f"{key} = {_toml(value)}" for key, value in pairs.items() if value is not None and value != [])


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A JSON string is a TOML string, but for one control character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value)
