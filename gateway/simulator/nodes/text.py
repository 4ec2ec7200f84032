"""Text, numbers and switches: the small nodes between the large ones."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
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


NODES: Mapping[str, Node] = {
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
