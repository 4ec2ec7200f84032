"""A small file of tables, TOML or JSON, which may come from anyone."""

from __future__ import annotations

import json
import tomllib
from typing import Any, Final

from gateway.domain import errors

MAX_DOTS: Final = 20_000  #: in the whole text
MAX_DOTS_IN_A_LINE: Final = 100  #: the time that a dotted key takes to read grows with the square of its parts


def parsed(text: str, source: str) -> Any:
    """The value of this text, a JSON object or TOML; TemplateError that names the source."""
    kind = "JSON" if text.lstrip().startswith("{") else "TOML"  # no TOML begins like that
    try:
        return json.loads(text) if kind == "JSON" else _toml(text)
    except ValueError as error:
        raise errors.TemplateError(f"{source} is not {kind}: {error}") from None
    except RecursionError:
        raise errors.TemplateError(f"{source} is not {kind} that we read: it is nested too deeply") from None


def _toml(text: str) -> Any:
    dots = text.count(".")
    if dots > MAX_DOTS or (dots > MAX_DOTS_IN_A_LINE and _most_dots(text) > MAX_DOTS_IN_A_LINE):
        raise ValueError(f"it has more than {MAX_DOTS_IN_A_LINE} dots in a line, or {MAX_DOTS} in all")
    return tomllib.loads(text)


def _most_dots(text: str) -> int:
    return max(line.count(".") for line in text.split("\n"))
