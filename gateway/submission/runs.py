"""Orders of many that are one run: n pictures of one graph with `batch_size` n, named by seed and index.

They are other pictures than n jobs would make: ComfyUI draws the noise of a whole batch from one seed. So it is never
chosen by load, but by the order or the template.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.templates import model as templates
from gateway.domain.templates import roles
from gateway.submission import planning

_PREFIX: Final = "filename_prefix"


def sized(template: templates.Template, inputs: Mapping[str, Any], n: int) -> dict[str, Any]:
    """The inputs with a batch size of n; InvalidInputs when the template has none, or they say another."""
    size = template.with_role(roles.BATCH_SIZE)
    if size is None:
        message = (
            f"The template {template.name} has no parameter for the batch size, so one run makes one picture; order "
            '"batch": "jobs".'
        )
        raise errors.InvalidInputs(message, faults=[errors.Fault(reason="no_batch_size", message=message)])
    given = inputs.get(size.name, n)
    if given != n:
        message = f"n is {n}, and in one run that is the batch size; the inputs say {given!r}."
        fault = errors.Fault(reason="invalid_value", message=message, parameter=size.name)
        raise errors.InvalidInputs(message, faults=[fault])
    return {**inputs, size.name: n}


def named(plan: planning.Plan) -> planning.Plan:
    """The plan with the seed in its files' names; ComfyUI adds the index: `fox_100_00001_.png`."""
    if plan.seed_parameter is None:
        return plan
    seed = plan.inputs[plan.seed_parameter]
    prefixes = {
        (node, _PREFIX): f"{prefix}_{seed}"
        for node, made in plan.graph.items()
        if isinstance(prefix := made["inputs"].get(_PREFIX), str)
    }
    return dataclasses.replace(plan, graph=graphs.replace_inputs(plan.graph, prefixes))
