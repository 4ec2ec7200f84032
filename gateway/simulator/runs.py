"""One prompt while it runs, and what is left of it in the history."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.simulator.catalog import Class
from gateway.simulator.graph import Order
from gateway.simulator.nodes import base
from gateway.simulator.progress import PromptProgress
from gateway.simulator.prompt_queue import SENSITIVE, Entry
from gateway.simulator.showing import show_value


class NodeFailed(Exception):
    """A node raised something."""

    def __init__(self, node_id: str, error: Exception, inputs: dict[str, list[Any]]) -> None:
        super().__init__(node_id)
        self.node_id = node_id
        self.error = error
        self.inputs = inputs


class NodeInterrupted(Exception):
    """The job was interrupted at a node."""

    def __init__(self, node_id: str) -> None:
        super().__init__(node_id)
        self.node_id = node_id


@dataclass(slots=True)
class Result:
    """What a node gave: a list of values by output slot, and what is shown."""

    outputs: list[list[Any]]
    ui: dict[str, list[Any]] | None


@dataclass(slots=True, kw_only=True)
class Run:
    """One prompt while it runs."""

    entry: Entry
    prompt: dict[str, Any]
    keys: dict[str, bytes]
    progress: PromptProgress
    previews: bool
    order: Order | None = None
    executed: list[str] = field(default_factory=list[str])
    ui: dict[str, dict[str, list[Any]]] = field(default_factory=dict[str, dict[str, list[Any]]])
    results: dict[str, Result] = field(default_factory=dict[str, Result])
    tasks: dict[str, asyncio.Task[Result]] = field(default_factory=dict[str, "asyncio.Task[Result]"])
    messages: list[list[Any]] = field(default_factory=list[list[Any]])
    parents: dict[str, str] = field(default_factory=dict[str, str])
    expanded: dict[str, tuple[Any, ...]] = field(default_factory=dict[str, tuple[Any, ...]])

    @property
    def sid(self) -> Any:
        """The client that is told."""
        return self.progress.sid


def failure_data(run: Run, failure: NodeFailed) -> dict[str, Any]:
    """Describe a failure as `execution_error` does."""
    error = failure.error
    advice = error.advice if isinstance(error, base.NodeFailure) else ""
    return {
        "node_id": failure.node_id,
        "node_type": run.prompt[failure.node_id]["class_type"],
        "executed": list(run.executed),
        "exception_message": f"{error}\n{advice}",
        "exception_type": error.kind if isinstance(error, base.NodeFailure) else _type_name(error),
        "traceback": traceback.format_tb(error.__traceback__),
        "current_inputs": {name: [show_value(value) for value in values] for name, values in failure.inputs.items()},
        "current_outputs": list(run.prompt),
    }


def blocked_data(run: Run, node_id: str, class_type: str, message: str) -> dict[str, Any]:
    """Describe a blocked node; this one has no time, and the job goes on."""
    return {
        "prompt_id": run.entry.prompt_id,
        "node_id": node_id,
        "node_type": class_type,
        "executed": list(run.executed),
        "exception_message": f"Execution Blocked: {message}",
        "exception_type": "ExecutionBlocked",
        "traceback": [],
        "current_inputs": [],
        "current_outputs": [],
    }


def _type_name(error: Exception) -> str:
    kind = type(error)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def find_blocker(inputs: Mapping[str, list[Any]]) -> base.Blocker | None:
    """Return the first input that blocks."""
    for values in inputs.values():
        for value in values:
            if isinstance(value, base.Blocker):
                return value
    return None


def weight(inputs: Mapping[str, Any]) -> int:
    """Guess a node's work by the values that go in and the size that it is to make."""
    total = 0
    for value in inputs.values():
        if hasattr(value, "size") and isinstance(value.size, int):
            total += value.size
    width, height = inputs.get("width"), inputs.get("height")
    if isinstance(width, int) and isinstance(height, int):
        batch = inputs.get("batch_size", 1)
        total += width * height * 3 * (batch if isinstance(batch, int) else 1)
    return total


def merge(found: Class, results: list[base.Outcome]) -> Result:
    """Join the results of a node that ran once for each item of a list."""
    if results and isinstance(next(iter(results[0].outputs), None), base.Expansion):
        return Result([results[0].outputs[0]], None)
    outputs: list[list[Any]] = []
    for slot in range(len(found.outputs)):
        values: list[Any] = []
        for result in results:
            value = result.outputs[slot] if slot < len(result.outputs) else None
            if found.output_is_list[slot] and isinstance(value, list):
                values += value
            else:
                values.append(value)
        outputs.append(values)
    shown = [result.ui for result in results if result.ui is not None]
    if not shown:
        return Result(outputs, None)
    return Result(outputs, {key: [item for ui in shown for item in ui.get(key, [])] for key in shown[0]})


def history(run: Run, outcome: str) -> dict[str, Any]:
    """Write the history entry of a job that has ended."""
    success = outcome == "success"
    number, prompt_id, prompt, extra_data, outputs = run.entry.listed()
    shown = {name: value for name, value in extra_data.items() if name not in SENSITIVE}
    return {
        "prompt": [number, prompt_id, prompt, shown, outputs],
        "outputs": run.ui,
        "status": {
            "status_str": "success" if success else "error",
            "completed": success,
            "messages": run.messages,
        },
        "meta": {
            node_id: {
                "node_id": node_id,
                "display_node": run.parents.get(node_id, node_id),
                "parent_node": run.parents.get(node_id),
                "real_node_id": run.parents.get(node_id, node_id),
            }
            for node_id in run.ui
        },
    }
