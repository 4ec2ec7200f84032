"""A pipeline's file, `NAME.pipeline.toml`, or the same as JSON: read, and checked for what needs no other template."""

from __future__ import annotations

import graphlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import pydantic

from gateway.domain import errors, tables, wording
from gateway.domain.pipelines import model
from gateway.domain.templates import examples, sidecar, values

_Place = Annotated[str, pydantic.StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}\.[A-Za-z][A-Za-z0-9_]{0,63}$")]
_Pixels = Annotated[int, pydantic.Field(ge=1, le=16384)]


class _Table(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class FinishTable(_Table):
    """`finish = {…}`"""

    format: model.Format | None = None
    quality: Annotated[int, pydantic.Field(ge=1, le=100)] | None = None
    width: _Pixels | None = None
    height: _Pixels | None = None
    metadata: Literal["keep", "strip"] = "keep"


class CheckTable(_Table):
    """`check = {…}`"""

    url: Annotated[str, pydantic.StringConstraints(pattern=r"^https?://[^\s]{1,2000}$")]
    on_refusal: Literal["withhold", "fail"] = "withhold"
    seconds: Annotated[float, pydantic.Field(gt=0, le=600, strict=False)] = 30.0


class StepTable(_Table):
    """`[[steps]]`"""

    name: sidecar.Name
    template: str | None = None
    inputs: dict[sidecar.Name, sidecar.Scalar] = pydantic.Field(default_factory=dict[str, sidecar.Scalar])
    finish: FinishTable | None = None
    check: CheckTable | None = None
    of: str | None = None


class PipelineFile(_Table):
    """The whole file."""

    title: str | None = None
    description: str | None = None
    tags: list[str] = pydantic.Field(default_factory=list[str])
    inputs: dict[sidecar.Name, _Place | list[_Place]] = pydantic.Field(
        default_factory=dict[str, "_Place | list[_Place]"]
    )
    steps: Annotated[list[StepTable], pydantic.Field(min_length=1, max_length=model.MAX_STEPS)]
    outputs: list[str] = pydantic.Field(default_factory=list[str])
    retention: sidecar.Seconds | None = None
    examples: sidecar.Examples = pydantic.Field(default_factory=list[sidecar.ExampleTable])


def read_pipeline(text: str, source: str) -> model.Pipeline:
    """The pipeline that this text is, TOML or a JSON object; TemplateError with every fault, naming file and key."""
    written = tables.parsed(text, source)
    try:
        file = PipelineFile.model_validate(written)
    except pydantic.ValidationError as error:
        faults = [_fault(problem, written) for problem in error.errors(include_url=False)]
        raise _refused(source, [*faults, *_besides(faults, written)]) from None
    pipeline = _pipeline(file)
    faults = _faults(pipeline)
    if faults:
        raise _refused(source, faults)
    return pipeline


def _faults(pipeline: model.Pipeline) -> list[errors.Fault]:
    faults = [*_step_faults(pipeline), *_input_faults(pipeline), *_output_faults(pipeline)]
    return faults or list(_cycle_faults(pipeline))


def _besides(told: list[errors.Fault], written: Any) -> list[errors.Fault]:
    """What else is wrong with the part that could be read; not about a place of which something is told already."""
    rest = sidecar.salvaged(written, PipelineFile)
    if rest is None:
        return []
    places = [f"{fault.field}." for fault in told]
    return [fault for fault in _faults(_pipeline(rest)) if not any(at.startswith(f"{fault.field}.") for at in places)]


def _fault(problem: Mapping[str, Any], written: Any) -> errors.Fault:
    place = [*map(str, problem["loc"])]
    shown = f"`{'.'.join(place)}`"
    if place[0] == "steps" and len(place) > 2:
        step = written["steps"][int(place[1])]
        name = step.get("name") if isinstance(step, dict) else None
        shown = f"step {name if isinstance(name, str) else int(place[1]) + 1}: `{'.'.join(place[2:])}`"
    return errors.Fault(reason="invalid_value", message=f"{shown}: {wording.said(problem)}", field=".".join(place))


def _refused(source: str, faults: list[errors.Fault]) -> errors.TemplateError:
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return errors.TemplateError(f"{source}: {faults[0].message}{more}", faults=faults)


def _pipeline(file: PipelineFile) -> model.Pipeline:
    inputs = {
        name: tuple(model.Target(*place.split(".")) for place in ([places] if isinstance(places, str) else places))
        for name, places in file.inputs.items()
    }
    return model.Pipeline(
        steps=tuple(_step(step) for step in file.steps),
        inputs=inputs,
        outputs=tuple(file.outputs) or (file.steps[-1].name,),
        title=file.title,
        description=file.description,
        tags=tuple(file.tags),
        retention=file.retention,
        examples=examples.told(file.examples),
    )


def _step(table: StepTable) -> model.Step:
    return model.Step(
        name=table.name,
        template=table.template,
        inputs=dict(table.inputs),
        finish=None if table.finish is None else model.Finish(**table.finish.model_dump()),
        check=None if table.check is None else model.Check(**table.check.model_dump()),
        of=None if table.of is None else table.of.removeprefix("@"),
    )


def _step_faults(pipeline: model.Pipeline) -> Iterator[errors.Fault]:
    names = [step.name for step in pipeline.steps]
    for index, step in enumerate(pipeline.steps):
        place = f"steps.{index}"
        if step.name in names[:index]:
            yield _step_fault(f"{place}.name", step, f"there are two steps called {step.name!r}")
        kinds = [kind for kind in (step.template, step.finish, step.check) if kind is not None]
        if len(kinds) != 1:
            yield _step_fault(place, step, "it needs one of `template`, `finish` and `check`")
        elif step.template is not None and step.of is not None:
            yield _step_fault(f"{place}.of", step, "a step with a template takes files through its `inputs`")
        elif step.template is None and (step.of is None or step.inputs):
            yield _step_fault(place, step, "it needs `of`, the step whose files it works on, and no `inputs`")
        for needed in sorted(step.needs() - set(names)):
            near = values.suggestion(needed, [name for name in names if name != step.name])
            yield _step_fault(place, step, f"it takes files of {needed!r}, which is no step here.{near}")


def _input_faults(pipeline: model.Pipeline) -> Iterator[errors.Fault]:
    for name, targets in pipeline.inputs.items():
        if not targets:
            yield _said(f"inputs.{name}", "goes nowhere: say which parameters it sets, as in `step.parameter`")
        for target in targets:
            step = pipeline.step(target.step)
            if step is None or step.template is None:
                yield _said(f"inputs.{name}", f"{target.step!r} is no step with a template")
            elif target.parameter in step.inputs:
                yield _said(f"inputs.{name}", f"the step sets {target} itself already")


def _output_faults(pipeline: model.Pipeline) -> Iterator[errors.Fault]:
    for index, name in enumerate(pipeline.outputs):
        if pipeline.step(name) is None:
            yield _said(f"outputs.{index}", f"{name!r} is no step here")
        elif name in pipeline.outputs[:index]:
            yield _said(f"outputs.{index}", f"{name!r} is there twice")


def _cycle_faults(pipeline: model.Pipeline) -> Iterator[errors.Fault]:
    try:
        graphlib.TopologicalSorter({step.name: step.needs() for step in pipeline.steps}).prepare()
    except graphlib.CycleError as error:
        yield _said("steps", f"the steps wait for each other: {' → '.join(reversed(error.args[1]))}")


def _step_fault(place: str, step: model.Step, message: str) -> errors.Fault:
    return errors.Fault(reason="invalid_value", message=f"step {step.name}: {message}", field=place)


def _said(place: str, message: str) -> errors.Fault:
    return errors.Fault(reason="invalid_value", message=f"`{place}`: {message}", field=place)
