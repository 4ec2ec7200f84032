"""The Templates port: versions, what was added over the API, aliases, conversions."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson
import sqlalchemy as sa

from gateway import ports
from gateway.adapters.store import schema, statements, units
from gateway.adapters.store.columns import Json, Word
from gateway.domain import errors
from gateway.domain.templates import records

_versions, _heads, _aliases = schema.template_versions, schema.template_heads, schema.template_aliases


def _words(*names: str) -> tuple[sa.BindParameter[Any], ...]:
    return tuple(sa.bindparam(name, type_=Word) for name in names)


_KEEP: Final = sa.text(
    "INSERT INTO template_versions (name, version, origin, created_at, current_at, content)"
    " VALUES (:name, :version, :origin, :at, :at, :content)"
    " ON CONFLICT (name, version) DO UPDATE SET current_at = excluded.current_at"
).bindparams(*_words("name", "version", "origin"), sa.bindparam("content", type_=sa.LargeBinary))
_KEEP_FILE: Final = sa.text(
    "INSERT INTO template_files (digest, data) VALUES (:digest, :data) ON CONFLICT (digest) DO NOTHING"
).bindparams(*_words("digest"), sa.bindparam("data", type_=sa.LargeBinary))
_FILES: Final = sa.select(schema.template_files).where(
    schema.template_files.c.digest.in_(sa.bindparam("digests", expanding=True))
)
_INFO: Final = (
    _versions.c.name,
    _versions.c.version,
    _versions.c.origin,
    _versions.c.created_at,
    _versions.c.current_at,
)
_ALL: Final = sa.select(*_INFO).order_by(_versions.c.current_at, _versions.c.created_at)
_OF_NAME: Final = (
    sa.select(*_INFO)
    .where(_versions.c.name == sa.bindparam("name"))
    .order_by(_versions.c.current_at.desc(), _versions.c.created_at.desc())
)
_CONTENT: Final = sa.select(_versions.c.content).where(
    _versions.c.name == sa.bindparam("name"), _versions.c.version == sa.bindparam("version")
)
_ALL_HEADS: Final = sa.select(_heads)
_HEAD: Final = sa.select(_heads.c.version).where(_heads.c.name == sa.bindparam("name"))
_CREATE_HEAD: Final = sa.text(
    "INSERT INTO template_heads (name, version, updated_at) VALUES (:name, :version, :at) ON CONFLICT (name) DO NOTHING"
).bindparams(*_words("name", "version"))
_SET_HEAD: Final = (
    sa.update(_heads)
    .where(_heads.c.name == sa.bindparam("b_name"))
    .values(version=sa.bindparam("version"), updated_at=sa.bindparam("at"))
)
_REMOVE_HEAD: Final = sa.delete(_heads).where(_heads.c.name == sa.bindparam("name"))
_ALL_ALIASES: Final = sa.select(_aliases).order_by(_aliases.c.template, _aliases.c.alias)
_BEGIN_ALIAS: Final = sa.text(
    "INSERT INTO template_aliases (template, alias, moves) VALUES (:template, :alias, :moves)"
    " ON CONFLICT (template, alias) DO NOTHING"
).bindparams(*_words("template", "alias"), sa.bindparam("moves", type_=Json))
_ALIAS: Final = (
    sa.select(_aliases.c.moves)
    .where(_aliases.c.template == sa.bindparam("template"), _aliases.c.alias == sa.bindparam("alias"))
    .with_for_update()
)
_MOVE: Final = (
    sa.update(_aliases)
    .where(_aliases.c.template == sa.bindparam("b_template"), _aliases.c.alias == sa.bindparam("b_alias"))
    .values(moves=sa.bindparam("moves"))
)
_REMOVE_ALIASES: Final = sa.delete(_aliases).where(_aliases.c.template == sa.bindparam("template"))
_CONVERSION: Final = sa.select(schema.template_conversions.c.graph).where(
    schema.template_conversions.c.source == sa.bindparam("source")
)
_KEEP_CONVERSION: Final = sa.text(
    "INSERT INTO template_conversions (source, graph, created_at) VALUES (:source, :graph, :at)"
    " ON CONFLICT (source) DO UPDATE SET graph = excluded.graph, created_at = excluded.created_at"
).bindparams(*_words("source"), sa.bindparam("graph", type_=sa.LargeBinary))


class Templates:
    """`ports.Templates` over SQL."""

    def __init__(self, run: units.Units, *, clock: ports.Clock) -> None:
        self._run = run
        self._clock = clock

    async def keep(self, versions: Sequence[records.NewVersion]) -> None:
        """Record versions that are their templates' newest now."""
        if not versions:
            return
        at = self._clock()
        rows, files = await asyncio.to_thread(_packed, versions, at)
        await self._run.write(lambda tx: _keep(tx, rows, files))

    async def newest(self) -> Mapping[str, records.VersionInfo]:
        """The newest version of each template that there ever was."""
        found = await self._run.read(lambda tx: tx.execute(_ALL, {}).all())
        return {row.name: _info(row) for row in found}

    async def versions(self, name: str) -> tuple[records.VersionInfo, ...]:
        """A template's versions, newest first."""
        found = await self._run.read(lambda tx: tx.execute(_OF_NAME, {"name": name}).all())
        return tuple(map(_info, found))

    async def content(self, name: str, version: str) -> records.Content:
        """What a version is made of."""
        packed, files = await self._run.read(lambda tx: _content(tx, name, version))
        return await asyncio.to_thread(_unpacked, packed, files)

    async def heads(self) -> Mapping[str, records.Head]:
        """The templates that were added over the API."""
        found = await self._run.read(lambda tx: tx.execute(_ALL_HEADS, {}).all())
        return {row.name: records.Head(name=row.name, version=row.version, updated_at=row.updated_at) for row in found}

    async def put(self, version: records.NewVersion, *, create: bool) -> bool:
        """Make this the content of a template that was added over the API."""
        at = self._clock()
        rows, files = await asyncio.to_thread(_packed, [version], at)
        return await self._run.write(lambda tx: _put(tx, rows, files, create=create))

    async def remove(self, name: str) -> None:
        """Forget a template that was added over the API, and its aliases."""
        await self._run.write(lambda tx: _remove(tx, name))

    async def aliases(self) -> tuple[records.Alias, ...]:
        """All aliases with their moves."""
        found = await self._run.read(lambda tx: tx.execute(_ALL_ALIASES, {}).all())
        return tuple(_alias(row.template, row.alias, row.moves) for row in found)

    async def move(
        self, template: str, alias: str, to: Callable[[records.Alias | None], records.Move]
    ) -> records.Alias:
        """Point an alias elsewhere."""
        return await self._run.write(lambda tx: _move(tx, template, alias, to))

    async def conversion(self, source: str) -> records.Converted | None:
        """What an editor's file was converted to."""
        found = await self._run.read(lambda tx: tx.execute(_CONVERSION, {"source": source}).scalar_one_or_none())
        return None if found is None else records.Converted.from_dict(orjson.loads(zlib.decompress(found)))

    async def keep_conversion(self, source: str, converted: records.Converted) -> None:
        """Remember a conversion in place of the one before."""
        packed = zlib.compress(orjson.dumps(converted.as_dict()), 1)
        values = {"source": source, "graph": packed, "at": self._clock()}
        await self._run.write(lambda tx: tx.execute(_KEEP_CONVERSION, values))


Rows = list[dict[str, Any]]


def _packed(versions: Sequence[records.NewVersion], at: float) -> tuple[Rows, Rows]:
    """Rows of the versions, and of the files that they name."""
    files: dict[str, bytes] = {}
    rows: Rows = []
    for each in versions:
        digests = {path: hashlib.blake2b(data, digest_size=32).hexdigest() for path, data in each.content.files.items()}
        files |= {digests[path]: data for path, data in each.content.files.items()}
        body = {**each.content.workflow.as_dict(), "text": each.content.text, "files": digests}
        rows.append(
            {
                "name": each.name,
                "version": each.version,
                "origin": str(each.origin),
                "content": zlib.compress(orjson.dumps(body), 1),
                "at": at,
            }
        )
    return rows, [{"digest": digest, "data": data} for digest, data in sorted(files.items())]


def _keep(tx: statements.Transaction, rows: Rows, files: Rows) -> None:
    if files:
        tx.execute(_KEEP_FILE, files)
    tx.execute(_KEEP, sorted(rows, key=lambda row: (row["name"], row["version"])))  # one order: no deadlocks


def _info(row: Any) -> records.VersionInfo:
    return records.VersionInfo(
        name=row.name,
        version=row.version,
        origin=records.Origin(row.origin),
        created_at=row.created_at,
        current_at=row.current_at,
    )


def _content(tx: statements.Transaction, name: str, version: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    packed = tx.execute(_CONTENT, {"name": name, "version": version}).scalar_one_or_none()
    if packed is None:
        raise errors.NotFound(f"The template {name} has no version {version}.")
    body: dict[str, Any] = orjson.loads(zlib.decompress(packed))
    digests = sorted(set(body["files"].values()))
    found = tx.execute(_FILES, {"digests": digests}).all() if digests else []
    return body, {row.digest: bytes(row.data) for row in found}


def _unpacked(body: dict[str, Any], files: dict[str, bytes]) -> records.Content:
    return records.Content(
        workflow=records.Converted.from_dict(body),
        text=body["text"],
        files={path: files[digest] for path, digest in body["files"].items()},
    )


def _put(tx: statements.Transaction, rows: Rows, files: Rows, *, create: bool) -> bool:
    _keep(tx, rows, files)
    values = {key: rows[0][key] for key in ("name", "version", "at")}
    if tx.execute(_CREATE_HEAD, values).rowcount == 1:
        return True
    if create:
        raise errors.Conflict(f"There is a template {values['name']} already; replace it with PUT.")
    tx.execute(_SET_HEAD, {"b_name": values["name"], "version": values["version"], "at": values["at"]})
    return False


def _remove(tx: statements.Transaction, name: str) -> None:
    if tx.execute(_REMOVE_HEAD, {"name": name}).rowcount != 1:
        raise errors.NotFound(f"No template {name} was added over the API.")
    tx.execute(_REMOVE_ALIASES, {"template": name})


def _alias(template: str, name: str, moves: Any) -> records.Alias:
    return records.Alias(template=template, name=name, moves=tuple(map(records.Move.from_dict, moves)))


def _move(
    tx: statements.Transaction, template: str, alias: str, to: Callable[[records.Alias | None], records.Move]
) -> records.Alias:
    # The row first, so that there is one to lock.
    tx.execute(_BEGIN_ALIAS, {"template": template, "alias": alias, "moves": []})
    moves = tx.execute(_ALIAS, {"template": template, "alias": alias}).scalar_one()
    move = to(_alias(template, alias, moves) if moves else None)
    for version in (move.version, move.candidate):
        if version is not None and not tx.execute(_CONTENT, {"name": template, "version": version}).all():
            raise errors.NotFound(f"The template {template} has no version {version}.")
    moved = [*moves, move.as_dict()][-records.MAX_MOVES :]
    tx.execute(_MOVE, {"b_template": template, "b_alias": alias, "moves": moved})
    return _alias(template, alias, moved)
