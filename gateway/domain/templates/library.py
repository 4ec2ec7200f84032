"""All templates of a gateway, and the files that should have been templates."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cached_property

from gateway.domain import errors
from gateway.domain.templates.model import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A template file that cannot be used, and why."""

    name: str
    source: str
    reason: str
    faults: tuple[errors.Fault, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Library:
    """Templates and broken files, each sorted by name."""

    templates: tuple[Template, ...] = ()
    broken: tuple[Broken, ...] = ()

    @cached_property
    def _by_name(self) -> dict[str, Template]:
        return {template.name: template for template in self.templates}

    def get(self, name: str) -> Template:
        """The template of this name; `TemplateError` when its file is broken, `NotFound` with near misses."""
        template = self._by_name.get(name)
        if template is not None:
            return template
        for broken in self.broken:
            if broken.name == name:
                raise errors.TemplateError(f"The template {name} is broken: {broken.reason}", faults=broken.faults)
        near = difflib.get_close_matches(name[:100], self._by_name, n=3)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise errors.NotFound(f"There is no template of this name.{hint}", details={"suggestions": near})

    def with_over(self, other: Library) -> Library:
        """Both libraries; where they share a name, the other's template or broken file counts."""
        theirs = {template.name for template in other.templates} | {broken.name for broken in other.broken}
        return Library(
            templates=_sorted(*other.templates, *(item for item in self.templates if item.name not in theirs)),
            broken=tuple(
                sorted(
                    (*other.broken, *(item for item in self.broken if item.name not in theirs)),
                    key=lambda broken: broken.name,
                )
            ),
        )


def _sorted(*templates: Template) -> tuple[Template, ...]:
    return tuple(sorted(templates, key=lambda template: template.name))
