"""Templates that come over the API, and moves of aliases: written to the store, then on the shelf at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

import structlog

from gateway.authoring import shelf as shelves
from gateway.domain import errors
from gateway.domain.comfy import structure
from gateway.domain.templates import aliasing, building, drafts, model, records, references, sidecar

_log = structlog.get_logger("gateway.templates")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What an author sent: a pipeline, or a workflow with what lies beside it."""

    workflow: object = None
    text: str = ""  #: the sidecar's
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    pipeline: str | None = None  #: what a NAME.pipeline.toml says, as TOML or JSON


async def put(shelf: shelves.Shelf, name: str, given: Given, *, create: bool) -> tuple[model.Template, bool]:
    """Add a template, or replace one unless `create`; True when the name was not added over the API before.

    TemplateError for what a file would be refused for, TemplateWaiting for an editor's file without a worker (or a
    pipeline of one), Conflict where a file of the user's has the name, or `create` and anything has.
    """
    references.template_name(name)
    _refuse_files(shelf, name)
    if create and name in shelf.library().names:
        raise errors.Conflict(f"There is a template {name} already; replace it with PUT.")
    draft = await asyncio.to_thread(_draft, name, given)
    template, content = await shelf.made_of(draft)
    version = records.NewVersion(name=name, version=template.version, content=content, origin=records.Origin.API)
    is_new = await shelf.ties.store.put(version, create=create)
    await shelf.refresh(files=False, first=name)
    return await shelf.version(name, template.version), is_new


def _refuse_files(shelf: shelves.Shelf, name: str) -> None:
    source = shelf.own_file(name)
    if source is not None:
        raise errors.Conflict(f"The template {name} comes from the file {PurePath(source).name}; change that.")


def _draft(name: str, given: Given) -> drafts.Draft:
    if given.pipeline is not None:
        return drafts.pipeline(name, given.pipeline, file="the pipeline")
    described = drafts.described(given.text, given.workflow, file="the sidecar") if given.text else sidecar.Sidecar()
    wanted = building.default_files(described)
    for file in wanted:
        complaint = structure.path_complaint(file)
        if complaint is not None:
            raise errors.TemplateError(f"the sidecar: the default file {file!r} {complaint}.")
        if file not in given.files:
            raise errors.TemplateError(f"the sidecar names the default file {file!r}; send it, too.")
    kept = {file: given.files[file] for file in wanted}
    return drafts.draft(name, given.workflow, text=given.text, described=described, files=kept)


async def remove(shelf: shelves.Shelf, name: str) -> None:
    """Forget a template that was added over the API, with its aliases. NotFound; Conflict for one from a file."""
    _refuse_files(shelf, name)
    if not shelf.is_added(name) and shelf.is_shipped(name):
        raise errors.Conflict(f"The template {name} comes with the gateway and cannot be removed.")
    await shelf.ties.store.remove(name)
    await shelf.refresh(files=False)


async def point(shelf: shelves.Shelf, name: str, alias: str, which: str) -> records.Alias:
    """Point an alias to a version (its beginning, another alias, or `latest`)."""
    version = await _known(shelf, name, which)
    return await _move(shelf, name, alias, aliasing.point(version, at=shelf.ties.clock()))


async def offer(shelf: shelves.Shelf, name: str, alias: str, which: str, share: float) -> records.Alias:
    """Give a share of an alias' orders to a candidate."""
    version = await _known(shelf, name, which)
    return await _move(shelf, name, alias, aliasing.candidate(version, share, at=shelf.ties.clock()))


async def withdraw(shelf: shelves.Shelf, name: str, alias: str) -> records.Alias:
    """Give the candidate no orders any more."""
    return await _move(shelf, name, alias, aliasing.without_candidate(at=shelf.ties.clock()))


async def roll_back(shelf: shelves.Shelf, name: str, alias: str) -> records.Alias:
    """Take back an alias' last move."""
    versions = await shelf.ties.store.versions(name)
    return await _move(shelf, name, alias, aliasing.back(versions, at=shelf.ties.clock()))


async def unset(shelf: shelves.Shelf, name: str, alias: str) -> None:
    """Remove an alias; it can be rolled back to what it was."""
    await _move(shelf, name, alias, aliasing.nowhere(at=shelf.ties.clock()))


async def _known(shelf: shelves.Shelf, name: str, which: str) -> str:
    """The version; it is there, and a template can be made of it."""
    return (await shelf.version(name, await shelf.full_version(name, which))).version


async def _move(
    shelf: shelves.Shelf, name: str, alias: str, to: Callable[[records.Alias | None], records.Move]
) -> records.Alias:
    references.alias_name(alias)
    if name not in shelf.library().names:
        shelf.library().get(name)  # NotFound, with names that are near
    moved = await shelf.ties.store.move(name, alias, to)
    now = moved.now
    share = round(now.share * 100, 3) if now.candidate else None
    _log.info(
        "alias_moved", template=name, alias=alias, version=now.version, candidate=now.candidate, percent=share,
        rollback=now.is_rollback or None,
    )  # fmt: skip
    await shelf.refresh(files=False)
    return moved
