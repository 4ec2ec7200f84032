"""All templates of a gateway, and the files that should have been templates."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cached_property

from gateway.domain import errors
from gateway.domain.templates.model import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A template file that cannot be used, and why. `serving` is the version that still answers to its name."""

    name: str
    source: str
    reason: str
    faults: tuple[errors.Fault, ...] = ()
    serving: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A file in the editor's format that no known worker has told enough to convert; it is tried again."""

    name: str
    source: str
    reason: str
    faults: tuple[errors.Fault, ...] = ()  #: what the workers lack; none while no worker is known
    serving: str | None = None


@dataclass(frozen=True, kw_only=True)
class Library:
    """Templates, broken and waiting files, each sorted by name."""

    templates: tuple[Template, ...] = ()
    broken: tuple[Broken, ...] = ()
    waiting: tuple[Waiting, ...] = ()

    @cached_property
    def _by_name(self) -> dict[str, Template]:
        return {template.name: template for template in self.templates}

    @cached_property
    def names(self) -> frozenset[str]:
        """Of all templates and files."""
        return frozenset(item.name for item in (*self.templates, *self.broken, *self.waiting))

    def get(self, name: str) -> Template:
        """The template of this name; `TemplateError` when its file is broken, `TemplateWaiting` when it cannot be
        converted yet, `NotFound` with near misses."""
        template = self._by_name.get(name)
        if template is not None:
            return template
        for broken in self.broken:
            if broken.name == name:
                raise errors.TemplateError(f"The template {name} is broken: {broken.reason}", faults=broken.faults)
        for waiting in self.waiting:
            if waiting.name == name:
                raise unconverted(f"The template {name} cannot be used yet: {waiting.reason}", waiting.faults)
        near = difflib.get_close_matches(name[:100], self._by_name, n=3)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise errors.NotFound(f"There is no template of this name.{hint}", details={"suggestions": near})

    def with_over(self, other: Library) -> Library:
        """Both libraries; where they share a name, the other's template or file counts."""
        theirs = other.names
        return library(
            (*other.templates, *(item for item in self.templates if item.name not in theirs)),
            (*other.broken, *(item for item in self.broken if item.name not in theirs)),
            (*other.waiting, *(item for item in self.waiting if item.name not in theirs)),
        )


def library(templates: tuple[Template, ...], broken: tuple[Broken, ...], waiting: tuple[Waiting, ...]) -> Library:
    """The library of these, sorted."""
    return Library(
        templates=tuple(sorted(templates, key=lambda template: template.name)),
        broken=tuple(sorted(broken, key=lambda item: item.name)),
        waiting=tuple(sorted(waiting, key=lambda item: item.name)),
    )


def unconverted(message: str, faults: tuple[errors.Fault, ...]) -> errors.GatewayError:
    """Why a file in the editor's format is no template now: no worker told its node classes (come back), or those that
    did lack some (mend the file, or install what it needs)."""
    if faults:
        return errors.TemplateError(message, faults=faults)
    return errors.TemplateWaiting(message)
