"""Templates: which there are, what they take, whether workers would run them, and ordering them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field, WithJsonSchema

from gateway.api import (
    auth,
    body,
    calls,
    fields,
    hooks,
    jobs,
    links,
    multipart,
    parts,
    present,
    schemas,
    template_forms,
    template_shapes,
    waiting,
)
from gateway.api import errors as api_errors
from gateway.domain import model

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


class TemplateOrder(hooks.HookedRequest):
    """An order for one job of a template."""

    otherwise: ClassVar[str] = "parameters go under `inputs`"

    inputs: Inputs = Field(default_factory=dict)
    metadata: fields.Metadata | None = None
    priority: fields.Priority = 0
    expires_in: fields.ExpiresIn | None = None
    deadline_ms: fields.DeadlineMs | None = None
    extra_data: jobs.ExtraData | None = None

    def wishes(self, key: str | None) -> dict[str, Any]:
        """What is said beside the inputs, as submission takes it."""
        return {
            "metadata": {} if self.metadata is None else fields.metadata(self.metadata),
            "priority": self.priority,
            "expires_in": self.expires_in,
            "deadline": fields.seconds(self.deadline_ms),
            "idempotency_key": key,
            "extra_data": None if self.extra_data is None else self.extra_data.model_dump(exclude_none=True),
        }


Name = Annotated[
    str,
    Path(
        description="The template's name; `name@stable`, or another alias; `name@latest`; or `name@` and the beginning "
        "of a version. A name alone is its alias `stable` where that is set, else the latest version.",
        max_length=200,
        examples=["sdxl"],
    ),
]


@router.get(
    "/v1/templates",
    operation_id="listTemplates",
    summary="All templates",
    response_model=template_shapes.TemplateList,
    responses=api_errors.documented(),
)
async def list_templates(known: parts.PartsDep, _caller: auth.CallerDep, links: links.LinksDep) -> Response:
    """The templates that can be ordered, and the files that should have been templates, with the reason."""
    found = known.templates.library()
    # In a thread, since pairs of template and worker that nobody asked about yet are checked now.
    summaries = await asyncio.to_thread(
        lambda: [template_shapes.summary(known, links, template) for template in found.templates]
    )
    shape = template_shapes.TemplateList(
        templates=summaries,
        broken=[template_shapes.broken(item) for item in found.broken],
        waiting=[template_shapes.waiting(item) for item in found.waiting],
    )
    return present.answer(shape)


@router.get(
    "/v1/templates/{name}",
    operation_id="getTemplate",
    summary="What a template takes",
    response_model=template_shapes.TemplateDetail,
    responses=api_errors.documented(404),
)
async def get_template(known: parts.PartsDep, _caller: auth.CallerDep, links: links.LinksDep, name: Name) -> Response:
    """Its parameters with types, bounds and defaults, as a JSON Schema too; its outputs; what it needs of a worker.

    The choices of model parameters are the files that at least one worker has. 404 suggests near misses; 422
    `invalid_template` tells what is wrong with a broken file; 503 `template_waiting` that no worker is known by which
    the editor's file could be converted.
    """
    template = await known.templates.find(name)
    return answer(template_shapes.detail(known, links, template, reference=name))


def answer(
    shape: template_shapes.TemplateDetail, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A template as an answer."""
    return Response(
        shape.model_dump_json(by_alias=True, exclude_unset=True),
        status_code=status,
        headers=headers,
        media_type="application/json",
    )


@router.get(
    "/v1/templates/{name}/preflight",
    operation_id="preflightTemplate",
    summary="Whether each worker would run it",
    response_model=template_shapes.Preflight,
    responses=api_errors.documented(404),
)
async def preflight(known: parts.PartsDep, _caller: auth.CallerDep, name: Name) -> Response:
    """The template with its defaults, checked against what every worker tells of its node classes: inputs, types,
    ranges, choices, links, and model files. What it would refuse comes with node, field and the nearest valid value.

    Checked anew when the template or the worker changes. What callers must give is not judged here; each order is
    checked with its own values, and goes only to workers that take it.
    """
    template = await known.templates.find(name)
    return present.answer(template_shapes.checked(template, known.templates.verdicts(template)))


def _order_documented() -> Mapping[str, Any]:
    extra = waiting.described(TemplateOrder, example=_EXAMPLE)
    form = {
        "type": "object",
        "properties": {
            "inputs": {"type": "string", "contentMediaType": "application/json", "description": "Values as JSON."},
            "metadata": {"type": "string", "contentMediaType": "application/json"},
            "priority": {"type": "integer"},
            "deadline_ms": {"type": "integer"},
            "extra_data": {"type": "string", "contentMediaType": "application/json"},
            "webhook": {"type": "string", "contentMediaType": "application/json"},
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
        template = await known.templates.find(name, key=key or str(uuid.uuid4()))
        # What the form was read by is what runs, whichever version another look would draw.
        pinned = f"{template.name}@{template.version}"
        async with template_forms.reading(request, known, caller.tenant, template) as value:
            job = await _submit(request, caller, pinned, body.validated(TemplateOrder, value), key)
    else:
        shape = await body.read_object(request, TemplateOrder, limit=known.limits.json_body)
        job = await _submit(request, caller, name, shape, key)
    return await waiting.answer_order(request, known, call.presenter, job)


async def _submit(request: Request, caller: auth.Caller, name: str, order: TemplateOrder, key: str | None) -> model.Job:
    known = parts.of(request)
    hook = order.hook(request, known, caller)
    return await known.submission.submit_template(caller.tenant, name, order.inputs, **order.wishes(key), webhook=hook)
