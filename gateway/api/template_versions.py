"""Versions of templates, and the names that point to them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from gateway.api import auth, body, parts, present, schemas
from gateway.api import errors as api_errors
from gateway.authoring import editing
from gateway.domain.templates import records, references

router = APIRouter(tags=["templates"])


class Version(BaseModel):
    """A content that the template had."""

    version: str
    origin: records.Origin = Field(description="Where it came from first.")
    latest: bool = Field(description="It is what `name@latest` means.")
    aliases: list[str]
    created_at: schemas.Time
    current_at: schemas.Time = Field(description="When it last became the newest.")


class Move(BaseModel):
    """What an alias pointed to since a time."""

    version: str | None = Field(description="null: it was removed.")
    candidate: str | None
    share: float = Field(description="Of the orders that the candidate gets, 0 to 1.")
    rollback: bool
    at: schemas.Time


class Alias(BaseModel):
    """A name for a version, as in `sdxl@stable`."""

    alias: str
    version: str
    candidate: str | None
    share: float
    history: list[Move] = Field(description="Newest first; the first is now.")


class VersionList(BaseModel):
    """All versions of a template, newest first, and its aliases."""

    name: str
    latest: str | None = Field(description="null: the template is gone, or its file was never good.")
    serves: str | None = Field(description="What an order for the name alone runs, candidates aside.")
    versions: list[Version]
    aliases: list[Alias]


class AliasRequest(body.RequestBody):
    """Where an alias shall point."""

    version: str = Field(max_length=64, description="A version, its first digits, another alias, or `latest`.")


class CandidateRequest(body.RequestBody):
    """Which version shall get a share of an alias' orders."""

    version: str = Field(max_length=64, description="A version, its first digits, another alias, or `latest`.")
    share: float = Field(gt=0, le=1, description="Of the orders: 0.1 is every tenth.")


Name = Annotated[str, Path(description="The template's name.", max_length=200, examples=["sdxl"])]
AliasName = Annotated[str, Path(description="The alias.", max_length=200, examples=["stable"])]


@router.get(
    "/v1/templates/{name}/versions",
    operation_id="listTemplateVersions",
    summary="Versions and aliases",
    response_model=VersionList,
    responses=api_errors.documented(404),
)
async def list_versions(known: parts.PartsDep, _caller: auth.CallerDep, name: Name) -> Response:
    """Every version that this gateway has seen of the template, whether it came from files or over the API. Each can be
    ordered as `name@version`; its first digits do, where no other begins so."""
    shelf = known.templates
    found = await known.store.templates.versions(name)
    if not found:
        shelf.library().get(name)  # why there is none
    aliases = shelf.aliases(name)
    latest = next((item.version for item in shelf.library().templates if item.name == name), None)
    stable = next((alias.now.version for alias in aliases if alias.name == references.STABLE), None)
    shape = VersionList(
        name=name,
        latest=latest,
        serves=None if name not in shelf.library().names else stable or latest,
        versions=[_version(info, latest, aliases) for info in found],
        aliases=[_alias(alias) for alias in aliases],
    )
    return present.answer(shape)


def _version(info: records.VersionInfo, latest: str | None, aliases: tuple[records.Alias, ...]) -> Version:
    return Version(
        version=info.version,
        origin=info.origin,
        latest=info.version == latest,
        aliases=[alias.name for alias in aliases if alias.now.version == info.version],
        created_at=present.time(info.created_at),
        current_at=present.time(info.current_at),
    )


def _alias(alias: records.Alias) -> Alias:
    return Alias(
        alias=alias.name,
        version=alias.now.version or "",
        candidate=alias.now.candidate,
        share=alias.now.share,
        history=[
            Move(
                version=move.version,
                candidate=move.candidate,
                share=move.share,
                rollback=move.is_rollback,
                at=present.time(move.at),
            )
            for move in reversed(alias.moves)
        ],
    )


@router.put(
    "/v1/templates/{name}/aliases/{alias}",
    operation_id="putTemplateAlias",
    summary="Point an alias to a version",
    response_model=Alias,
    responses=api_errors.documented(404, 409, 413),
    openapi_extra=body.documented(AliasRequest, example={"version": "latest"}),
)
async def put_alias(
    request: Request, known: parts.PartsDep, caller: auth.CallerDep, name: Name, alias: AliasName
) -> Response:
    """From now on `name@alias` is that version; a candidate is given up. `stable` is also what the name alone means,
    once it is set. Needs an admin's key."""
    caller.must_be_admin("move aliases")
    wanted = await body.read_object(request, AliasRequest, limit=known.limits.json_body)
    return present.answer(_alias(await editing.point(known.templates, name, alias, wanted.version)))


@router.delete(
    "/v1/templates/{name}/aliases/{alias}",
    operation_id="deleteTemplateAlias",
    summary="Remove an alias",
    status_code=204,
    responses={**api_errors.documented(404), 204: {"description": "Removed."}},
)
async def delete_alias(known: parts.PartsDep, caller: auth.CallerDep, name: Name, alias: AliasName) -> Response:
    """Without `stable`, the name alone is the latest version again. Needs an admin's key."""
    caller.must_be_admin("move aliases")
    await editing.unset(known.templates, name, alias)
    return Response(status_code=204)


@router.post(
    "/v1/templates/{name}/aliases/{alias}/rollback",
    operation_id="rollbackTemplateAlias",
    summary="Take back an alias' last move",
    response_model=Alias,
    responses=api_errors.documented(404, 409),
)
async def roll_back(known: parts.PartsDep, caller: auth.CallerDep, name: Name, alias: AliasName) -> Response:
    """To what it pointed to before, share of a candidate included; several go further back. An alias that was never
    set goes to the version before the latest. Needs an admin's key."""
    caller.must_be_admin("move aliases")
    return present.answer(_alias(await editing.roll_back(known.templates, name, alias)))


@router.put(
    "/v1/templates/{name}/aliases/{alias}/candidate",
    operation_id="putTemplateCandidate",
    summary="Give a version a share of an alias' orders",
    response_model=Alias,
    responses=api_errors.documented(404, 409, 413),
    openapi_extra=body.documented(CandidateRequest, example={"version": "latest", "share": 0.1}),
)
async def put_candidate(
    request: Request, known: parts.PartsDep, caller: auth.CallerDep, name: Name, alias: AliasName
) -> Response:
    """Which orders get it is drawn from their Idempotency-Key, or the job's id: the same key gets the same answer, and
    a larger share keeps the orders that a smaller one had. A batch is drawn as a whole. The job's `template_version`
    tells what ran. Needs an admin's key."""
    caller.must_be_admin("move aliases")
    wanted = await body.read_object(request, CandidateRequest, limit=known.limits.json_body)
    moved = await editing.offer(known.templates, name, alias, wanted.version, wanted.share)
    return present.answer(_alias(moved))


@router.delete(
    "/v1/templates/{name}/aliases/{alias}/candidate",
    operation_id="deleteTemplateCandidate",
    summary="Give the candidate no orders any more",
    response_model=Alias,
    responses=api_errors.documented(404, 409),
)
async def delete_candidate(known: parts.PartsDep, caller: auth.CallerDep, name: Name, alias: AliasName) -> Response:
    """All orders go to the version that the alias points to. Needs an admin's key."""
    caller.must_be_admin("move aliases")
    return present.answer(_alias(await editing.withdraw(known.templates, name, alias)))
