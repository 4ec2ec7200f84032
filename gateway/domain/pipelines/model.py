"""What a pipeline is made of.

A step is a template, or something that the gateway does to files by itself (`Finish`, `Check`). Steps name what they
take from others as `@step`, `@step.output` or `@step[1]`; so the order in which they can run follows from that alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from gateway.domain.templates import model as templates  # which is made of this module

MAX_STEPS: Final = 32
_REFERENCE: Final = re.compile(r"@([A-Za-z][A-Za-z0-9_]{0,63})(?:\.([A-Za-z][A-Za-z0-9_]{0,63}))?(?:\[(\d{1,4})\])?")

Format = Literal["png", "jpeg", "webp", "avif"]


class Reference(NamedTuple):
    """A file that another step makes: its `number`-th, of those of the output called `output` if that is given."""

    step: str
    output: str | None = None
    number: int = 0

    def __str__(self) -> str:
        named = f".{self.output}" if self.output else ""
        return f"@{self.step}{named}" + (f"[{self.number}]" if self.number else "")

    @classmethod
    def parse(cls, text: str) -> Reference | None:
        """The reference that this is; None for any other text."""
        found = _REFERENCE.fullmatch(text)
        return None if found is None else cls(found[1], found[2], int(found[3] or 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """Changes to pictures that need no GPU."""

    format: Format | None = None  #: None: as it is
    quality: int | None = None  #: 1 to 100, for the formats that lose something
    width: int | None = None  #: the largest width; the picture keeps its proportions and never grows
    height: int | None = None
    metadata: Literal["keep", "strip"] = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """An external program that says over HTTP whether a file may be handed out."""

    url: str
    on_refusal: Literal["withhold", "fail"] = "withhold"
    seconds: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step. Exactly one of `template`, `finish` and `check` is there; the latter two work on all files of `of`."""

    name: str
    template: str | None = None  #: `name`, `name@alias` or `name@version`
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])  #: of the template; strings may be references
    finish: Finish | None = None
    check: Check | None = None
    of: str | None = None  #: the step whose files are finished or checked

    def needs(self) -> frozenset[str]:
        """The steps that must have ended before."""
        taken = {reference.step for _, reference in self.references()}
        return frozenset(taken if self.of is None else {*taken, self.of})

    def references(self) -> Iterator[tuple[str, Reference]]:
        """Inputs that are files of other steps."""
        for name, value in self.inputs.items():
            reference = Reference.parse(value) if isinstance(value, str) else None
            if reference is not None:
                yield name, reference


class Target(NamedTuple):
    """A parameter of a step's template."""

    step: str
    parameter: str

    def __str__(self) -> str:
        return f"{self.step}.{self.parameter}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The file, read. `inputs`: what callers give, and the parameters that it sets."""

    steps: tuple[Step, ...]
    inputs: Mapping[str, tuple[Target, ...]]
    outputs: tuple[str, ...]  #: the steps whose files are the pipeline's
    title: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    retention: float | None = None
    examples: tuple[templates.Example, ...] = ()

    def step(self, name: str) -> Step | None:
        """The step of this name."""
        return next((step for step in self.steps if step.name == name), None)

    @property
    def is_sealed(self) -> bool:
        """Whether its steps are nobody's to see: what a check withholds must not be found at the step before."""
        return any(step.check is not None for step in self.steps)
