"""A template's order as multipart/form-data: files go straight into the store, as curl and browsers send them.

    curl -F prompt="a red fox" -F image=@photo.png …/v1/templates/img2img/jobs

Parts are named after parameters; `inputs` may hold others as JSON, next to `metadata`, `priority`, `extra_data`,
`webhook` and `expires_in`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

import orjson
from fastapi import Request

from gateway import assets
from gateway.api import multipart, parts, uploads
from gateway.assets import names
from gateway.domain import errors, model
from gateway.domain.comfy import structure
from gateway.domain.templates import binding, media, values
from gateway.domain.templates import model as templates

MAX_FILES: Final = 64
_JSON_FIELDS: Final = ("inputs", "metadata", "priority", "extra_data", "webhook", "expires_in", "deadline_ms")


@dataclass(slots=True, kw_only=True)
class _Form:
    """What came in so far."""

    inputs: dict[str, Any] = field(default_factory=dict[str, Any])
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    minted: list[assets.Minted] = field(default_factory=list[assets.Minted])
    faults: list[errors.Fault] = field(default_factory=list[errors.Fault])


@asynccontextmanager
async def reading(
    request: Request, known: parts.Parts, tenant: model.TenantId, template: templates.Template
) -> AsyncGenerator[dict[str, Any]]:
    """The order as the JSON object that it stands for; its files are taken back when the order is refused."""
    form = _Form()
    try:
        await _read(request, known, tenant, template, form)
        yield _as_order(form)
    except BaseException:
        for minted in form.minted:
            if minted.new_record:
                with suppress(errors.NotFound, errors.AssetInUse):
                    await known.assets.delete(tenant, minted.asset.id)
        raise


async def _read(
    request: Request, known: parts.Parts, tenant: model.TenantId, template: templates.Template, form: _Form
) -> None:
    limit = known.limits.upload
    reader = multipart.Reader(request, limit=limit + multipart.OVERHEAD)
    while (part := await reader.next_part()) is not None:
        if part.name in form.inputs or part.name in form.fields:
            form.faults.append(uploads.fault(structure.shown_text(part.name), "repeated_field", "is there twice"))
        elif part.name in _JSON_FIELDS and template.parameter(part.name) is None:
            form.fields[part.name] = _json(part.name, await reader.text(part), form)
        elif part.filename is None:
            form.inputs[part.name] = _value(template, part.name, await reader.text(part))
        elif _takes_file(template, part.name, form):
            if len(form.minted) >= MAX_FILES:
                raise errors.InvalidRequest(f"An order has at most {MAX_FILES} files.")
            await known.assets.space.require()
            received = await known.assets.receive(reader.chunks(), limit=limit)
            form.inputs[part.name] = await _kept(known, tenant, received, part, form)


async def _kept(
    known: parts.Parts, tenant: model.TenantId, received: assets.Received, part: multipart.Part, form: _Form
) -> dict[str, Any]:
    kind = media.sniff(received.head)
    declared = names.media_type(part.content_type or "") or names.GENERIC
    suffix = kind.suffix if kind is not None else PurePosixPath(part.filename or "").suffix.lower()
    minted = await known.assets.mint_input(
        tenant,
        received,
        content_type=kind.media_type if kind is not None else declared,
        suffix=suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= 10 else "",
    )
    form.minted.append(minted)
    return binding.reference(minted.asset.id)


def _takes_file(template: templates.Template, name: str, form: _Form) -> bool:
    """Whether a file is welcome here; bytes for what is no parameter are not stored first."""
    parameter = template.parameter(name)
    shown = structure.shown_text(name)
    if parameter is None:
        near = values.suggestion(name, [item.name for item in template.parameters])
        message = f"There is no parameter {shown}.{near}"
        form.faults.append(errors.Fault(reason="unknown_parameter", message=message, parameter=shown))
    elif not values.is_file(parameter):
        message = f"Takes a {parameter.type}, not a file."
        form.faults.append(errors.Fault(reason="wrong_type", message=message, parameter=name))
    return parameter is not None and values.is_file(parameter)


def _value(template: templates.Template, name: str, text: str) -> Any:
    parameter = template.parameter(name)
    return text if parameter is None else values.from_text(parameter, text)


def _json(name: str, text: str, form: _Form) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        form.faults.append(uploads.fault(name, "invalid_json", f"is not JSON: {error}"))
        return None


def _as_order(form: _Form) -> dict[str, Any]:
    given = form.fields.pop("inputs", None)
    inputs = {} if given is None else given
    if not isinstance(inputs, dict):
        form.faults.append(uploads.fault("inputs", "invalid_value", f"is {structure.kind_of(inputs)}, not an object"))
    else:
        for name in inputs.keys() & form.inputs.keys():
            form.faults.append(
                errors.Fault(reason="repeated_field", message="Given twice: in `inputs` and as a part.", parameter=name)
            )
    if form.faults:
        raise errors.InvalidInputs("; ".join(fault.message for fault in form.faults), faults=form.faults)
    return {**form.fields, "inputs": {**inputs, **form.inputs}}
