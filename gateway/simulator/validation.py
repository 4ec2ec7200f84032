"""ComfyUI's check of a prompt: what it refuses, in its own words, and the odd things that it lets pass.

Validation walks back from each output node. A prompt is accepted as soon as one output is good; the others
are left out, with their errors in the answer. Numbers are converted in place, as on a real server.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.simulator.catalog import DYNAMIC_TYPES, Catalog, Input

#: Nodes in a row at which a real server's validation gives up (measured: 981).
_DEEPEST = 980
_CALLS_A_NODE = 6
#: What a broken prompt makes validation stumble over.
_STUMBLES = (KeyError, IndexError, TypeError, AttributeError, RecursionError)
#: A class's own checks, by input: a value in, a complaint out (empty when there is none).
CustomChecks = Mapping[str, Callable[[Any], str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of it: an error, or the outputs to run; both with the errors of single nodes."""

    error: dict[str, Any] | None
    outputs: list[str]
    node_errors: dict[str, Any]


@dataclass(slots=True)
class _Node:
    ok: bool
    errors: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def _problem(kind: str, message: str, details: str, extra_info: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info or {}}


@contextlib.contextmanager
def _room_to_recurse(nodes: int) -> Generator[None]:
    """Let the walk go as deep as a real server's, which needs fewer calls a node."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + _CALLS_A_NODE * min(nodes, _DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


class Validator:
    """Checks prompts against a catalog, in the manner of one version."""

    def __init__(self, catalog: Catalog, checks: Mapping[str, CustomChecks], *, is_new: bool) -> None:
        self._catalog = catalog
        self._checks = checks
        self._is_new = is_new

    def check(self, prompt: Any, targets: Any) -> Verdict:
        """Judge a prompt. Shapes that crash a real server's handler raise TypeError and the like here."""
        if self._is_new:
            for node in prompt.values():
                node.get("inputs", {}).items()
        outputs: list[str] = []
        for node_id in prompt:
            refusal = self._check_class(prompt, node_id)
            if refusal is not None:
                return Verdict(error=refusal, outputs=[], node_errors={})
            found = self._catalog.classes[prompt[node_id]["class_type"]]
            if found.is_output and (targets is None or node_id in targets):
                outputs.append(node_id)
        if not outputs:
            return Verdict(error=_problem("prompt_no_outputs", "Prompt has no outputs", ""), outputs=[], node_errors={})
        return self._check_outputs(prompt, outputs)

    def _check_class(self, prompt: Any, node_id: str) -> dict[str, Any] | None:
        node = prompt[node_id]
        if "class_type" in node:
            name = node["class_type"]
            if self._catalog.get(name) is not None:
                return None
        else:
            name = None
        details = f"Node ID '#{node_id}'"
        if not self._is_new:
            if name is None:
                message = "Cannot execute because a node is missing the class_type property."
            else:
                message = f"Cannot execute because node {name} does not exist."
            return _problem("invalid_prompt", message, details)
        title = (node.get("_meta") or {}).get("title", name or node_id)
        if name is None:
            message = f"Node '{title}' has no class_type. The workflow may be corrupted or a custom node is missing."
        else:
            message = f"Node '{title}' not found. The custom node may not be installed."
        info = {"node_id": node_id, "class_type": name, "node_title": title}
        return _problem("missing_node_type", message, details, info)

    def _check_outputs(self, prompt: dict[str, Any], outputs: list[str]) -> Verdict:
        walk = _Walk(self._catalog, self._checks, prompt, is_new=self._is_new)
        with _room_to_recurse(len(prompt)):
            return self._judge(walk, prompt, outputs)

    def _judge(self, walk: _Walk, prompt: dict[str, Any], outputs: list[str]) -> Verdict:
        good: list[str] = []
        reasons: list[str] = []
        node_errors: dict[str, Any] = {}
        for output in outputs:
            if walk.check_output(output):
                good.append(output)
                continue
            reasons += [f"{error['message']}: {error['details']}" for error in walk.nodes[output].errors]
            for node_id, node in walk.nodes.items():
                if node.ok or not node.errors:
                    continue
                entry = node_errors.setdefault(
                    node_id,
                    {
                        "errors": node.errors,
                        "dependent_outputs": [],
                        "class_type": prompt[node_id]["class_type"] if node_id in prompt else None,
                    },
                )
                if output in walk.reached and node_id in walk.reached[output]:
                    entry["dependent_outputs"].append(output)
        error = None
        if not good:
            error = _problem("prompt_outputs_failed_validation", "Prompt outputs failed validation", "\n".join(reasons))
        return Verdict(error=error, outputs=good, node_errors=node_errors)


class _Walk:
    """One walk over one prompt; what was judged once is not judged again."""

    def __init__(
        self,
        catalog: Catalog,
        checks: Mapping[str, CustomChecks],
        prompt: dict[str, Any],
        *,
        is_new: bool,
    ) -> None:
        self._catalog = catalog
        self._checks = checks
        self._prompt = prompt
        self._is_new = is_new
        self._path: list[str] = []
        self._in_path: set[str] = set()
        self.nodes: dict[str, _Node] = {}
        self.reached: dict[str, set[str]] = {}

    def check_output(self, output: str) -> bool:
        """Judge an output node and all that it depends on."""
        self._path.clear()
        self._in_path.clear()
        try:
            ok = self._check_node(output)
        except _STUMBLES as stumble:
            ok = False
            self.nodes[output] = _Node(
                ok=False,
                errors=[
                    _problem(
                        "exception_during_validation",
                        "Exception when validating node",
                        str(stumble),
                        {"exception_type": type(stumble).__name__, "traceback": _trace(stumble)},
                    )
                ],
            )
        if not ok:
            self.reached[output] = self._reach(output)
        return ok

    def _reach(self, output: str) -> set[str]:
        """Return the nodes that an output depends on, itself included."""
        reached: set[str] = set()
        waiting: list[Any] = [output]
        while waiting:
            node_id = waiting.pop()
            if not isinstance(node_id, str) or node_id in reached:
                continue
            reached.add(node_id)
            node = self._prompt.get(node_id)
            inputs = node.get("inputs") if isinstance(node, dict) else None
            if isinstance(inputs, dict):
                waiting += [value[0] for value in inputs.values() if isinstance(value, list) and len(value) == 2]
        return reached

    def _check_node(self, node_id: Any) -> bool:
        known = self.nodes.get(node_id)
        if known is not None:
            return known.ok
        if node_id in self._in_path:
            return self._report_cycle(node_id)
        if len(self._path) >= _DEEPEST:
            raise RecursionError("maximum recursion depth exceeded while calling a Python object")
        self._path.append(node_id)
        self._in_path.add(node_id)
        try:
            node = self._check_inputs(node_id)
        finally:
            self._path.pop()
            self._in_path.discard(node_id)
        self.nodes.setdefault(node_id, node)
        return self.nodes[node_id].ok

    def _report_cycle(self, node_id: str) -> bool:
        if not self._is_new:
            return False
        cycle = self._path[self._path.index(node_id) :]
        names = [f"{item} ({self._prompt[item]['class_type']})" for item in (*cycle, node_id)]
        for item in cycle:
            info = {"node_id": item, "cycle_nodes": cycle}
            error = _problem("dependency_cycle", "Dependency cycle detected", " -> ".join(names), info)
            self.nodes[item] = _Node(ok=False, errors=[error])
        return False

    def _check_inputs(self, node_id: str) -> _Node:
        node = self._prompt[node_id]
        inputs: dict[str, Any] = node["inputs"]
        found = self._catalog.classes[node["class_type"]]
        result = _Node(ok=True)
        own = self._checks.get(found.name, {})
        for spec in found.inputs:
            if spec.type in DYNAMIC_TYPES:
                self._check_dynamic(inputs, spec, result)
            elif spec.name not in inputs:
                if spec.required:
                    info = {"input_name": spec.name}
                    result.errors.append(
                        _problem("required_input_missing", "Required input is missing", spec.name, info)
                    )
            elif isinstance(inputs[spec.name], list):
                self._check_link(spec, inputs[spec.name], result)
            else:
                self._check_value(spec, inputs, result, has_own_check=spec.name in own)
        if not result.errors and result.ok:
            _check_custom(own, inputs, result)
        result.ok = result.ok and not result.errors
        return result

    def _check_dynamic(self, inputs: dict[str, Any], spec: Input, result: _Node) -> None:
        for name, value in inputs.items():
            is_part = name == spec.name or name.startswith(f"{spec.name}.")
            if is_part and isinstance(value, list) and len(value) == 2:
                self._follow(spec, value, result)

    def _check_link(self, spec: Input, value: list[Any], result: _Node) -> None:
        info: dict[str, Any] = {"input_name": spec.name, "input_config": spec.config, "received_value": value}
        if len(value) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            result.errors.append(_problem("bad_linked_input", message, spec.name, info))
            return
        source = self._catalog.classes[self._prompt[value[0]]["class_type"]]
        if value[1] >= len(source.outputs):
            raise IndexError("tuple index out of range")
        received = source.outputs[value[1]]
        if not _fits(received, spec.type):
            info = {
                "input_name": spec.name,
                "input_config": spec.config,
                "received_type": received,
                "linked_node": value,
            }
            details = f"{spec.name}, received_type({received}) mismatch input_type({spec.type})"
            result.errors.append(
                _problem("return_type_mismatch", "Return type mismatch between linked nodes", details, info)
            )
            return
        self._follow(spec, value, result)

    def _follow(self, spec: Input, link: list[Any], result: _Node) -> None:
        try:
            if not self._check_node(link[0]):
                result.ok = False
        except _STUMBLES as stumble:
            result.ok = False
            error = _problem(
                "exception_during_inner_validation",
                "Exception when validating inner node",
                str(stumble),
                {
                    "input_name": spec.name,
                    "input_config": spec.config,
                    "exception_message": str(stumble),
                    "exception_type": type(stumble).__name__,
                    "traceback": _trace(stumble),
                    "linked_node": link,
                },
            )
            self.nodes[link[0]] = _Node(ok=False, errors=[error])

    def _check_value(self, spec: Input, inputs: dict[str, Any], result: _Node, *, has_own_check: bool) -> None:
        value = inputs[spec.name]
        if isinstance(value, dict) and "__value__" in value:
            value = inputs[spec.name] = value["__value__"]
        info: dict[str, Any] = {"input_name": spec.name, "input_config": spec.config, "received_value": value}
        try:
            value = inputs[spec.name] = _convert(spec.type, value)
        except (ValueError, TypeError, OverflowError) as complaint:
            message = f"Failed to convert an input value to a {spec.type} value"
            info["exception_message"] = str(complaint)
            details = f"{spec.name}, {value}, {complaint}"
            result.errors.append(_problem("invalid_input_type", message, details, info))
            return
        if has_own_check:
            return
        info["received_value"] = value
        if spec.minimum is not None and value < spec.minimum:
            message = f"Value {value} smaller than min of {spec.minimum}"
            result.errors.append(_problem("value_smaller_than_min", message, spec.name, info))
        elif spec.maximum is not None and value > spec.maximum:
            message = f"Value {value} bigger than max of {spec.maximum}"
            result.errors.append(_problem("value_bigger_than_max", message, spec.name, info))
        elif spec.options is not None and value not in spec.options:
            result.errors.append(_not_in_list(spec, value))


def _check_custom(own: CustomChecks, inputs: dict[str, Any], result: _Node) -> None:
    for name, check in own.items():
        if name not in inputs or isinstance(inputs[name], list):
            continue
        complaint = check(inputs[name])
        if complaint:
            info = {"input_name": name}
            message = "Custom validation failed for node"
            result.errors.append(_problem("custom_validation_failed", message, f"{name} - {complaint}", info))


def _convert(kind: str, value: Any) -> Any:
    match kind:
        case "INT":
            return int(value)
        case "FLOAT":
            return float(value)
        case "STRING":
            return str(value)
        case "BOOLEAN":
            return bool(value)
        case _:
            return value


def _fits(received: str, expected: str) -> bool:
    if received == expected or "*" in (received, expected) or received in DYNAMIC_TYPES:
        return True
    return bool(set(received.split(",")) & set(expected.split(",")))


def _not_in_list(spec: Input, value: Any) -> dict[str, Any]:
    options = spec.options or []
    is_long = len(options) > 20
    listed = f"(list of length {len(options)})" if is_long else str(options)
    info = {
        "input_name": spec.name,
        "input_config": None if is_long else spec.config,
        "received_value": value,
    }
    return _problem("value_not_in_list", "Value not in list", f"{spec.name}: '{value}' not in {listed}", info)


def _trace(error: BaseException) -> list[str]:
    """Return a traceback as ComfyUI sends it: a list of its own lines."""
    return traceback.format_tb(error.__traceback__)
