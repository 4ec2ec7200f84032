"""Templates: which there are, what they take, and ordering them."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema

from gateway.api import (
    auth,
    body,
    calls,
    fields,
    jobs,
    links,
    multipart,
    parts,
    present,
    schemas,
    template_forms,
    waiting,
)
from gateway.api import errors as api_errors
from gateway.domain import errors, model
from gateway.domain.templates import describe, library
from gateway.domain.templates import model as templates

router = APIRouter(tags=["templates"])

_EXAMPLE = {"inputs": {"prompt": "a red fox in the snow", "seed": 7}, "metadata": {"project": "foxes"}}

Inputs = Annotated[
    Any,
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": True,
            "description": "Values by parameter name; the template's `schema` says which. Files are asset references "
            '(`{"__type": "core/ASSET", "info": {"id": …}}`), data URIs, base64, or the `file_path` of an upload.',
        }
    ),
]


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
        description="Whether a known worker has all node classes and model files; null while no worker is known."
    )
    urls: TemplateUrls


class BrokenTemplate(BaseModel):
    """A template file that cannot be used."""

    name: str
    source: str = Field(description="The file's name.")
    reason: str
    faults: list[Fault]


class TemplateList(BaseModel):
    """All templates and broken files, by name."""

    templates: list[TemplateSummary]
    broken: list[BrokenTemplate]


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
    requirements: dict[str, Any] = Field(
        description="Node classes, model files by input, node packs and where to get the files."
    )
    json_schema: dict[str, Any] = Field(serialization_alias="schema", description="JSON Schema of `inputs`.")
    runnable: bool | None
    workers: list[str] | None = Field(description="Workers that can run it; null while none is known.")
    lacking: list[Fault] = Field(description="What the nearest known worker lacks, when none can run it.")
    urls: TemplateUrls


class TemplateOrder(body.RequestBody):
    """An order for one job of a template."""

    inputs: Inputs = Field(default_factory=dict)
    metadata: fields.Metadata | None = None
    priority: fields.Priority = 0
    extra_data: jobs.ExtraData | None = None

    def wishes(self, key: str | None) -> dict[str, Any]:
        """What is said beside the inputs, as submission takes it."""
        return {
            "metadata": {} if self.metadata is None else fields.metadata(self.metadata),
            "priority": self.priority,
            "idempotency_key": key,
            "extra_data": None if self.extra_data is None else self.extra_data.model_dump(exclude_none=True),
        }


Name = Annotated[str, Path(description="The template's name.", max_length=200, examples=["sdxl"])]


@router.get(
    "/v1/templates",
    operation_id="listTemplates",
    summary="All templates",
    response_model=TemplateList,
    responses=api_errors.documented(),
)
async def list_templates(known: parts.PartsDep, _caller: auth.CallerDep, links: links.LinksDep) -> Response:
    """The templates that can be ordered, and the files that should have been templates, with the reason."""
    found = known.library()
    shape = TemplateList(
        templates=[_summary(known, links, template) for template in found.templates],
        broken=[_broken(item) for item in found.broken],
    )
    return present.answer(shape)


def _summary(known: parts.Parts, links_: links.Links, template: templates.Template) -> TemplateSummary:
    lacking = known.submission.lacking(template)
    return TemplateSummary(
        **describe.summary(template),
        runnable=None if lacking is None else not lacking,
        urls=_urls(links_, template.name),
    )


def _broken(broken: library.Broken) -> BrokenTemplate:
    return BrokenTemplate(
        name=broken.name,
        source=PurePath(broken.source).name,
        reason=broken.reason,
        faults=[_fault(fault) for fault in broken.faults],
    )


def _fault(fault: errors.Fault) -> Fault:
    return Fault(**fault.as_dict())


def _urls(links_: links.Links, name: str) -> TemplateUrls:
    link = links_.path(f"/v1/templates/{urllib.parse.quote(name, safe='')}")
    return TemplateUrls(self=link, jobs=f"{link}/jobs")


@router.get(
    "/v1/templates/{name}",
    operation_id="getTemplate",
    summary="What a template takes",
    response_model=TemplateDetail,
    responses=api_errors.documented(404),
)
async def get_template(known: parts.PartsDep, _caller: auth.CallerDep, links: links.LinksDep, name: Name) -> Response:
    """Its parameters with types, bounds and defaults, as a JSON Schema too; its outputs; what it needs of a worker.

    404 suggests near misses; 422 `invalid_template` tells what is wrong with a broken file.
    """
    template = known.library().get(name)
    about = describe.detail(template)
    lacking = known.submission.lacking(template)
    able = known.submission.able(template)
    shape = TemplateDetail(
        **{key: value for key, value in about.items() if key != "schema"},
        json_schema=about["schema"],
        runnable=None if lacking is None else not lacking,
        workers=None if able is None else list(able),
        lacking=[_fault(fault) for fault in lacking or ()],
        urls=_urls(links, name),
    )
    return Response(shape.model_dump_json(by_alias=True, exclude_unset=True), media_type="application/json")


def _order_documented() -> Mapping[str, Any]:
    extra = waiting.described(TemplateOrder, example=_EXAMPLE)
    form = {
        "type": "object",
        "properties": {
            "inputs": {"type": "string", "contentMediaType": "application/json", "description": "Values as JSON."},
            "metadata": {"type": "string", "contentMediaType": "application/json"},
            "priority": {"type": "integer"},
            "extra_data": {"type": "string", "contentMediaType": "application/json"},
        },
        "additionalProperties": {"description": "A parameter's value, or its file."},
    }
    extra["requestBody"]["content"]["multipart/form-data"] = {"schema": form}
    return extra


@router.post(
    "/v1/templates/{name}/jobs",
    operation_id="postTemplateJob",
    summary="Order a template",
    status_code=201,
    response_model=schemas.Job,
    responses=waiting.documented(404, 413, 429),
    openapi_extra=dict(_order_documented()),
)
async def order(
    *,
    request: Request,
    name: Name,
    key: fields.IdempotencyKey = None,
) -> Response:
    """Queues the template with these inputs. Everything that is wrong comes back at once, each fault with parameter,
    node and field.

    As multipart/form-data, parts are named after parameters and may be files.
    """
    call = calls.of(request)
    known, caller, key = call.parts, call.caller, fields.idempotency_key(key)
    if multipart.is_multipart(request):
        template = known.library().get(name)
        async with template_forms.reading(request, known, caller.tenant, template) as value:
            job = await _submit(known, caller, name, body.validated(TemplateOrder, value), key)
    else:
        shape = await body.read_object(request, TemplateOrder, limit=known.limits.json_body)
        job = await _submit(known, caller, name, shape, key)
    return await waiting.answer_order(request, known, call.presenter, job)


async def _submit(
    known: parts.Parts, caller: auth.Caller, name: str, order: TemplateOrder, key: str | None
) -> model.Job:
    return await known.submission.submit_template(caller.tenant, name, order.inputs, **order.wishes(key))
