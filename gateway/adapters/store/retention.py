"""Forgetting: queued jobs that waited too long, and what is past its retention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from gateway.adapters.store import assets, edges, idempotency, schema, statements
from gateway.domain import model
from gateway.domain.states import Edge, JobStatus

_jobs = schema.jobs
_assets = schema.assets
_loose = schema.loose_blobs
_ids = sa.bindparam("ids", expanding=True)

_OVERDUE: Final = sa.select(_jobs.c.id).where(
    _jobs.c.status == schema.QUEUED, _jobs.c.queued_at < sa.bindparam("before")
)

#: Those that are past the limit of their own.
_PAST_LIMIT: Final = sa.select(_jobs.c.id).where(
    _jobs.c.status == schema.QUEUED, _jobs.c.queue_until.is_not(None), _jobs.c.queue_until < sa.bindparam("now")
)

_STILL_QUEUED: Final = (
    sa.select(_jobs.c.id, _jobs.c.webhook)
    .where(_jobs.c.id.in_(_ids), _jobs.c.status == schema.QUEUED)
    .order_by(_jobs.c.id)
    .with_for_update()
)

#: What its webhook is still to be told about a job needs the job.
_TOLD: Final = sa.or_(
    _jobs.c.webhook.is_(None),
    ~sa.exists(
        sa.select(schema.deliveries.c.id).where(
            schema.deliveries.c.job_id == _jobs.c.id, schema.deliveries.c.status == sa.literal_column("'pending'")
        )
    ),
)
_ENDED: Final = (
    sa.select(_jobs.c.id, _jobs.c.batch_id)
    .where(_jobs.c.completed_at.is_not(None), _jobs.c.expires_at <= sa.bindparam("now"), _TOLD)
    .limit(sa.bindparam("limit"))
)
_FORGET: Final = tuple(
    sa.delete(table).where(column.in_(_ids))
    for table, column in (
        (schema.outputs, schema.outputs.c.job_id),
        (schema.job_graphs, schema.job_graphs.c.job_id),
        (schema.job_assets, schema.job_assets.c.job_id),
        (schema.job_metadata, schema.job_metadata.c.job_id),
        (schema.attempts, schema.attempts.c.job_id),
        (schema.events, schema.events.c.job_id),
        (_jobs, _jobs.c.id),
    )
)
_FORGET_BATCHES: Final = sa.delete(schema.batches).where(
    schema.batches.c.id.in_(_ids),
    ~sa.exists(sa.select(_jobs.c.id).where(_jobs.c.batch_id == schema.batches.c.id)),
)
_EXPIRED_ASSETS: Final = (
    sa.select(_assets.c.id, _assets.c.hash)
    .where(_assets.c.expires_at.is_not(None), _assets.c.expires_at <= sa.bindparam("now"), ~assets.IN_USE)
    .limit(sa.bindparam("limit"))
    .with_for_update(skip_locked=True, of=_assets)
)
_FORGET_ASSETS: Final = sa.delete(_assets).where(_assets.c.id.in_(_ids))
_DELETED: Final = sa.delete(_loose).where(_loose.c.boot == sa.bindparam("b_boot"))
_REUSED: Final = sa.delete(_loose).where(sa.exists(sa.select(_assets.c.id).where(_assets.c.hash == _loose.c.hash)))
_LOOSE: Final = sa.select(_loose.c.hash).order_by(_loose.c.hash)
_TELL: Final = sa.update(_loose).values(boot=sa.bindparam("boot"))


def overdue(tx: statements.Transaction, *, now: float, before: float | None) -> list[str]:
    """Queued jobs that are past a limit."""
    found = tx.execute(_PAST_LIMIT, {"now": now}).scalars()
    if before is not None:
        found = list(dict.fromkeys((*found, *tx.execute(_OVERDUE, {"before": before}).scalars())))
    return found


def expire(tx: statements.Transaction, ids: Sequence[str], *, now: float) -> tuple[model.JobId, ...]:
    """Expire those of the jobs that are still queued."""
    queued = {row.id: row.webhook for row in tx.execute(_STILL_QUEUED, {"ids": ids})}
    edges.follow_many(tx, queued, JobStatus.QUEUED, Edge.EXPIRE, at=now, completed_at=now)
    return tuple(model.JobId(job_id) for job_id in queued)


def prune(tx: statements.Transaction, *, now: float, limit: int, boot: str) -> tuple[tuple[str, ...], bool]:
    """Forget what is past retention; returns hashes of blobs that nothing uses, and whether there may be more to do.

    A hash is returned again until the boot that was given it calls once more, which says that it got that far: a
    gateway that dies between this and the deletion of the bytes leaves none behind.
    """
    jobs = _forget_jobs(tx, now=now, limit=limit)
    expired = _forget_assets(tx, now=now, limit=limit)
    idempotency.forget(tx, now=now)
    tx.execute(_DELETED, {"b_boot": boot})
    tx.execute(_REUSED)
    loose = tuple(tx.execute(_LOOSE).scalars())
    if loose:
        tx.execute(_TELL, {"boot": boot})
    return loose, limit in {jobs, expired}


def _forget_jobs(tx: statements.Transaction, *, now: float, limit: int) -> int:
    ended = tx.execute(_ENDED, {"now": now, "limit": limit}).all()
    if not ended:
        return 0
    ids = [job.id for job in ended]
    for statement in _FORGET:
        tx.execute(statement, {"ids": ids})
    if batches := sorted({job.batch_id for job in ended if job.batch_id is not None}):
        tx.execute(_FORGET_BATCHES, {"ids": batches})
    return len(ended)


def _forget_assets(tx: statements.Transaction, *, now: float, limit: int) -> int:
    expired = tx.execute(_EXPIRED_ASSETS, {"now": now, "limit": limit}).all()
    if not expired:
        return 0
    tx.execute(_FORGET_ASSETS, {"ids": [asset.id for asset in expired]})
    tx.execute(assets.LOOSEN, [{"hash": hash_} for hash_ in sorted({asset.hash for asset in expired})])
    return len(expired)
