"""Orders of pipelines: what each step's template is now, and whether it takes what it is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.domain import errors, model
from gateway.domain.pipelines import model as pipelines
from gateway.domain.pipelines import moves
from gateway.domain.templates import binding
from gateway.domain.templates import model as templates

Find = Callable[[str], Awaitable[templates.Template]]


async def planned(
    template: templates.Template, inputs: Mapping[str, Any], find: Find, *, draw_seed: Callable[[], int]
) -> moves.Plan:
    """The plan of an order of this pipeline with these inputs (as used); InvalidInputs with the faults of all steps."""
    pipeline = template.pipeline
    if pipeline is None:
        raise errors.TemplateError(f"{template.name} is no pipeline.")
    found = {step.name: await find(step.template) for step in pipeline.steps if step.template is not None}
    known = {step.name: _known(step, found[step.name]) for step in pipeline.steps if step.name in found}
    plan = moves.plan(pipeline, inputs, known)
    faults = [
        dataclasses.replace(fault, message=f"Step {each.step.name}: {fault.message}")
        for each in plan.steps
        if each.step.name in found
        for fault in _faults(each.step, found[each.step.name], draw_seed)
    ]
    if faults:
        message = f"The pipeline {template.name} cannot run like this. {faults[0].message}"
        raise errors.InvalidInputs(message, faults=faults)
    return plan


def _known(step: pipelines.Step, template: templates.Template) -> moves.Planned:
    nodes = {output.name: output.node for output in template.outputs}
    return moves.Planned(step=step, version=template.version, nodes=nodes)


def _faults(
    step: pipelines.Step, template: templates.Template, draw_seed: Callable[[], int]
) -> tuple[errors.Fault, ...]:
    """What is wrong with the inputs that are known now; files of other steps are not."""
    later = {name for name, _ in step.references()}
    given = {name: value for name, value in step.inputs.items() if name not in later}
    try:
        binding.bind(template, given, draw_seed=draw_seed)
    except errors.InvalidInputs as error:
        return tuple(fault for fault in error.faults if fault.parameter not in later)
    return ()


def reference(planned: moves.Planned) -> str:
    """The very version of a step's template."""
    name = (planned.step.template or "").partition("@")[0]
    return name if planned.version is None else f"{name}@{planned.version}"


def no_key() -> errors.InvalidRequest:
    """The order's key is gone."""
    return errors.InvalidRequest(
        "its partner API key lived in memory only and was lost when the gateway restarted; order it again"
    )


def of_job(job: model.Job) -> str:
    """What to order to have an ended job of a template again."""
    return job.template or "" if job.template_version is None else f"{job.template}@{job.template_version}"
