"""What is to be done next for a pipeline, from how its steps stand: a function of facts that are stored.

Whoever runs pipelines asks again whenever something changed, and after a restart; so there is nothing to remember.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.domain import model as domain
from gateway.domain.comfy import structure
from gateway.domain.pipelines import model
from gateway.domain.states import TERMINAL, JobStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A step with everything that its order needs but the files of other steps."""

    step: model.Step
    version: str | None = None  #: of its template
    nodes: Mapping[str, str] = field(default_factory=dict[str, str])  #: the nodes of its template's outputs, by name
    given: Mapping[str, Any] = field(
        default_factory=dict[str, Any]
    )  #: what the order gives; `@name` is plain text here

    def as_dict(self) -> dict[str, Any]:
        """JSON of it."""
        own = {"version": self.version, "nodes": dict(self.nodes), "given": dict(self.given)}
        return {**dataclasses.asdict(self.step), **own}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Planned:
        """What `as_dict` wrote."""
        own = {name: value for name, value in data.items() if name not in {"version", "nodes", "given"}}
        finish, check = own.pop("finish"), own.pop("check")
        step = model.Step(
            **own,
            finish=None if finish is None else model.Finish(**finish),
            check=None if check is None else model.Check(**check),
        )
        return cls(step=step, version=data["version"], nodes=data["nodes"], given=data.get("given", {}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A pipeline that was ordered. `done`: steps that an earlier job has done already, and that job of theirs."""

    steps: tuple[Planned, ...]
    outputs: tuple[str, ...]
    done: Mapping[str, str] = field(default_factory=dict[str, str])
    sealed: bool = False  #: its steps are nobody's to see
    needs_key: bool = False  #: it was ordered with a partner API key

    def as_dict(self) -> dict[str, Any]:
        """JSON of it."""
        return {
            "steps": [planned.as_dict() for planned in self.steps],
            "outputs": list(self.outputs),
            "done": dict(self.done),
            "sealed": self.sealed,
            "needs_key": self.needs_key,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """What `as_dict` wrote."""
        steps = tuple(Planned.from_dict(step) for step in data["steps"])
        rest = {name: data[name] for name in ("done", "sealed", "needs_key")}
        return cls(steps=steps, outputs=tuple(data["outputs"]), **rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Begin these steps: what they take from others is there."""

    steps: tuple[Planned, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Cancel these jobs: the pipeline is to end."""

    jobs: tuple[domain.JobId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The pipeline is over."""

    status: JobStatus  #: succeeded, failed or canceled
    outputs: tuple[domain.Output, ...] = ()
    error: domain.JobError | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Something is on its way."""


Move = Start | Stop | End | Wait
Found = Mapping[str, domain.Job]  #: the steps that were begun, by name


def plan(pipeline: model.Pipeline, inputs: Mapping[str, Any], templates: Mapping[str, Planned]) -> Plan:
    """The plan of an order with these inputs (as used); `templates` tells what each step's template is now."""
    steps: list[Planned] = []
    for step in pipeline.steps:
        given = {
            target.parameter: inputs[name]
            for name, targets in pipeline.inputs.items()
            for target in targets
            if target.step == step.name and name in inputs
        }
        known = templates.get(step.name) or Planned(step=step)
        steps.append(dataclasses.replace(known, given=given))
    return Plan(steps=tuple(steps), outputs=pipeline.outputs, sealed=pipeline.is_sealed)


def next_move(plan: Plan, found: Found, *, canceling: bool) -> Move:
    """What to do now."""
    unhappy = [name for name, job in found.items() if job.status in TERMINAL and job.status is not JobStatus.SUCCEEDED]
    running = tuple(job.id for job in found.values() if not job.ended)
    if canceling or unhappy:
        if running:
            return Stop(jobs=running)
        return End(status=JobStatus.CANCELED) if canceling else _failed(unhappy[0], found[unhappy[0]])
    ready = [
        planned
        for planned in plan.steps
        if planned.step.name not in found
        and all((job := found.get(name)) and job.status is JobStatus.SUCCEEDED for name in planned.step.needs())
    ]
    if ready:
        return Start(steps=tuple(ready))
    if running or len(found) < len(plan.steps):
        return Wait()
    return End(status=JobStatus.SUCCEEDED, outputs=_outputs(plan, found))


def _outputs(plan: Plan, found: Found) -> tuple[domain.Output, ...]:
    made = [output for name in plan.outputs for output in found[name].outputs]
    return tuple(dataclasses.replace(output, index=index) for index, output in enumerate(made))


def _failed(step: str, job: domain.Job) -> End:
    if job.error is not None:
        error = dataclasses.replace(job.error, message=f"Step {step}: {job.error.message}")
    else:
        error = domain.JobError(code="step_failed", message=f"Step {step} is {job.status}.")
    return End(status=JobStatus.FAILED, error=error)


class NoSuchFile(Exception):
    """A step did not make the file that another one takes."""


def inputs_of(planned: Planned, plan: Plan, found: Found) -> dict[str, Any]:
    """The inputs of a step's template, with assets in place of references; NoSuchFile."""
    inputs = {**planned.step.inputs, **planned.given}
    for name, reference in planned.step.references():
        output = _referred(reference, plan, found)
        inputs[name] = {"__type": structure.ASSET_TYPE, "info": {"id": output.asset.id}}
    return inputs


def _referred(reference: model.Reference, plan: Plan, found: Found) -> domain.Output:
    outputs: Sequence[domain.Output] = found[reference.step].outputs
    if reference.output is not None:
        nodes = next(planned.nodes for planned in plan.steps if planned.step.name == reference.step)
        outputs = [output for output in outputs if output.node_id == nodes.get(reference.output)]
    if reference.number >= len(outputs):
        count = "one file" if len(outputs) == 1 else f"{len(outputs)} files"
        raise NoSuchFile(f"there is no {reference}: the step made {count} of that kind")
    return outputs[reference.number]


def progress(plan: Plan, found: Found, running: Mapping[str, domain.Progress]) -> domain.Progress:
    """How far the pipeline is; `running` is what the steps on the workers tell, by name."""
    total = len(plan.steps)
    done = sum(1 for job in found.values() if job.status is JobStatus.SUCCEEDED)
    under_way = {name: told for name, told in running.items() if name in found and not found[name].ended}
    current = next((name for name, job in found.items() if not job.ended), None)
    told = under_way.get(current) if current is not None else None
    return domain.Progress(
        value=min(1.0, (done + sum(each.value for each in under_way.values())) / total),
        nodes_done=done,
        nodes_total=total,
        current_node=current,
        current_node_class=told.current_node_class if told else None,
        step=told.step if told else None,
        steps=told.steps if told else None,
        message=told.message if told else None,
    )


def step_id(parent: domain.JobId, step: str) -> domain.JobId:
    """The id of a step's job: always the same, so that a step that was begun before a crash is not begun again."""
    return domain.JobId(str(uuid.uuid5(uuid.UUID(parent), step)))
