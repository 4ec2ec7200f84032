"""What is told of templates, as JSON."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel, Field

from gateway.api import links, parts, schemas
from gateway.domain import errors
from gateway.domain.templates import describe, library, preflight
from gateway.domain.templates import model as templates


class Fault(BaseModel):
    """One thing that is wrong or missing, with its place."""

    reason: str
    message: str
    parameter: str | None = None
    node: str | None = None
    class_type: str | None = None
    field: str | None = None
    index: int | None = None


class TemplateUrls(BaseModel):
    """Follow-up links, host-relative with any mount prefix."""

    self: schemas.UriReference
    jobs: schemas.UriReference
    preflight: schemas.UriReference
    versions: schemas.UriReference


class TemplateSummary(BaseModel):
    """A template as the list shows it."""

    name: str = Field(examples=["sdxl"])
    version: str = Field(description="Changes with the content of its files.")
    title: str
    description: str | None
    tags: list[str]
    inferred: bool = Field(description="The parameters were found by walking the graph.")
    parameters: list[str]
    runnable: bool | None = Field(
        description="Whether a known worker would run it with its defaults; null while no worker is known."
    )
    urls: TemplateUrls


class BrokenTemplate(BaseModel):
    """A template file that cannot be used."""

    name: str
    source: str = Field(description="The file's name.")
    reason: str
    faults: list[Fault]
    serving: str | None = Field(description="The version that answers to the name meanwhile: the last good one.")


class WaitingTemplate(BrokenTemplate):
    """A file in the format of ComfyUI's editor that is converted as soon as a worker has told its node classes."""


class TemplateList(BaseModel):
    """All templates, and files that are none, by name."""

    templates: list[TemplateSummary]
    broken: list[BrokenTemplate]
    waiting: list[WaitingTemplate]


class Target(BaseModel):
    """An input of a node that a parameter sets."""

    node: str
    input: str


class TemplateParameter(BaseModel):
    """One value that an order may or must give."""

    name: str = Field(examples=["prompt"])
    type: templates.ParameterType
    role: str | None = Field(description="What it means across templates: prompt, width, seed …")
    title: str | None
    description: str | None
    required: bool
    default: Any
    default_file: str | None = Field(description="A file that ships with the template.")
    minimum: float | None
    maximum: float | None
    step: float | None
    choices: list[Any]
    multiline: bool
    targets: list[Target]


class TemplateOutput(BaseModel):
    """A node whose files are results."""

    name: str
    node: str
    title: str | None
    description: str | None


class TemplateExample(BaseModel):
    """Inputs that show what a template does."""

    name: str
    inputs: dict[str, Any] = Field(
        description="Values by parameter. A file is a path within the author's folder: order it as an upload of yours."
    )
    tolerance: float | None = Field(
        description="How far pictures may be from the stored ones in `templates test`; null: as far as any."
    )


class TemplateDetail(BaseModel):
    """All there is to know about a template, but for its graph."""

    name: str
    version: str
    title: str
    description: str | None
    tags: list[str]
    inferred: bool
    parameters: list[TemplateParameter]
    outputs: list[TemplateOutput]
    examples: list[TemplateExample]
    requirements: dict[str, Any] = Field(
        description="Node classes, model files by input, node packs and where to get the files."
    )
    json_schema: dict[str, Any] = Field(serialization_alias="schema", description="JSON Schema of `inputs`.")
    origin: str = Field(description="`file`, `api` or `shipped`: where the template of this name comes from.")
    runnable: bool | None
    workers: list[str] | None = Field(
        description="Workers that would run it with its defaults; null while none is known."
    )
    lacking: list[Fault] = Field(description="What the nearest known worker would refuse, when none would run it.")
    urls: TemplateUrls


class Refusal(Fault):
    """Something that a worker would refuse."""

    nearest: str | float | bool | None = Field(default=None, description="The nearest that it takes there.")


class WorkerVerdict(BaseModel):
    """What came of checking a template against one worker."""

    worker: str
    passes: bool | None = Field(description="null while the worker has not told what it has.")
    faults: list[Refusal]


class Preflight(BaseModel):
    """A template checked against every worker."""

    template: str
    version: str
    runnable: bool | None = Field(description="Whether at least one worker passes; null while none is known.")
    workers: list[WorkerVerdict]


def summary(known: parts.Parts, links_: links.Links, template: templates.Template) -> TemplateSummary:
    """A line of the list."""
    return TemplateSummary(
        **describe.summary(template),
        runnable=_runnable(known.templates.verdicts(template)),
        urls=urls(links_, template.name),
    )


def detail(
    known: parts.Parts, links_: links.Links, template: templates.Template, *, reference: str | None = None
) -> TemplateDetail:
    """All about a template; `reference` is how the client called it."""
    about = describe.detail(known.templates.offered(template))
    verdicts = known.templates.verdicts(template)
    runnable = _runnable(verdicts)
    refused = [[finding.fault for finding in verdict.findings] for verdict in verdicts if verdict.findings]
    return TemplateDetail(
        **{key: value for key, value in about.items() if key != "schema"},
        json_schema=about["schema"],
        origin=_origin(known, template.name),
        runnable=runnable,
        workers=None if runnable is None else [verdict.worker for verdict in verdicts if verdict.passes],
        lacking=[fault(each) for each in min(refused, key=len)] if refused and not runnable else [],
        urls=urls(links_, reference or template.name),
    )


def _runnable(verdicts: Sequence[preflight.Verdict]) -> bool | None:
    told = [verdict.passes for verdict in verdicts if verdict.passes is not None]
    return any(told) if told else None


def _origin(known: parts.Parts, name: str) -> str:
    if known.templates.own_file(name) is not None:
        return "file"
    return "shipped" if known.templates.is_shipped(name) and not known.templates.is_added(name) else "api"


def checked(template: templates.Template, verdicts: Sequence[preflight.Verdict]) -> Preflight:
    """The verdicts of all workers."""
    return Preflight(
        template=template.name,
        version=template.version,
        runnable=_runnable(verdicts),
        workers=[
            WorkerVerdict(
                worker=verdict.worker,
                passes=verdict.passes,
                faults=[Refusal(**finding.as_dict()) for finding in verdict.findings or ()],
            )
            for verdict in verdicts
        ],
    )


def broken(item: library.Broken) -> BrokenTemplate:
    """A broken file."""
    return BrokenTemplate(
        name=item.name,
        source=PurePath(item.source).name,
        reason=item.reason,
        faults=[fault(each) for each in item.faults],
        serving=item.serving,
    )


def waiting(item: library.Waiting) -> WaitingTemplate:
    """A file that waits."""
    return WaitingTemplate(
        name=item.name,
        source=PurePath(item.source).name,
        reason=item.reason,
        faults=[fault(each) for each in item.faults],
        serving=item.serving,
    )


def fault(found: errors.Fault) -> Fault:
    """A fault."""
    return Fault(**found.as_dict())


def urls(links_: links.Links, reference: str) -> TemplateUrls:
    """Links of the template that is called so."""
    name = urllib.parse.quote(reference.partition("@")[0], safe="")
    called = links_.path(f"/v1/templates/{urllib.parse.quote(reference, safe='@')}")
    return TemplateUrls(
        self=called,
        jobs=f"{called}/jobs",
        preflight=f"{called}/preflight",
        versions=links_.path(f"/v1/templates/{name}/versions"),
    )
