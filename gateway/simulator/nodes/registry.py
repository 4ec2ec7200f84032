"""All node behaviour of one worker, for the classes that it lists."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from gateway.simulator.catalog import FILE_INPUTS, Catalog
from gateway.simulator.files import Files
from gateway.simulator.nodes import (
    base,
    compositing,
    filters,
    images,
    images_io,
    masks,
    media,
    models,
    sampling,
    testing,
    text,
)
from gateway.simulator.validation import CustomChecks


def implemented() -> dict[str, base.Node]:
    """Return all classes whose behaviour is written out."""
    groups: tuple[Mapping[str, base.Node], ...] = (
        images.NODES,
        images_io.NODES,
        compositing.NODES,
        filters.NODES,
        masks.NODES,
        text.NODES,
        media.NODES,
        sampling.NODES,
        testing.SIMULATOR_NODES,
        testing.WIRETEST_NODES,
    )
    return {name: node for group in groups for name, node in group.items()}


def is_opaque(entry: dict[str, Any]) -> bool:
    """Whether a class only hands on models, conditioning and the like."""
    outputs = entry["output"]
    partner = entry["category"].startswith(("partner", "api node"))
    hands_on = bool(outputs) and all(item in models.OPAQUE_TYPES for item in outputs if isinstance(item, str))
    return hands_on and all(isinstance(item, str) for item in outputs) and not entry["output_node"] and not partner


def nodes(catalog: Catalog, files: Files) -> tuple[dict[str, base.Node], dict[str, CustomChecks]]:
    """Return behaviour and own checks of the classes in the catalog."""
    known = implemented()
    for name, found in catalog.classes.items():
        if name not in known:
            known[name] = models.opaque(found.outputs)
    checks: dict[str, CustomChecks] = {
        name: {field: functools.partial(images_io.check_file, files, kind)}
        for name, (field, kind, _) in FILE_INPUTS.items()
        if name in catalog.classes
    }
    if "WTValidate" in catalog.classes:
        checks["WTValidate"] = {"name": lambda value: "" if value == "ok" else f"name must be ok, not {value}"}
    return {name: known[name] for name in catalog.classes}, checks
