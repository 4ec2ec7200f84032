"""What several workers together can do, as one catalog: every class that one has, every choice that one offers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.domain.comfy import node_classes, object_info


def joined(catalogs: Sequence[object_info.NodeCatalog]) -> object_info.NodeCatalog | None:
    """The catalog of all of these together; None when there is none. Where two workers describe a class differently,
    the first one's description holds, with the choices of both."""
    if len(catalogs) <= 1:
        return catalogs[0] if catalogs else None
    classes: dict[str, node_classes.NodeClass] = {}
    for catalog in catalogs:
        for name, each in catalog.classes.items():
            known = classes.get(name)
            classes[name] = each if known is None or known == each else _both(known, each)
    return object_info.NodeCatalog(classes)


def _both(first: node_classes.NodeClass, second: node_classes.NodeClass) -> node_classes.NodeClass:
    inputs = {name: _with_choices(spec, second.inputs.get(name)) for name, spec in first.inputs.items()}
    return dataclasses.replace(first, inputs=inputs)


def _with_choices(spec: node_classes.InputSpec, other: node_classes.InputSpec | None) -> node_classes.InputSpec:
    if spec.choices is None or other is None or other.choices is None or spec.choices == other.choices:
        return spec
    return dataclasses.replace(spec, choices=union((spec.choices, other.choices)))


def union(lists: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    """All that is in one of these lists, in the order in which it comes up."""
    found: Mapping[Any, Any] = {(type(value), value): value for values in lists for value in values}
    return tuple(found.values())
