"""The Jobs port: submitting, reading and cancelling."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final

import orjson
import sqlalchemy as sa

from gateway import ports
from gateway.adapters.store import (
    canceling,
    depth,
    edges,
    ordering,
    owing,
    prioritizing,
    rows,
    schema,
    slices,
    statements,
    units,
)
from gateway.domain import errors, model
from gateway.domain.states import Edge, JobStatus

COUNTS_SECONDS: Final = 1.0  #: how old counts for metrics may be

_jobs = schema.jobs
_outputs = schema.outputs
_of_tenant = _jobs.c.tenant == sa.bindparam("tenant")

JOB: Final = sa.select(_jobs).where(_jobs.c.id == sa.bindparam("id"))
_JOB_OF: Final = JOB.where(_of_tenant)
_JOB_OF_LOCKED: Final = _JOB_OF.with_for_update()

_OUTPUT_ROWS: Final = (
    sa.select(
        schema.assets,
        _outputs.c.job_id.label("owner"),
        _outputs.c.position,
        _outputs.c.node_id,
        _outputs.c.name,
        _outputs.c.type,
    )
    .join(schema.assets, schema.assets.c.id == _outputs.c.asset_id)
    .order_by(_outputs.c.job_id, _outputs.c.position)
)
_OUTPUTS: Final = _OUTPUT_ROWS.where(_outputs.c.job_id == sa.bindparam("id"))
_OUTPUTS_OF_MANY: Final = _OUTPUT_ROWS.where(_outputs.c.job_id.in_(sa.bindparam("ids", expanding=True)))

_GRAPH: Final = (
    sa.select(schema.job_graphs.c.graph, schema.job_graphs.c.packed)
    .join(_jobs, _jobs.c.id == schema.job_graphs.c.job_id)
    .where(_jobs.c.id == sa.bindparam("id"), _of_tenant)
)

_ATTEMPTS: Final = (
    sa.select(schema.attempts).where(schema.attempts.c.job_id == sa.bindparam("id")).order_by(schema.attempts.c.number)
)
_EVENTS: Final = (
    sa.select(schema.events).where(schema.events.c.job_id == sa.bindparam("id")).order_by(schema.events.c.seq)
)

_PLACE: Final = sa.select(_jobs.c.priority, _jobs.c.vt).where(
    _jobs.c.id == sa.bindparam("id"), _jobs.c.status == schema.QUEUED
)


def _ahead(*conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    queued = sa.select(sa.func.count()).select_from(_jobs).where(_jobs.c.status == schema.QUEUED, *conditions)
    return queued.scalar_subquery()


# Three ranges of the fair index, instead of one condition with OR that would walk all of it.
_same_priority = _jobs.c.priority == sa.bindparam("priority")
_AHEAD: Final = sa.select(
    _ahead(_jobs.c.priority > sa.bindparam("priority"))
    + _ahead(_same_priority, _jobs.c.vt < sa.bindparam("vt"))
    + _ahead(_same_priority, _jobs.c.vt == sa.bindparam("vt"), _jobs.c.id < sa.bindparam("id"))
)

_BATCH: Final = sa.select(schema.batches).where(
    schema.batches.c.id == sa.bindparam("id"), schema.batches.c.tenant == sa.bindparam("tenant")
)
_BATCH_COUNTS: Final = (
    sa.select(_jobs.c.status, sa.func.count().label("n"))
    .where(_jobs.c.batch_id == sa.bindparam("id"))
    .group_by(_jobs.c.status)
)

_BATCH_OUTPUTS: Final = (
    sa.select(sa.func.count())
    .select_from(_outputs)
    .join(_jobs, _jobs.c.id == _outputs.c.job_id)
    .where(_jobs.c.batch_id == sa.bindparam("id"))
)
_UNENDED_OF_BATCH: Final = (
    sa.select(_jobs.c.id)
    .where(_jobs.c.batch_id == sa.bindparam("id"), _jobs.c.completed_at.is_(None))
    .order_by(_jobs.c.batch_index, _jobs.c.id)
)

# Ended jobs are counted from an index that only they are in, active ones through their open attempts.
_COUNTS: Final = sa.union_all(
    sa.select(_jobs.c.status, sa.func.count().label("n")).where(_jobs.c.completed_at.is_not(None)).group_by("status"),
    sa.select(sa.literal("queued"), sa.func.count()).select_from(_jobs).where(_jobs.c.status == schema.QUEUED),
    sa.select(_jobs.c.status, sa.func.count())
    .join(schema.attempts, schema.attempts.c.job_id == _jobs.c.id)
    .where(schema.attempts.c.ended_at.is_(None))
    .group_by(_jobs.c.status),
)


class Jobs:
    """`ports.Jobs` over SQL."""

    def __init__(self, run: units.Units, bell: owing.Bell, *, orders: ordering.Ordering, clock: ports.Clock) -> None:
        self._run = run
        self._orders = orders
        self._bell = bell
        self._clock = clock
        self._counts: tuple[float, Mapping[JobStatus, int]] = (-math.inf, {})

    async def submit(
        self,
        jobs: Sequence[model.NewJob],
        *,
        batch: model.NewBatch | None = None,
        idempotency_key: str | None = None,
        queue_limit: int | None = None,
        queue_bytes: int | None = None,
        begin: ports.Begin | None = None,
        offer: ports.Offering | None = None,
        written: Callable[[], None] | None = None,
    ) -> tuple[model.Job, ...]:
        """Queue jobs of one tenant, all or none."""
        if not jobs:
            return ()
        terms = ordering.Terms(
            batch=batch,
            idempotency_key=idempotency_key,
            bounds=depth.Bounds(jobs=queue_limit, bytes=queue_bytes),
            begin=begin,
            offer=offer if begin is None else None,
            written=written or (lambda: None),
        )
        queued = await self._orders.submit(jobs, terms)
        if begin is not None:
            self._bell.changed(queued)
        return queued

    async def get(self, tenant: model.TenantId, job_id: str) -> model.Job:
        """One job with its outputs; NotFound."""
        return await self._run.read(lambda tx: _found(tx, tx.execute(_JOB_OF, {"id": job_id, "tenant": tenant})))

    async def page(
        self, tenant: model.TenantId, want: model.JobFilter, *, limit: int, cursor: str | None
    ) -> model.Page:
        """Jobs newest first; InvalidCursor for a cursor that is not ours."""
        query = _listing(tenant, want, None if cursor is None else _read_cursor(cursor)).limit(limit + 1)
        return await self._run.read(lambda tx: _page(tx, query, limit))

    async def graph(self, tenant: model.TenantId, job_id: str) -> bytes:
        """The bound graph as JSON bytes; NotFound."""
        row = await self._run.read(lambda tx: tx.execute(_GRAPH, {"id": job_id, "tenant": tenant}).one_or_none())
        if row is None:
            raise _no_job(job_id)
        return rows.unpack_graph(row)

    async def queue_position(self, job_id: str) -> int | None:
        """1 for the queued job that is next in fair order; None when it is not queued."""
        return await self._run.read(lambda tx: _position(tx, job_id))

    async def attempts(self, job_id: str) -> tuple[model.Attempt, ...]:
        """The job's attempts, oldest first."""
        return await self._run.read(lambda tx: read_attempts(tx, job_id))

    async def place_of_new(self, tenant: model.TenantId, *, priority: int, n: int) -> int:
        """The queue position that the last of `n` jobs would have, were they ordered now."""
        return await self._run.read(lambda tx: prioritizing.place_of_new(tx, tenant, priority=priority, n=n))

    async def prioritize(self, tenant: model.TenantId, job_id: str, priority: int, *, now: float) -> model.Job:
        """Give a queued job another priority; NotFound, NotQueued."""
        return rows.job(await self._run.write(lambda tx: prioritizing.change(tx, tenant, job_id, priority, now=now)))

    async def events(self, job_id: str) -> tuple[model.Event, ...]:
        """The job's stored facts in order."""
        found = await self._run.read(lambda tx: tx.execute(_EVENTS, {"id": job_id}).all())
        return tuple(rows.event(row) for row in found)

    async def cancel(self, tenant: model.TenantId, job_id: str, *, now: float) -> model.Job:
        """Ask for an end; returns the job as it is afterwards; NotFound."""
        job = await self._run.write(lambda tx: _cancel(tx, tenant, job_id, now))
        self._bell.changed([job])
        return job

    async def batch(self, tenant: model.TenantId, batch_id: str) -> model.Batch:
        """A batch with counts of its jobs; NotFound."""
        return await self._run.read(lambda tx: _batch(tx, tenant, batch_id))

    async def cancel_batch(
        self, tenant: model.TenantId, batch_id: str, *, now: float
    ) -> AsyncGenerator[Sequence[model.Canceled], None]:
        """Cancel every job of a batch that has not ended; NotFound."""
        await slices.finish(self._run)  # what was taken is canceled with the rest
        ids = await self._run.read(lambda tx: _unended_of_batch(tx, tenant, batch_id))
        async for asked in canceling.ask(self._run, self._bell, ids, now=now):
            yield asked

    async def cancel_queued(
        self, tenant: model.TenantId | None, *, now: float, running: bool = False
    ) -> AsyncGenerator[Sequence[model.Canceled], None]:
        """Cancel everything that is queued now, of one tenant or of all; with `running` what runs, too."""
        await slices.finish(self._run)
        async for asked in canceling.cancel_queued(self._run, self._bell, tenant, now=now, running=running):
            yield asked

    async def count_by_status(self) -> Mapping[JobStatus, int]:
        """All tenants' jobs by status; at most a second old."""
        now = self._clock()
        counted_at, counts = self._counts
        if not 0 <= now - counted_at < COUNTS_SECONDS:
            found = await self._run.read(lambda tx: tx.execute(_COUNTS).all())
            counts = {JobStatus(row.status): row.n for row in found if row.n}
            self._counts = (now, counts)
        return counts


def read_attempts(tx: statements.Transaction, job_id: str) -> tuple[model.Attempt, ...]:
    """The job's attempts, oldest first."""
    return tuple(rows.attempt(row) for row in tx.execute(_ATTEMPTS, {"id": job_id}))


def read_job(tx: statements.Transaction, job_id: str) -> model.Job:
    """A job that exists, with its outputs."""
    return _found(tx, tx.execute(JOB, {"id": job_id}))


def _no_job(job_id: str) -> errors.NotFound:
    return errors.NotFound(f"There is no job {job_id!r}.")


def _no_batch(batch_id: str) -> errors.NotFound:
    return errors.NotFound(f"There is no batch {batch_id!r}.")


def _found(tx: statements.Transaction, result: statements.Result) -> model.Job:
    row = result.one_or_none()
    if row is None:
        raise errors.NotFound("There is no such job.")
    if row.status == JobStatus.QUEUED:  # it keeps no outputs
        return rows.job(row)
    return rows.job(row, [rows.output(output) for output in tx.execute(_OUTPUTS, {"id": row.id})])


def _cancel(tx: statements.Transaction, tenant: str, job_id: str, now: float) -> model.Job:
    row = tx.execute(_JOB_OF_LOCKED, {"id": job_id, "tenant": tenant}).one_or_none()
    if row is None:
        raise _no_job(job_id)
    status = JobStatus(row.status)
    if edge := canceling.ASK.get(status):
        ended: dict[str, Any] = {"completed_at": now} if edge is Edge.CANCEL else {}
        edges.follow(tx, row.id, status, edge, at=now, hook=row.webhook, **ended)
    return read_job(tx, row.id)


def _position(tx: statements.Transaction, job_id: str) -> int | None:
    place = tx.execute(_PLACE, {"id": job_id}).one_or_none()
    if place is None:
        return None
    return 1 + tx.execute(_AHEAD, {"id": job_id, "priority": place.priority, "vt": place.vt}).scalar_one()


def _batch(tx: statements.Transaction, tenant: str, batch_id: str) -> model.Batch:
    row = tx.execute(_BATCH, {"id": batch_id, "tenant": tenant}).one_or_none()
    if row is None:
        raise _no_batch(batch_id)
    counts = tx.execute(_BATCH_COUNTS, {"id": batch_id}).all()
    return model.Batch(
        id=row.id,
        tenant=row.tenant,
        created_at=row.created_at,
        metadata=row.metadata or {},
        counts={JobStatus(count.status): count.n for count in counts},
        outputs=tx.execute(_BATCH_OUTPUTS, {"id": batch_id}).scalar_one(),
    )


def _unended_of_batch(tx: statements.Transaction, tenant: str, batch_id: str) -> Sequence[str]:
    if tx.execute(_BATCH, {"id": batch_id, "tenant": tenant}).one_or_none() is None:
        raise _no_batch(batch_id)
    return tx.execute(_UNENDED_OF_BATCH, {"id": batch_id}).scalars()


def _listing(tenant: str, want: model.JobFilter, after: tuple[float, str] | None) -> sa.Select[Any]:
    query = sa.select(_jobs).where(_jobs.c.tenant == tenant)
    if want.statuses:
        query = query.where(_jobs.c.status.in_(sorted(want.statuses)))
    if want.batch_id is not None:
        query = query.where(_jobs.c.batch_id == want.batch_id)
    if want.template is not None:
        query = query.where(_jobs.c.template == want.template)
    if want.parent_id is None:
        query = query.where(_jobs.c.parent_id.is_(None))
    else:
        query = query.where(_jobs.c.parent_id == want.parent_id, _jobs.c.sealed.is_(False))
    pairs = schema.job_metadata
    for key, value in want.metadata.items():
        tagged = sa.select(pairs.c.job_id).where(pairs.c.pair == rows.pair_digest(key, value))
        query = query.where(_jobs.c.id.in_(tagged))
    if after is not None:
        query = query.where(sa.tuple_(_jobs.c.created_at, _jobs.c.id) < sa.tuple_(*after))
    return query.order_by(_jobs.c.created_at.desc(), _jobs.c.id.desc())


def _page(tx: statements.Transaction, query: sa.Select[Any], limit: int) -> model.Page:
    found = tx.execute(query).all()
    more, found = len(found) > limit, found[:limit]
    made: dict[str, list[model.Output]] = {}
    if ids := [row.id for row in found if row.status != JobStatus.QUEUED]:
        for row in tx.execute(_OUTPUTS_OF_MANY, {"ids": ids}):
            made.setdefault(row.owner, []).append(rows.output(row))
    return model.Page(
        jobs=tuple(rows.job(row, made.get(row.id, ())) for row in found),
        next_cursor=_cursor(found[-1].created_at, found[-1].id) if more and found else None,
    )


def _cursor(created_at: float, job_id: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([created_at, job_id])).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[float, str]:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        place = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        place = None
    match place:
        case [float() as created_at, str() as job_id]:
            return created_at, job_id
        case _:
            raise errors.InvalidCursor("This cursor was not issued by this gateway.")
