"""Texts that the editor works on as it posts: prompts with choices and comments, names of files with values in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

_PART: Final = re.compile(r"\\.?|[{}|]|[^\\{}|]+", re.DOTALL)
_MARKS: Final = re.compile(r"//|/\*")
_LINES: Final = re.compile(r"//[^\n\r]*")
_LINE_END: Final = re.compile(r"[\n\r]")
_ESCAPES: Final = {"\\{": "{", "\\|": "|", "\\}": "}"}
_LONGEST: Final = 50_000  #: characters; nobody writes choices into a text that is longer
_NAMED: Final = re.compile(r"%([^%.]+)\.([^%.]+)%")
_NOT_IN_NAMES: Final = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f-\x9f]')


def plain_prompt(text: str) -> str:
    """A prompt without its comments (`// …`, `/* … */`), with the first of each `{red|green}`.

    The editor draws one of the choices for each run. A converted graph is kept and run many times, so it is always the
    first. `\\{`, `\\|` and `\\}` are the characters themselves; a brace that is never closed ends with the text.
    """
    if len(text) > _LONGEST:
        return text
    groups: list[bool] = []  # for each brace that is open: whether its first choice is over
    hidden = 0  # how many of them are past it
    kept: list[str] = []
    for part in _PART.findall(_without_comments(text)):
        if part == "{":
            groups.append(False)
        elif part == "}" and groups:
            hidden -= groups.pop()
        elif part == "|" and groups:
            hidden += not groups[-1]
            groups[-1] = True
        elif not hidden:
            kept.append(_ESCAPES.get(part, part))
    return "".join(kept)


def _without_comments(text: str) -> str:
    kept: list[str] = []
    at = 0
    while (mark := _MARKS.search(text, at)) is not None:
        end = text.find("*/", mark.end()) + 2 if mark[0] == "/*" else _end_of_line(text, mark.end())
        if end == 1:  # a comment that is never closed is none, and no other will be
            break
        kept.append(text[at : mark.start()])
        at = end
    return "".join(kept) + _LINES.sub("", text[at:])


def _end_of_line(text: str, start: int) -> int:
    found = _LINE_END.search(text, start)
    return len(text) if found is None else found.start()


def with_values(name: str, value_of: Callable[[str, str], Any]) -> str:
    """The name of a file with `%node.widget%` replaced by values; `value_of` answers None for what it does not know.

    What ComfyUI replaces itself (`%width%`, `%year%`) and dates (`%date:…%`) stay.
    """

    def replaced(match: re.Match[str]) -> str:
        value = value_of(match[1], match[2])
        return match[0] if value is None else _NOT_IN_NAMES.sub("_", _written(value))

    return _NAMED.sub(replaced, name)


def _written(value: Any) -> str:
    # As JavaScript writes values.
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
