"""The Assets port: records of stored bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from gateway import ports
from gateway.adapters.store import idempotency, rows, schema, statements, units
from gateway.domain import errors, model

_assets = schema.assets
_of_tenant = _assets.c.tenant == sa.bindparam("tenant")
_newest_first = (_assets.c.created_at.desc(), _assets.c.id.desc())

ADD_ASSETS: Final = sa.insert(_assets)
_ONE: Final = sa.select(_assets).where(_assets.c.id == sa.bindparam("id"))
_ONE_OF: Final = _ONE.where(_of_tenant)
_ONE_OF_LOCKED: Final = _ONE_OF.with_for_update()
_MANY: Final = sa.select(_assets).where(_of_tenant, _assets.c.id.in_(sa.bindparam("ids", expanding=True)))
_BY_HASH: Final = (
    sa.select(_assets)
    .where(
        _assets.c.hash == sa.bindparam("hash"),
        _of_tenant,
        sa.or_(_assets.c.expires_at.is_(None), _assets.c.expires_at > sa.bindparam("now")),
    )
    .order_by(*_newest_first)
    .limit(1)
)
_BY_PATH: Final = (
    sa.select(_assets)
    .where(
        _of_tenant,
        _assets.c.path_key.is_not(None),
        _assets.c.path_key == sa.bindparam("path_key"),
        sa.or_(_assets.c.expires_at.is_(None), _assets.c.expires_at > sa.bindparam("now")),
    )
    .order_by(*_newest_first)
    .limit(1)
)
_until = sa.cast(sa.bindparam("until"), sa.Double)
_EXTEND: Final = (
    sa.update(_assets)
    .where(
        _assets.c.id == sa.bindparam("b_id"),
        _assets.c.expires_at.is_not(None),
        sa.or_(_until.is_(None), _assets.c.expires_at < _until),
    )
    .values(expires_at=_until)
)

_jobs = schema.jobs
_needed = (
    sa.select(schema.job_assets.c.asset_id)
    .outerjoin(_jobs, _jobs.c.id == schema.job_assets.c.job_id)  # a job of a large order may be still to be written
    .where(schema.job_assets.c.asset_id == _assets.c.id, _jobs.c.completed_at.is_(None))
)
_listed = sa.select(schema.outputs.c.asset_id).where(schema.outputs.c.asset_id == _assets.c.id)

#: A job that has not ended refers to it, or a job that is still kept lists it as an output.
IN_USE: Final = sa.or_(sa.exists(_needed), sa.exists(_listed))

_USED: Final = sa.select(_assets.c.id).where(_assets.c.id == sa.bindparam("id"), IN_USE)
_USED_HASHES: Final = sa.select(_assets.c.hash).where(_assets.c.hash.in_(sa.bindparam("hashes", expanding=True)))
_DELETE: Final = sa.delete(_assets).where(_assets.c.id == sa.bindparam("id"))
_SHARED: Final = sa.select(_assets.c.id).where(_assets.c.hash == sa.bindparam("hash")).limit(1)
LOOSEN: Final = sa.text("INSERT INTO loose_blobs (hash) VALUES (:hash) ON CONFLICT (hash) DO NOTHING")


class Assets:
    """`ports.Assets` over SQL."""

    def __init__(self, run: units.Units, *, clock: ports.Clock) -> None:
        self._run = run
        self._clock = clock

    async def add(self, asset: model.Asset, *, idempotency_key: str | None = None) -> model.Asset:
        """Record an asset; IdempotencyKeyReuse."""

        def write(tx: statements.Transaction) -> None:
            if idempotency_key is not None:
                made = ("asset_id", asset.id)
                idempotency.take(tx, asset.tenant, f"asset:{idempotency_key}", made, at=asset.created_at)
            tx.execute(ADD_ASSETS, rows.asset_values(asset))

        await self._run.write(write)
        return asset

    async def get(self, tenant: model.TenantId, asset_id: str) -> model.Asset:
        """One asset; NotFound."""
        values = {"id": asset_id, "tenant": tenant}
        row = await self._run.read(lambda tx: tx.execute(_ONE_OF, values).one_or_none())
        if row is None:
            raise _no_asset(asset_id)
        return rows.asset(row)

    async def find(self, asset_id: str) -> model.Asset:
        """One asset whoever owns it; NotFound."""
        row = await self._run.read(lambda tx: tx.execute(_ONE, {"id": asset_id}).one_or_none())
        if row is None:
            raise _no_asset(asset_id)
        return rows.asset(row)

    async def get_many(self, tenant: model.TenantId, asset_ids: Sequence[str]) -> Mapping[str, model.Asset]:
        """Those of the asked assets that exist."""
        if not asset_ids:
            return {}
        values = {"ids": list(asset_ids), "tenant": tenant}
        found = await self._run.read(lambda tx: tx.execute(_MANY, values).all())
        return {row.id: rows.asset(row) for row in found}

    async def by_hash(self, tenant: model.TenantId, hash_: str) -> model.Asset | None:
        """The tenant's newest unexpired asset over these bytes."""
        values = {"hash": hash_, "tenant": tenant, "now": self._clock()}
        row = await self._run.read(lambda tx: tx.execute(_BY_HASH, values).one_or_none())
        return None if row is None else rows.asset(row)

    async def by_path(self, tenant: model.TenantId, file_paths: Sequence[str]) -> Mapping[str, model.Asset]:
        """The tenant's newest unexpired upload at each of these paths that has one."""
        values = {"tenant": tenant, "now": self._clock()}
        keys = {path: rows.digest(path) for path in file_paths}

        def read(tx: statements.Transaction) -> dict[str, model.Asset]:
            found = {path: tx.execute(_BY_PATH, {"path_key": key, **values}).first() for path, key in keys.items()}
            return {path: rows.asset(row) for path, row in found.items() if row is not None}

        return await self._run.read(read) if keys else {}

    async def extend(
        self, asset_id: str, *, expires_at: float | None, idempotency_key: str | None = None
    ) -> model.Asset:
        """Move an asset's expiry later, never earlier; NotFound; IdempotencyKeyReuse."""
        now = self._clock()

        def write(tx: statements.Transaction) -> model.Asset:
            tx.execute(_EXTEND, {"b_id": asset_id, "until": expires_at})
            row = tx.execute(_ONE, {"id": asset_id}).one_or_none()
            if row is None:
                raise _no_asset(asset_id)
            if idempotency_key is not None:
                idempotency.take(tx, row.tenant, f"asset:{idempotency_key}", ("asset_id", asset_id), at=now)
            return rows.asset(row)

        return await self._run.write(write)

    async def delete(self, tenant: model.TenantId, asset_id: str) -> str | None:
        """Delete a record; returns the hash when nothing uses its blob any more; NotFound; AssetInUse."""
        return await self._run.write(lambda tx: _delete(tx, tenant, asset_id))

    async def unused(self, hashes: Sequence[str]) -> frozenset[str]:
        """Those of these hashes that no asset record of any tenant has."""
        if not hashes:
            return frozenset()
        values = {"hashes": list(hashes)}
        used = await self._run.read(lambda tx: tx.execute(_USED_HASHES, values).scalars())
        return frozenset(hashes).difference(used)


def _no_asset(asset_id: str) -> errors.NotFound:
    return errors.NotFound(f"There is no asset {asset_id!r}.")


def _delete(tx: statements.Transaction, tenant: str, asset_id: str) -> str | None:
    row = tx.execute(_ONE_OF_LOCKED, {"id": asset_id, "tenant": tenant}).one_or_none()
    if row is None:
        raise _no_asset(asset_id)
    if tx.execute(_USED, {"id": row.id}).one_or_none() is not None:
        raise errors.AssetInUse("A job that has not ended, or one that is still kept, needs this asset.")
    tx.execute(_DELETE, {"id": row.id})
    if tx.execute(_SHARED, {"hash": row.hash}).one_or_none() is not None:
        return None
    tx.execute(LOOSEN, {"hash": row.hash})  # should the caller die before the bytes are gone, prune returns it too
    return row.hash
