"""Adding, replacing and removing templates over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from gateway.api import auth, body, links, parts, template_shapes, template_uploads, templates
from gateway.api import errors as api_errors
from gateway.authoring import editing
from gateway.domain import errors

router = APIRouter(tags=["templates"])

_EXAMPLE = {
    "name": "fox",
    "workflow": {
        "3": {"class_type": "EmptyImage", "inputs": {"width": 512, "height": 512, "batch_size": 1, "color": 0}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "fox"}},
    },
    "sidecar": {"title": "A fox"},
}


def _documented(*, named: bool) -> dict[str, Any]:
    example = _EXAMPLE if named else {key: value for key, value in _EXAMPLE.items() if key != "name"}
    extra = body.documented(template_uploads.TemplateUpload, example=example)
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    form = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "workflow": {**file, "description": "JSON of either format, or a picture, sound or film that carries it."},
            "sidecar": {**file, "description": "TOML or JSON, as NAME.toml beside a file has it."},
            "pipeline": {**file, "description": "In place of these: what a NAME.pipeline.toml says, TOML or JSON."},
            "files": {**file, "description": "A default file; its file name is what the sidecar calls it. Repeatable."},
        },
    }
    content = extra["requestBody"]["content"]
    content["multipart/form-data"] = {"schema": form}
    for kind in ("image/png", "image/webp", "image/jpeg", "video/mp4", "video/webm", "audio/flac"):
        content[kind] = {"schema": {"type": "string", "contentMediaType": kind}}
    content[template_uploads.TOML[0]] = {"schema": {"type": "string", "description": "A NAME.pipeline.toml."}}
    return extra


Name = Annotated[str, Path(description="The template's name.", max_length=200, examples=["fox"])]
_RESPONSES = api_errors.documented(403, 409, 413)


@router.post(
    "/v1/templates",
    operation_id="postTemplate",
    summary="Add a template",
    status_code=201,
    response_model=template_shapes.TemplateDetail,
    responses={**_RESPONSES, 201: {"description": "Added; it can be ordered at once."}},
    openapi_extra=_documented(named=True),
)
async def add(
    request: Request,
    known: parts.PartsDep,
    caller: auth.CallerDep,
    links: links.LinksDep,
    name: Annotated[str | None, Query(description="Its name, where the body has none.", max_length=64)] = None,
) -> Response:
    """Whatever the author saved: the workflow in either of ComfyUI's formats, or a picture, sound or film that carries
    one; with a sidecar if there is one. Or a pipeline of templates that are there: what `NAME.pipeline.toml` says, as
    TOML. It is checked as files in `workflows/` are: 422 `invalid_template` tells all that is wrong. The answer says
    which workers would run it. 409 where a template of this name exists. Needs an admin's key.
    """
    caller.must_be_admin("add templates")
    upload = await template_uploads.read(request)
    called = name or upload.name
    if not called:
        fault = errors.Fault(reason="missing_field", message="`name` is missing", field="name")
        raise errors.InvalidRequest(fault.message, faults=[fault])
    template, _ = await editing.put(known.templates, called, upload.given, create=True)
    location = {"Location": template_shapes.urls(links, called).self}
    return templates.answer(template_shapes.detail(known, links, template), 201, location)


@router.put(
    "/v1/templates/{name}",
    operation_id="putTemplate",
    summary="Add or replace a template",
    response_model=template_shapes.TemplateDetail,
    responses={**_RESPONSES, 201: {"model": template_shapes.TemplateDetail, "description": "Added."}},
    openapi_extra=_documented(named=False),
)
async def put(
    request: Request, known: parts.PartsDep, caller: auth.CallerDep, links: links.LinksDep, name: Name
) -> Response:
    """As POST; what was there before stays callable as `name@version`. Where the alias `stable` is set, orders for the
    name alone go on with what it points to. 409 where the name belongs to a file in `workflows/`: those are changed
    there. Needs an admin's key.
    """
    caller.must_be_admin("change templates")
    upload = await template_uploads.read(request)
    if upload.name is not None and upload.name != name and not _from_form(request):
        fault = errors.Fault(reason="invalid_value", message="`name` is not the name in the path", field="name")
        raise errors.InvalidRequest(fault.message, faults=[fault])
    template, is_new = await editing.put(known.templates, name, upload.given, create=False)
    return templates.answer(template_shapes.detail(known, links, template), 201 if is_new else 200)


def _from_form(request: Request) -> bool:
    """A form's file has a name of its own."""
    return request.headers.get("content-type", "").startswith("multipart/")


@router.delete(
    "/v1/templates/{name}",
    operation_id="deleteTemplate",
    summary="Remove a template",
    status_code=204,
    responses={**api_errors.documented(403, 404, 409), 204: {"description": "Removed."}},
)
async def delete(known: parts.PartsDep, caller: auth.CallerDep, name: Name) -> Response:
    """Removes a template that was added over the API, and its aliases; one of the same name that ships with the gateway
    is there again. Its versions can still be ordered as `name@version`. 409 for templates from files. Needs an admin's
    key.
    """
    caller.must_be_admin("remove templates")
    await editing.remove(known.templates, name)
    return Response(status_code=204)
