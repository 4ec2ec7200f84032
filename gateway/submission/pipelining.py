"""Orders of pipelines: what each step's template is now, and whether it takes what it is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from gateway.domain import errors, model
from gateway.domain.comfy import object_info
from gateway.domain.pipelines import model as pipelines
from gateway.domain.pipelines import moves
from gateway.domain.templates import binding
from gateway.domain.templates import model as templates
from gateway.submission import checks

Find = Callable[[str], Awaitable[templates.Template]]


async def planned(
    template: templates.Template,
    inputs: Mapping[str, Any],
    find: Find,
    *,
    draw_seed: Callable[[], int],
    catalogs: Sequence[object_info.NodeCatalog],
) -> moves.Plan:
    """The plan of an order of this pipeline with these inputs (as used).

    InvalidInputs with the faults of all steps; InvalidWorkflow when a step has node classes that no known worker has.
    """
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
        for fault in _faults(each, found[each.step.name], draw_seed)
    ]
    if faults:
        message = f"The pipeline {template.name} cannot run like this. {faults[0].message}"
        raise errors.InvalidInputs(message, faults=faults)
    lacking = [fault for step, each in found.items() for fault in _lacking(step, each, catalogs)]
    if lacking:
        message = f"No known worker can run all of the pipeline {template.name}. {lacking[0].message}"
        raise errors.InvalidWorkflow(message, faults=lacking)
    return plan


def _lacking(
    step: str, template: templates.Template, catalogs: Sequence[object_info.NodeCatalog]
) -> tuple[errors.Fault, ...]:
    """Node classes of a step that no worker has. What its values ask for is seen when its files are there."""
    return tuple(
        dataclasses.replace(template.explained(fault), message=f"Step {step}: {template.explained(fault).message}")
        for fault in checks.refusals(template.graph, template.requirements, catalogs)
        if fault.reason == "missing_node_type"
    )


def _known(step: pipelines.Step, template: templates.Template) -> moves.Planned:
    nodes = {output.name: output.node for output in template.outputs}
    return moves.Planned(step=step, version=template.version, nodes=nodes)


def _faults(
    planned: moves.Planned, template: templates.Template, draw_seed: Callable[[], int]
) -> tuple[errors.Fault, ...]:
    """What is wrong with the inputs that are known now; files of other steps are not."""
    later = {name for name, _ in planned.step.references()}
    given = {name: value for name, value in planned.step.inputs.items() if name not in later} | dict(planned.given)
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
