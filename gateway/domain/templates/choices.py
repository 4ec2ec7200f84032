"""What callers can choose from: for model files, those that the workers really have."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from gateway.domain.comfy import joining, object_info
from gateway.domain.templates import model


def offered(template: model.Template, catalogs: Sequence[object_info.NodeCatalog]) -> model.Template:
    """The template as it is told to callers: model parameters with the files that at least one worker has; where the
    author gave choices, those of them. While no worker tells, as the author wrote it."""
    if not catalogs or not any(item.type == model.ParameterType.MODEL for item in template.parameters):
        return template
    return dataclasses.replace(
        template, parameters=tuple(_offered(template, parameter, catalogs) for parameter in template.parameters)
    )


def _offered(
    template: model.Template, parameter: model.Parameter, catalogs: Sequence[object_info.NodeCatalog]
) -> model.Parameter:
    if parameter.type != model.ParameterType.MODEL:
        return parameter
    lists = [found for catalog in catalogs if (found := _of_worker(template, parameter, catalog)) is not None]
    if not lists:
        return parameter
    there = joining.union(lists)
    kept = tuple(choice for choice in parameter.choices if choice in there) if parameter.choices else there
    return dataclasses.replace(parameter, choices=kept)


def _of_worker(
    template: model.Template, parameter: model.Parameter, catalog: object_info.NodeCatalog
) -> Sequence[Any] | None:
    """What this worker's nodes all take for the parameter; None when they have no list."""
    lists = [
        found
        for target in parameter.targets
        if (found := catalog.choices(template.graph[target.node]["class_type"], target.input)) is not None
    ]
    if not lists:
        return None
    return [choice for choice in lists[0] if all(choice in other for other in lists[1:])]
