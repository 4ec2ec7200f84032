"""From what was found to what answers to a name: one template, made anew when its files or the workers change."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway import unforeseen
from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info
from gateway.domain.pipelines import facing
from gateway.domain.templates import drafts, library, model, records

Wanted = drafts.Draft | library.Broken
Problem = library.Broken | library.Waiting
NO_GRAPH: Final = records.Converted(graph=graphs.Graph({}))  #: of a pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What a template is built from, kept to build it again."""

    draft: drafts.Draft
    converted: records.Converted


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What answers to a name: a template, the last good one while its file is broken or waits, or nothing."""

    wanted: Wanted
    basis: Basis | None = None
    template: model.Template | None = None
    problem: Problem | None = None


def wanted_of(name: str, content: records.Content) -> Wanted:
    """What was added over the API under this name; a pipeline's steps mean what their names mean now. What another
    release of the gateway took and this one does not is broken."""
    try:
        with unforeseen.as_template_error(name):
            return drafts.of_content(name, content, pinned=False)
    except errors.TemplateError as error:
        return library.Broken(name=name, source=name, reason=error.message, faults=error.faults)


def built(wanted: drafts.Draft, converted: records.Converted, catalog: object_info.NodeCatalog | None) -> Made:
    """The template of a draft; TemplateError."""
    template = wanted.template(converted, catalog)
    return Made(wanted=wanted, basis=Basis(draft=wanted, converted=converted), template=template)


def faced(wanted: drafts.Draft, find: facing.Find) -> Made:
    """The template of a pipeline; TemplateError, TemplateWaiting."""
    template = wanted.face(find)
    basis = Basis(draft=wanted.pinned(find), converted=NO_GRAPH)
    return Made(wanted=wanted, basis=basis, template=template)


def rebuilt(made: Made, catalog: object_info.NodeCatalog | None) -> Made:
    """The same by what the workers tell now: bounds and choices of what was inferred."""
    if made.basis is None or made.basis.draft.pipeline is not None:
        return made
    try:
        with unforeseen.as_template_error(made.basis.draft.name):
            template = made.basis.draft.template(made.basis.converted, catalog)
    except errors.TemplateError:  # it was good before: what the workers tell now must not take it away
        return made
    return dataclasses.replace(made, template=template)


def held_up(wanted: Wanted, error: Problem, last: Made | None) -> Made:
    """A file that cannot be used, with what answered to its name before."""
    template = last.template if last is not None else None
    problem = dataclasses.replace(error, serving=None if template is None else template.version)
    return Made(wanted=wanted, basis=last.basis if last is not None else None, template=template, problem=problem)


def problem_of(draft: drafts.Draft, error: errors.TemplateError | errors.TemplateWaiting) -> Problem:
    """How this error is told. What only lacks node classes waits for a worker that has them."""
    source = draft.source or draft.name
    if isinstance(error, errors.TemplateWaiting):
        return library.Waiting(name=draft.name, source=source, reason=error.message)
    lacks = bool(error.faults) and all(fault.reason == "missing_node_type" for fault in error.faults)
    kind = library.Waiting if lacks and draft.saved is not None else library.Broken
    return kind(name=draft.name, source=source, reason=error.message, faults=error.faults)


def shelved(made: Mapping[str, Made]) -> library.Library:
    """The library of all that was made."""
    problems = [each.problem for each in made.values() if each.problem is not None]
    return library.library(
        tuple(each.template for each in made.values() if each.template is not None),
        tuple(problem for problem in problems if isinstance(problem, library.Broken)),
        tuple(problem for problem in problems if isinstance(problem, library.Waiting)),
    )
