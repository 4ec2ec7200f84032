"""`templates convert`: what a saved workflow would be as a graph."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from gateway.adapters import templates
from gateway.cli import failures, node_classes, output
from gateway.domain.comfy import graph as graphs
from gateway.domain.embedded import reading

_WAY_OUT = (
    "converting needs the node classes of a ComfyUI: name it or a gateway with --url http://HOST:8188, or save its "
    "/object_info and name that with --object-info FILE"
)


async def convert(
    file: Path,
    screen: output.Screen,
    *,
    object_info: Path | None,
    place: tuple[str, str | None],
    allow_unknown: bool,
) -> None:
    """Print the API-format graph of a file. What its node classes are is asked of the gateway or the worker at `place`,
    and only when it is needed and no file tells it."""
    if file.name.endswith(templates.PIPELINE):
        way_out = f"see it with: comfy-gateway templates show {file}"
        raise failures.Wrong(f"{file} is a pipeline: templates in a row, each with a graph of its own", way_out=way_out)
    workflow = await asyncio.to_thread(_workflow, file)
    if not isinstance(workflow, dict) or not graphs.is_ui_format(cast("dict[str, Any]", workflow)):
        screen.json(graphs.parse_graph(workflow))
        return
    try:
        classes = await node_classes.known(object_info, None if object_info else place, screen)
    except failures.Unreachable as lost:
        raise failures.Unreachable(lost.message, way_out=_WAY_OUT) from None
    converted = await asyncio.to_thread(node_classes.graph_of, workflow, classes, allow_unknown=allow_unknown)
    for fault in converted.unknown:
        screen.note(fault.message, style="yellow")
    screen.json(converted.graph)


def _workflow(file: Path) -> Any:
    try:
        return reading.read_workflow(file.read_bytes(), source=str(file))
    except OSError as error:
        raise failures.Wrong(f"{file} cannot be read: {error.strerror}") from None
