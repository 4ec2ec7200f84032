"""What pydantic finds wrong with a value, in the words of this project: bodies, queries, settings, template files."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Mapping
from typing import Any, Final

_SAYINGS: Final[Mapping[str, str]] = types.MappingProxyType(
    {
        "int_type": "must be a whole number",
        "int_parsing": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_type": "must be a number",
        "float_parsing": "must be a number",
        "finite_number": "must be a finite number",
        "string_type": "must be text",
        "bool_type": "must be true or false",
        "bool_parsing": "must be true or false",
        "list_type": "must be a list",
        "tuple_type": "must be a list",
        "dict_type": "must be an object",
        "model_type": "must be an object",
        "model_attributes_type": "must be an object",
        "missing": "is missing",
        "greater_than": "must be more than {gt}",
        "greater_than_equal": "must be at least {ge}",
        "less_than": "must be less than {lt}",
        "less_than_equal": "must be at most {le}",
        "literal_error": "must be one of {expected}",
        "enum": "must be one of {expected}",
        "string_pattern_mismatch": "must match the pattern {pattern}",
        "string_too_short": "must have at least {min_length} characters",
        "string_too_long": "must have at most {max_length} characters",
        "too_short": "must have at least {min_length} items",
        "too_long": "must have at most {max_length} items",
    }
)

_LONGEST: Final = 100  #: of a word that is compared


def said(problem: Mapping[str, Any]) -> str:
    """The problem (of `ValidationError.errors()`, its context included) as people read it, without its place."""
    saying = _SAYINGS.get(problem["type"])
    if saying is None:
        return str(problem["msg"]).removeprefix("Value error, ")
    return saying.format(**problem.get("ctx", {})) + _meant(problem)


def _meant(problem: Mapping[str, Any]) -> str:
    """`; did you mean 'x'?` for the nearest of the words that may stand there, or nothing."""
    given: object = problem.get("input")
    if problem["type"] not in {"enum", "literal_error"} or not isinstance(given, str):
        return ""
    words = re.findall(r"'([^']*)'", str(problem["ctx"]["expected"]))
    near = difflib.get_close_matches(given[:_LONGEST], words, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
