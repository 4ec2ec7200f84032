"""What a dialect says about one value of a graph."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.domain.comfy import graph as graphs
from gateway.domain.templates.model import ParameterType

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9]+")
MAX_NAME: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """The stock node that does what a dialect's node does, with its outputs in the same places."""

    class_type: str
    field: str
    inputs: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One parameter as a node or a title declares it. What is None, the value and its input tell."""

    name: str  #: as the author wrote it
    node: str
    field: str  #: the node's input that holds the value
    type: ParameterType | None = None
    title: str | None = None
    description: str | None = None
    required: bool | None = None
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    multiline: bool = False
    order: float = 0
    is_carrier: bool = False  #: the node hands its value on and does nothing else
    stand_in: StandIn | None = None


Dialect = Callable[[graphs.Graph], Iterator[Declared]]


def name_of(words: str) -> str:
    """A parameter's name out of what the author wrote: as it is where it can be one; empty where no letter is left."""
    if NAME.fullmatch(words):
        return words
    plain = unicodedata.normalize("NFKD", words.replace("ß", "ss")).encode("ascii", "ignore").decode()
    name = NOT_IN_NAMES.sub("_", plain).strip("_").lower()
    if name and not name[0].isalpha():
        name = f"p_{name}"
    return name[:MAX_NAME].rstrip("_")


def text_of(value: object) -> str | None:
    """A text that says something."""
    return value.strip() if isinstance(value, str) and value.strip() else None


def number_of(value: object) -> float | None:
    """A number as JSON has them."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
