"""Assets, as the contract has them: upload, mint from a hash, look up, read, delete."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field

from gateway import assets
from gateway.api import auth, body, content, fields, parts, plain, present, schemas, uploads
from gateway.api import errors as api_errors
from gateway.assets import names
from gateway.domain import errors, model

router = APIRouter(tags=["assets"])
plain_router = APIRouter(tags=["assets"], route_class=plain.Route)

_EXAMPLE_HASH = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_BINARY = {"application/octet-stream": _BYTES, "*/*": _BYTES}


class FromHash(body.RequestBody):
    """An asset over bytes that are here already."""

    hash: str = Field(description="`blake3:<64 hex digits>`.", max_length=200, examples=[_EXAMPLE_HASH])
    file_path: str | None = Field(default=None, examples=["photo.png"], description="Else that of the known asset.")
    tags: uploads.Tags | None = None
    expires_in: int | None = Field(
        default=None, ge=uploads.EXPIRES_IN[0], le=uploads.EXPIRES_IN[1], description="Seconds to keep it."
    )


def _minted(presenter: present.Presenter, minted: assets.Minted, *, fresh: bool) -> Response:
    shape = presenter.asset(minted.asset, created_new=minted.new_bytes)
    return present.answer(shape, 201 if fresh else 200)


@router.post(
    "/api/v2/assets",
    operation_id="postAssets",
    summary="Upload an asset",
    status_code=201,
    response_model=schemas.Asset,
    responses={
        **api_errors.documented(409, 413),
        200: {"model": schemas.Asset, "description": "The bytes were here already; asset minted over them."},
        201: {"model": schemas.Asset, "description": "New bytes stored; asset minted."},
    },
    openapi_extra={"requestBody": uploads.documented()},
)
async def upload(
    request: Request,
    known: parts.PartsDep,
    caller: auth.CallerDep,
    presenter: present.PresenterDep,
    key: fields.IdempotencyKeyDep,
) -> Response:
    """Takes one file as multipart/form-data and streams it into the store.

    The hash is computed here; `expected_hash` is verified, never trusted. The same bytes under the same `file_path`
    are one asset, whose retention is extended.
    """
    minted = await uploads.read_and_mint(request, known, caller.tenant, idempotency_key=key)
    return _minted(presenter, minted, fresh=minted.new_bytes)


@router.post(
    "/api/v2/assets/from-hash",
    operation_id="assetFromHash",
    summary="Mint an asset over bytes that are here already",
    status_code=201,
    response_model=schemas.Asset,
    responses={
        **api_errors.documented(404, 413),
        200: {"model": schemas.Asset, "description": "An identical reference existed already."},
        201: {"model": schemas.Asset, "description": "Asset minted over the existing bytes."},
    },
    openapi_extra=body.documented(FromHash, example={"hash": _EXAMPLE_HASH, "file_path": "photo.png"}),
)
async def from_hash(
    request: Request, known: parts.PartsDep, caller: auth.CallerDep, presenter: present.PresenterDep
) -> Response:
    """Saves an upload. Only the caller's own bytes can be used; others' are as unknown as those that are not here."""
    order = await body.read_object(request, FromHash, limit=known.limits.json_body)
    if order.file_path is not None and (complaint := names.path_complaint(order.file_path)) is not None:
        raise uploads.refusal([uploads.fault("file_path", "invalid_file_path", complaint)])
    minted = await known.assets.mint_from_hash(
        caller.tenant,
        _hash_or_missing(order.hash),
        file_path=order.file_path,
        tags=order.tags or (),
        expires_in=order.expires_in,
    )
    return _minted(presenter, minted, fresh=minted.new_record)


def _hash_or_missing(text: str) -> str:
    found = names.content_hash(text)
    if found is None:
        raise errors.BlobNotFound("a hash is written blake3: and 64 hex digits; there are no bytes with this one")
    return found


@router.head(
    "/api/v2/assets/by-hash/{hash}",
    operation_id="headAssetByHash",
    summary="Are there bytes with this hash that the caller may use?",
    response_class=Response,
    responses={**api_errors.documented(404), 200: {"description": "Yes: mint an asset with `from-hash`."}},
)
async def head_by_hash(
    known: parts.PartsDep,
    caller: auth.CallerDep,
    hash: Annotated[str, Path(description="`blake3:<64 hex digits>`.", examples=[_EXAMPLE_HASH])],  # noqa: A002
) -> Response:
    """Lets a client decide between `from-hash` and an upload."""
    if await known.assets.by_hash(caller.tenant, _hash_or_missing(hash)) is None:
        raise errors.BlobNotFound("there are no bytes with this hash that you may use")
    return Response(status_code=200)


@router.get(
    "/api/v2/assets/{id}",
    operation_id="getAsset",
    summary="Asset metadata",
    response_model=schemas.Asset,
    responses=api_errors.documented(404),
)
async def get(
    known: parts.PartsDep, caller: auth.CallerDep, presenter: present.PresenterDep, asset_id: fields.AssetIdDep
) -> Response:
    """The asset, with a fresh short-lived `url` of its bytes."""
    return present.answer(presenter.asset(await known.assets.get(caller.tenant, asset_id)))


@router.delete(
    "/api/v2/assets/{id}",
    operation_id="deleteAsset",
    summary="Delete an asset",
    status_code=204,
    response_class=Response,
    responses=api_errors.documented(404, 409),
)
async def delete(known: parts.PartsDep, caller: auth.CallerDep, asset_id: fields.AssetIdDep) -> Response:
    """Deletes the record, and the bytes when no other asset has them.

    409 `asset_in_use` while a job needs it, or lists it as an output.
    """
    await known.assets.delete(caller.tenant, asset_id)
    return Response(status_code=204)


_RANGE = {
    "name": "Range",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "example": "bytes=0-1048575",
    "description": "A standard HTTP range.",
}
_SIGNATURE = [
    {"name": name, "in": "query", "required": False, "schema": {"type": "string"}, "description": "Of a signed URL."}
    for name in ("expires", "signature")
]
_CONTENT_ANSWERS: dict[int | str, dict[str, Any]] = {
    **api_errors.documented(404, 416),
    200: {"description": "All bytes.", "content": _BINARY},
    206: {"description": "The bytes that `Range` asks for.", "content": _BINARY},
    304: {"description": "`If-None-Match` names these bytes."},
}


@plain_router.get(
    "/api/v2/assets/{id}/content",
    operation_id="getAssetContent",
    summary="Asset bytes",
    response_class=Response,
    responses=_CONTENT_ANSWERS,
    openapi_extra={"parameters": [fields.ASSET_ID, *_SIGNATURE, _RANGE]},
)
async def get_content(request: Request) -> Response:
    """The bytes, for the owner or for whoever has a signed URL. Ranges are served, `ETag` is the content's hash."""
    known = parts.of(request)
    caller = known.access.caller_if_any(request.headers.get("authorization"))
    asset_id = fields.uuid_or_missing(request.path_params["id"], what="asset")
    query = request.query_params
    asset = await _readable(known, caller, asset_id, query.get("expires"), query.get("signature"))
    return await content_response(request, known, asset)


async def _readable(
    known: parts.Parts, caller: auth.Caller | None, asset_id: str, expires: str | None, signature: str | None
) -> model.Asset:
    if caller is not None:
        return await known.assets.get(caller.tenant, asset_id)
    if expires is None or signature is None:
        raise errors.Unauthorized("send `Authorization: Bearer <key>`, or use the signed `url` of an asset or output")
    return await known.assets.get_signed(asset_id, expires=expires, signature=signature)


async def content_response(
    request: Request, parts: parts.Parts, asset: model.Asset, *, name: str | None = None
) -> Response:
    """The asset's bytes as an answer to `request`: ranges, validators, safe headers."""
    return await content.respond(request, parts.assets, asset, name=name)
