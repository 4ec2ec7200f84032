"""A small file of tables, TOML or JSON, which may come from anyone."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from typing import Any, Final

from gateway.domain import errors
from gateway.domain.comfy import structure

MAX_DOTS: Final = 20_000  #: in the whole text
MAX_DOTS_IN_A_KEY: Final = 20  #: the time that a dotted key takes to read grows with the square of its parts

#: Strings and comments of TOML. Each matches wherever it begins, so that it is gone through once: one that has no end
#: goes on to the end of its line or of the text, and is told by the parser.
_QUOTED: Final = re.compile(
    r'"""(?:[^\\]|\\.?)*?(?:"""|\Z)'
    r"|'''.*?(?:'''|\Z)"
    r'|"[^"\\\n]*(?:\\[^\n]?[^"\\\n]*)*"?'
    r"|'[^'\n]*'?"
    r"|\#[^\n]*",
    re.DOTALL,
)
_BETWEEN_KEYS: Final = re.compile(r"[^\w.-]+")


def parsed(text: str, source: str) -> Any:
    """The value of this text, a JSON object or TOML; TemplateError that names the source."""
    kind = "JSON" if text.lstrip().startswith("{") else "TOML"  # no TOML begins like that
    try:
        value = json.loads(text) if kind == "JSON" else _toml(text)
    except ValueError as error:
        raise errors.TemplateError(f"{source} is not {kind}: {error}") from None
    except RecursionError:
        raise errors.TemplateError(f"{source} is not {kind} that we read: it is nested too deeply") from None
    complaint = _complaint(value)
    if complaint is not None:
        raise errors.TemplateError(f"{source} is not {kind} that we read: a text in it {complaint}")
    return value


def without(value: Any, places: Sequence[Sequence[str | int]]) -> Any:
    """The value without what is at these places: the key itself, else the nearest one around it."""
    for place in places:
        value, _ = _cut(value, place)
    return value


def _cut(value: Any, place: Sequence[str | int]) -> tuple[Any, bool]:
    """A copy without that entry, and whether there was one."""
    if not place:
        return value, False
    key = place[0]
    if isinstance(value, dict) and key in value:
        rest, is_cut = _cut(value[key], place[1:])
        return ({**value, key: rest} if is_cut else {name: value[name] for name in value if name != key}), True
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        rest, is_cut = _cut(value[key], place[1:])
        return ([*value[:key], rest, *value[key + 1 :]] if is_cut else value), is_cut
    return value, False


def _complaint(value: Any) -> str | None:
    """Why some text in this value cannot be stored and sent, or None. JSON can write half of a surrogate pair."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            complaint = structure.text_complaint(item)
            if complaint is not None:
                return complaint
        elif isinstance(item, dict):
            todo.extend(item)
            todo.extend(item.values())
        elif isinstance(item, list):
            todo.extend(item)
    return None


def _toml(text: str) -> Any:
    if text.count(".") > MAX_DOTS_IN_A_KEY:
        _refuse_dots(_QUOTED.sub(_stand_in, text))
    return tomllib.loads(text)


def _stand_in(quoted: re.Match[str]) -> str:
    return "" if quoted[0].startswith("#") else "x"  # a string may be part of a key


def _refuse_dots(text: str) -> None:
    keys = _BETWEEN_KEYS.split(text.translate({ord(" "): None, ord("\t"): None}))
    dots = [key.count(".") for key in keys]
    if max(dots) > MAX_DOTS_IN_A_KEY or sum(dots) > MAX_DOTS:
        raise ValueError(f"it has more than {MAX_DOTS_IN_A_KEY} dots in a key, or {MAX_DOTS} in all")
