"""Column types that take any text a client can send, on both engines.

PostgreSQL's TEXT refuses NUL, and neither engine takes a lone surrogate. What we compare with stays readable text
(`Word`); what a client wrote is kept to the last character as bytes (`Prose`, `Json`).
"""

from __future__ import annotations

import json
from typing import Any

import orjson
import sqlalchemy as sa


class Word(sa.TypeDecorator[str]):
    """Ids and names. A character that an engine cannot store is replaced, so such a word matches nothing."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """`value` as plain text."""
        if value is None:
            return None
        text = str(value)
        if text.isascii() and "\0" not in text:
            return text
        return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


class Prose(sa.TypeDecorator[str]):
    """Text kept exactly as it came, whatever is in it."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> bytes | None:
        """`value` as bytes."""
        return None if value is None else value.encode("utf-8", "surrogatepass")

    def process_result_value(self, value: bytes | None, dialect: sa.Dialect) -> str | None:
        """The text that was stored."""
        return None if value is None else value.decode("utf-8", "surrogatepass")


class Json(sa.TypeDecorator[Any]):
    """A JSON value as bytes. `None` is SQL's NULL."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> bytes | None:
        """`value` as JSON."""
        return None if value is None else dumps(value)

    def process_result_value(self, value: bytes | None, dialect: sa.Dialect) -> Any:
        """The JSON value that was stored."""
        return None if value is None else loads(value)


def dumps(value: Any) -> bytes:
    """JSON of `value`. What orjson refuses (lone surrogates, integers over 64 bits) the slow writer takes; a space
    in front tells the reader, since orjson would read such integers as floats."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return b" " + json.dumps(value).encode()


def loads(data: bytes) -> Any:
    """The value that `dumps` wrote."""
    return json.loads(data) if data.startswith(b" ") else orjson.loads(data)
