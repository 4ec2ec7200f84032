"""A pipeline as a template: the parameters of its inputs are those of the templates that they go to.

So a pipeline is listed, described, checked and ordered like any template; only what happens then is different.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.pipelines import model
from gateway.domain.templates import examples, values
from gateway.domain.templates import model as templates

Find = Callable[[str], templates.Template]  #: the template that a step names; NotFound, TemplateError, TemplateWaiting


def face(name: str, pipeline: model.Pipeline, find: Find, *, text: str, source: str | None) -> templates.Template:
    """The template that stands for the pipeline; TemplateError with every fault, TemplateWaiting while a step's
    template waits."""
    found, faults = _found(pipeline, find)
    faults += [fault for step in pipeline.steps for fault in _step_faults(step, pipeline, found)]
    faults += _input_faults(pipeline, found)
    parameters = [] if faults else [_parameter(name, targets, found) for name, targets in pipeline.inputs.items()]
    if not faults:
        faults = list(examples.faults(pipeline.examples, parameters))
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise errors.TemplateError(f"The pipeline {name} cannot be used. {faults[0].message}{more}", faults=faults)
    return templates.Template(
        name=name,
        version=_version(text, found),
        graph=graphs.Graph({}),
        parameters=tuple(parameters),
        outputs=(),
        requirements=graphs.Requirements(),
        title=pipeline.title,
        description=pipeline.description,
        tags=pipeline.tags,
        retention=pipeline.retention,
        examples=pipeline.examples,
        source=source,
        files={f"{step}/{name}": data for step, template in found.items() for name, data in template.files.items()},
        pipeline=pipeline,
    )


def _version(text: str, found: Mapping[str, templates.Template]) -> str:
    """The digest of the file and of the templates that its steps are now."""
    parts = [text, *(f"{step}={template.version}" for step, template in sorted(found.items()))]
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


def _found(pipeline: model.Pipeline, find: Find) -> tuple[dict[str, templates.Template], list[errors.Fault]]:
    found: dict[str, templates.Template] = {}
    faults: list[errors.Fault] = []
    for step in pipeline.steps:
        if step.template is None:
            continue
        try:
            template = find(step.template)
        except (errors.NotFound, errors.TemplateError, errors.InvalidRequest) as error:
            faults.append(_said(step.name, f"step {step.name}: {error.message}"))
            continue
        if template.pipeline is not None:
            faults.append(_said(step.name, f"step {step.name}: {step.template} is a pipeline itself"))
        found[step.name] = template
    return found, faults


def _step_faults(
    step: model.Step, pipeline: model.Pipeline, found: Mapping[str, templates.Template]
) -> Iterator[errors.Fault]:
    template = found.get(step.name)
    if template is None:
        return
    given = {target.parameter for targets in pipeline.inputs.values() for target in targets if target.step == step.name}
    for name in step.inputs:
        if template.parameter(name) is None:
            near = values.suggestion(name, [each.name for each in template.parameters])
            yield _said(step.name, f"step {step.name}: the template {template.name} has no parameter {name}.{near}")
    yield from _value_faults(step, template)
    for name, reference in step.references():
        parameter = template.parameter(name)
        if parameter is not None and parameter.type not in templates.FILE_TYPES:
            yield _said(step.name, f"step {step.name}: {name} takes no file, so not {reference} either")
    for _, reference in step.references():
        source = found.get(reference.step)
        if source is not None and reference.output is not None and reference.output not in _outputs(source):
            yield _said(step.name, f"step {step.name}: {reference.step} has no output called {reference.output}")
    for parameter in template.parameters:
        missing = parameter.required and parameter.default is None and parameter.default_file is None
        if missing and parameter.name not in {*given, *step.inputs}:
            yield _said(step.name, f"step {step.name}: nothing gives {parameter.name}, which {template.name} requires")


def _value_faults(step: model.Step, template: templates.Template) -> Iterator[errors.Fault]:
    """What is wrong with the values that the step gives itself. Files are found when it is ordered."""
    references = {name for name, _ in step.references()}
    for name, value in step.inputs.items():
        parameter = template.parameter(name)
        if parameter is None or name in references or parameter.type in templates.FILE_TYPES:
            continue
        if parameter.type == templates.ParameterType.SEED and value == -1:  # it is drawn
            continue
        try:
            values.read(parameter, value, values.Limits())
        except values.Refused as refused:
            message = f"step {step.name}: {name}: {refused.message}"
            yield errors.Fault(reason="invalid_pipeline", message=message, field=step.name, parameter=name)


def _outputs(template: templates.Template) -> set[str]:
    return {output.name for output in template.outputs}


def _input_faults(pipeline: model.Pipeline, found: Mapping[str, templates.Template]) -> Iterator[errors.Fault]:
    for name, targets in pipeline.inputs.items():
        types: set[templates.ParameterType] = set()
        for target in targets:
            template = found.get(target.step)
            if template is None:  # told already
                continue
            parameter = template.parameter(target.parameter)
            if parameter is None:
                near = values.suggestion(target.parameter, [each.name for each in template.parameters])
                missing = f"the template {template.name} has no parameter {target.parameter}.{near}"
                yield _said(name, f"input {name}: {missing}")
            else:
                types.add(parameter.type)
        if len(types) > 1:
            yield _said(name, f"input {name} goes to parameters of different types: {', '.join(sorted(types))}")


def _parameter(
    name: str, targets: tuple[model.Target, ...], found: Mapping[str, templates.Template]
) -> templates.Parameter:
    """The parameter of the first place, under the pipeline's name for it."""
    parameter = found[targets[0].step].parameter(targets[0].parameter)
    if parameter is None:
        raise errors.TemplateError(f"There is no {targets[0]}.")
    file = parameter.default_file  # of the step's own; another step's may be called the same
    own = None if file is None else f"{targets[0].step}/{file}"
    return dataclasses.replace(parameter, name=name, targets=(), default_file=own)


def _said(place: str, message: str) -> errors.Fault:
    return errors.Fault(reason="invalid_pipeline", message=message, field=place)
