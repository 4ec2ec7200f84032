"""Text, numbers and switches: the small nodes between the large ones."""

from __future__ import annotations

import ast
import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from gateway.simulator.nodes.base import Context, Node, Outcome
from gateway.simulator.showing import show_text


def preview_any(ctx: Context, *, source: Any = None) -> Outcome:
    """Show anything as text."""
    del ctx
    match source:
        case None:
            text = "None"
        case str():
            text = source
        case bool() | int() | float():
            text = str(source)
        case dict() | list():
            try:
                text = json.dumps(source, indent=4)
            except (TypeError, ValueError):
                text = show_text(source)
        case _:
            text = show_text(source)
    return Outcome((text,), {"text": [text]})


def value(ctx: Context, *, value: Any) -> tuple[Any]:
    """Hand a typed-in value on."""
    del ctx
    return (value,)


def concatenate(ctx: Context, *, string_a: str, string_b: str, delimiter: str) -> tuple[str]:
    """Join two texts."""
    del ctx
    return (delimiter.join((string_a, string_b)),)


def substring(ctx: Context, *, string: str, start: int, end: int) -> tuple[str]:
    """Cut a text."""
    del ctx
    return (string[start:end],)


def length(ctx: Context, *, string: str) -> tuple[int]:
    """Count characters."""
    del ctx
    return (len(string),)


def replace(ctx: Context, *, string: str, find: str, replace: str) -> tuple[str]:
    """Replace a part."""
    del ctx
    return (string.replace(find, replace),)


def trim(ctx: Context, *, string: str, mode: str) -> tuple[str]:
    """Take blanks off the ends."""
    del ctx
    match mode:
        case "Left":
            return (string.lstrip(),)
        case "Right":
            return (string.rstrip(),)
        case _:
            return (string.strip(),)


def case(ctx: Context, *, string: str, mode: str) -> tuple[str]:
    """Change upper and lower case."""
    del ctx
    modes = {"UPPERCASE": str.upper, "lowercase": str.lower, "Capitalize": str.capitalize, "Title Case": str.title}
    return (modes.get(mode, str)(string),)


def contains(ctx: Context, *, string: str, substring: str, case_sensitive: bool) -> tuple[bool]:
    """Look for a part."""
    del ctx
    if not case_sensitive:
        string, substring = string.lower(), substring.lower()
    return (substring in string,)


def regex_replace(
    ctx: Context, *, string: str, regex_pattern: str, replace: str, count: int = 0, **flags: Any
) -> tuple[str]:
    """Replace by pattern."""
    del ctx
    bits = 0 if flags.get("case_insensitive") is False else re.IGNORECASE
    bits |= re.MULTILINE if flags.get("multiline") else 0
    bits |= re.DOTALL if flags.get("dotall") else 0
    return (re.sub(regex_pattern, replace, string, count=count, flags=bits),)


def switch(ctx: Context, *, switch: bool, on_false: Any = None, on_true: Any = None) -> tuple[Any]:
    """Hand one of two things on; the other one is not even computed."""
    del ctx
    return (on_true if switch else on_false,)


def _branch(inputs: dict[str, list[Any]]) -> list[str]:
    return ["on_true" if inputs["switch"][0] else "on_false"]


_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "max": max,
    "min": min,
    "round": round,
    "sqrt": math.sqrt,
}


def math_expression(ctx: Context, *, expression: str, **values: Any) -> tuple[float, int, bool]:
    """Compute with the values that are linked in (`values.a` is `a`)."""
    del ctx
    names = {name.rpartition(".")[2]: value for name, value in values.items()}
    result = _compute(ast.parse(expression, mode="eval").body, names)
    return float(result), int(result), bool(result)


def _compute(node: ast.expr, names: Mapping[str, Any]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_compute(operand, names)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_compute(left, names), _compute(right, names))
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_compute(argument, names) for argument in arguments))
        case _:
            raise ValueError(f"the simulator does not compute {ast.unparse(node)}")


NODES: Mapping[str, Node] = {
    "ComfyMathExpression": Node(run=math_expression),
    "ComfySwitchNode": Node(run=switch, lazy=_branch),
    "PreviewAny": Node(run=preview_any),
    "PrimitiveString": Node(run=value),
    "PrimitiveStringMultiline": Node(run=value),
    "PrimitiveInt": Node(run=value),
    "PrimitiveFloat": Node(run=value),
    "PrimitiveBoolean": Node(run=value),
    "StringConcatenate": Node(run=concatenate),
    "StringSubstring": Node(run=substring),
    "StringLength": Node(run=length),
    "StringReplace": Node(run=replace),
    "StringTrim": Node(run=trim),
    "CaseConverter": Node(run=case),
    "StringContains": Node(run=contains),
    "RegexReplace": Node(run=regex_replace),
}
