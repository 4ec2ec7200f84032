"""The file of a batch: JSON Lines or CSV, one order a line.

JSON Lines: an object of inputs (and perhaps `template`), or `{"template"?, "inputs", "metadata"?, "priority"?}`. CSV: a
header row of parameter names (and perhaps `template`), an empty cell says nothing.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from gateway.cli import failures
from gateway.domain import errors

_LONG_FORM = frozenset({"template", "inputs", "metadata", "priority"})
_MOST_BYTES = 1 << 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One order. `key` tells it from every other line, by its content."""

    number: int  #: in the file, from 1
    key: str
    template: str
    inputs: Mapping[str, Any]
    texts: bool  #: the inputs are cells of a CSV: text, whatever their type
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    priority: int | None = None  #: None: what the whole batch has

    def as_dict(self) -> dict[str, Any]:
        """The line in its long form."""
        pairs = {"template": self.template, "inputs": dict(self.inputs)}
        metadata = {"metadata": dict(self.metadata)} if self.metadata else {}
        priority = {} if self.priority is None else {"priority": self.priority}
        return {**pairs, **metadata, **priority}


def read(path: Path, template: str | None) -> list[Line]:
    """Every order of the file; Wrong with every line that cannot be read."""
    text = _text(path)
    texts = _is_csv(path)
    try:
        raws = list(_cells(text) if texts else _objects(text))
    except csv.Error as error:
        raise failures.Wrong(f"{path} is no CSV: {error}") from None
    seen: Counter[str] = Counter()
    lines: list[Line] = []
    faults: list[errors.Fault] = []
    for number, raw in raws:
        try:
            lines.append(_line(number, raw, template, texts=texts, seen=seen))
        except ValueError as error:
            faults.append(errors.Fault(reason="bad_line", message=str(error), index=number))
    if not lines and len({fault.message for fault in faults}) == 1:
        raise failures.Wrong(f"{path}: {faults[0].message}")
    if faults:
        count = "a line" if len(faults) == 1 else f"{len(faults)} lines"
        raise failures.Wrong(
            f"{count} of {path} cannot be used, nothing was ordered", faults=faults[:50], counted="line"
        )
    if not lines:
        raise failures.Wrong(f"there is nothing to order in {path}")
    return lines


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise failures.Wrong(f"{path} is larger than 256 MiB; split it")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise failures.Wrong(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise failures.Wrong(f"{path} is not UTF-8 text") from None


def _is_csv(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix not in {".csv", ".tsv", ".jsonl", ".ndjson", ".json"}:
        raise failures.Wrong(f"{path}: a batch is a .jsonl or a .csv file")
    return suffix in {".csv", ".tsv"}


def _objects(text: str) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield number, ValueError(f"This is not JSON: {error}.")


def _cells(text: str) -> Iterator[tuple[int, object]]:
    csv.field_size_limit(_MOST_BYTES)  # a cell may be as long as the file
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="", restval="")
    if rows.fieldnames is None:
        return
    names = [name.strip() for name in rows.fieldnames]
    if "" in names or len(set(names)) != len(names):
        raise failures.Wrong("the header row of the CSV must name each column, each once")
    rows.fieldnames = names
    for row in rows:
        number = rows.line_num
        if row.pop("", None):
            yield number, ValueError("There are more cells than the header has names.")
        elif given := {name: cell for name, cell in row.items() if cell != ""}:
            template = given.pop("template", None)
            yield number, {"inputs": given, **({"template": template} if template else {})}


def _line(number: int, raw: object, template: str | None, *, texts: bool, seen: Counter[str]) -> Line:
    if isinstance(raw, ValueError):
        raise raw
    if not isinstance(raw, dict):
        raise ValueError("A line is a JSON object.")  # noqa: TRY004  -- collected with the other faults
    known: dict[str, Any] = raw
    long = isinstance(known.get("inputs"), dict)
    if not long and "template" in known:  # as a CSV has it
        values = {name: value for name, value in known.items() if name != "template"}
        known, long = {"template": known["template"], "inputs": values}, True
    if long and (extra := known.keys() - _LONG_FORM):
        raise ValueError(f"Beside `inputs` there may be template, metadata and priority, not {', '.join(extra)}.")
    about = known if long else {"inputs": known}
    name = about.get("template") or template
    if not isinstance(name, str):
        raise ValueError("Which template? Give --template, or `template` in the line.")  # noqa: TRY004
    line = Line(
        number=number,
        key="",
        template=name,
        inputs=about["inputs"],
        texts=texts,
        metadata=_read(about, "metadata", dict, {}),
        priority=_read(about, "priority", int, 0) if "priority" in about else None,
    )
    told = line if line.priority else dataclasses.replace(line, priority=None)  # 0 has always been as good as nothing
    content = orjson.dumps(told.as_dict(), option=orjson.OPT_SORT_KEYS)
    digest = hashlib.blake2b(content, digest_size=10).hexdigest()
    seen[digest] += 1  # equal lines are several orders
    return dataclasses.replace(line, key=f"{digest}-{seen[digest]}")


def _read(about: Mapping[str, Any], name: str, kind: Callable[..., Any], default: Any) -> Any:
    value = about.get(name, default)
    if not isinstance(value, type(default)) or isinstance(value, bool):
        raise ValueError(f"`{name}` is not {'an object' if kind is dict else 'an integer'}.")  # noqa: TRY004
    return value
