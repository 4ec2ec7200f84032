"""Keeping to a disk budget: the oldest goes first, before its time. Its retention is cut; `prune` does the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from gateway.adapters.store import assets, rows, schema, statements
from gateway.domain import model

AT_ONCE: Final = 200  #: jobs or uploads that are cut in one transaction

_jobs = schema.jobs
_assets = schema.assets
_outputs = schema.outputs
_ids = sa.bindparam("ids", expanding=True)
_now = sa.bindparam("now")

_each_blob = sa.select(sa.func.max(_assets.c.size_bytes).label("size")).group_by(_assets.c.hash).subquery()
#: Bytes of all blobs, each once. Reads all records: only where there is a budget, and not often.
WEIGHT: Final = sa.select(sa.cast(sa.func.coalesce(sa.func.sum(_each_blob.c.size), 0), sa.BigInteger))

#: A step of a pipeline that has not ended: what comes next may need its files.
_LED_ON: Final = sa.exists(
    sa.select(schema.pipelines.c.job_id).where(
        schema.pipelines.c.job_id == _jobs.c.parent_id, schema.pipelines.c.ended_at.is_(None)
    )
)
# Ids sort by time, so the order of the primary keys is the order of age.
_OLDEST_JOBS: Final = (
    sa.select(_outputs.c.job_id.label("id"), sa.cast(sa.func.sum(_assets.c.size_bytes), sa.BigInteger).label("size"))
    .join(_jobs, _jobs.c.id == _outputs.c.job_id)
    .join(_assets, _assets.c.id == _outputs.c.asset_id)
    .where(_outputs.c.job_id > sa.literal(""), _jobs.c.completed_at.is_not(None), _jobs.c.expires_at > _now, ~_LED_ON)
    .group_by(_outputs.c.job_id)
    .order_by(_outputs.c.job_id)
    .limit(sa.bindparam("limit"))
)
_OLDEST_UPLOADS: Final = (
    sa.select(_assets.c.id, _assets.c.size_bytes.label("size"))
    .where(
        _assets.c.id > sa.literal(""),
        _assets.c.job_id.is_(None),
        sa.or_(_assets.c.expires_at.is_(None), _assets.c.expires_at > _now),
        ~assets.IN_USE,
    )
    .order_by(_assets.c.id)
    .limit(sa.bindparam("limit"))
)
_CUT_JOBS: Final = sa.update(_jobs).where(_jobs.c.id.in_(_ids)).values(expires_at=sa.bindparam("at"))
_CUT_ASSETS: Final = sa.update(_assets).where(_assets.c.id.in_(_ids)).values(expires_at=sa.bindparam("at"))
_CUT_OUTPUTS: Final = (
    sa.update(_assets)
    .where(_assets.c.id.in_(sa.select(_outputs.c.asset_id).where(_outputs.c.job_id.in_(_ids))))
    .values(expires_at=sa.bindparam("at"))
)


def evict(tx: statements.Transaction, *, now: float, excess: int) -> model.Evicted:
    """Cut the oldest ended jobs that have outputs; uploads that nothing needs only where no such job is left."""
    values = {"now": now, "limit": AT_ONCE}
    jobs = _up_to(excess, tx.execute(_OLDEST_JOBS, values).all())
    if jobs:
        ids = [row.id for row in jobs]
        tx.execute(_CUT_OUTPUTS, {"ids": ids, "at": now})
        tx.execute(_CUT_JOBS, {"ids": ids, "at": now})
        return model.Evicted(jobs=len(jobs), bytes=_weight(jobs))
    uploads = _up_to(excess, tx.execute(_OLDEST_UPLOADS, values).all())
    if uploads:
        tx.execute(_CUT_ASSETS, {"ids": [row.id for row in uploads], "at": now})
    return model.Evicted(uploads=len(uploads), bytes=_weight(uploads))


def _up_to(excess: int, found: Sequence[rows.Row]) -> Sequence[rows.Row]:
    """The first of these that weigh that much together."""
    weight = 0
    for number, row in enumerate(found, 1):
        weight += int(row.size)
        if weight >= excess:
            return found[:number]
    return found


def _weight(found: Sequence[rows.Row]) -> int:
    return sum(int(row.size) for row in found)
