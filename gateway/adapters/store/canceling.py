"""Canceling many jobs: found by a reader, asked in chunks, so that no claim or submit waits for more than one chunk."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa

from gateway.adapters.store import edges, owing, schema, statements, units
from gateway.domain import model
from gateway.domain.states import Edge, JobStatus

CHUNK: Final = 250  #: jobs that are asked in one transaction

#: What asking for an end means in each status; elsewhere it means nothing.
ASK: Final = {JobStatus.QUEUED: Edge.CANCEL, JobStatus.RUNNING: Edge.ASK_CANCEL}

_jobs = schema.jobs
_of_tenant = (_jobs.c.tenant + "") == sa.bindparam("tenant")  # no column of an index: the one of what is queued is best


def _active(column: sa.ColumnElement[str], status: str, *conditions: sa.ColumnElement[bool]) -> sa.Select[str]:
    """Jobs with an open attempt: there are never more than places on workers, so these are looked at first."""
    theirs = sa.select(_jobs.c.id).where(
        _jobs.c.id == schema.attempts.c.job_id, _jobs.c.status == sa.literal_column(f"'{status}'"), *conditions
    )
    return sa.select(column).where(schema.attempts.c.ended_at.is_(None), sa.exists(theirs))


#: From the head of the queue, which would be claimed next.
QUEUED: Final = (
    sa.select(_jobs.c.id)
    .where(_jobs.c.status == schema.QUEUED)
    .order_by(_jobs.c.priority.desc(), _jobs.c.vt, _jobs.c.id)
)
QUEUED_OF: Final = QUEUED.where(_of_tenant)
RUNNING: Final = _active(schema.attempts.c.job_id, "running")
RUNNING_OF: Final = _active(schema.attempts.c.job_id, "running", _of_tenant)

_ASKABLE: Final = (
    sa.select(_jobs.c.id, _jobs.c.status, _jobs.c.attempt_id, _jobs.c.webhook)
    .where(
        _jobs.c.id.in_(sa.bindparam("ids", expanding=True)),
        _jobs.c.status.in_([sa.literal_column("'queued'"), sa.literal_column("'running'")]),
    )
    .order_by(_jobs.c.id)
    .with_for_update()
)

#: Open attempts whose job somebody wants canceled, through whichever gateway.
CANCELING: Final = _active(schema.attempts.c.id, "canceling")


async def cancel_queued(
    run: units.Units, bell: owing.Bell, tenant: model.TenantId | None, *, now: float, running: bool
) -> AsyncGenerator[Sequence[model.Canceled], None]:
    """See `ports.Jobs.cancel_queued`."""
    values = {} if tenant is None else {"tenant": tenant}
    wanted = [QUEUED if tenant is None else QUEUED_OF]
    if running:
        wanted.append(RUNNING if tenant is None else RUNNING_OF)
    ids: list[str] = []
    for statement in wanted:
        ids += await run.read(lambda tx, statement=statement: tx.execute(statement, values).scalars())
    async for asked in ask(run, bell, ids, now=now):
        yield asked


async def ask(
    run: units.Units, bell: owing.Bell, ids: Sequence[str], *, now: float
) -> AsyncGenerator[Sequence[model.Canceled], None]:
    """Ask for an end of each of these jobs, a chunk after the other; yields those whose status this changed."""
    for chunk in _chunks(ids):
        asked, hooked = await run.write(lambda tx, chunk=chunk: _ask(tx, chunk, now=now))
        if hooked:
            bell.ring()
        yield asked


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    unique = list(dict.fromkeys(ids))
    yield from (unique[start : start + CHUNK] for start in range(0, len(unique), CHUNK))


def _ask(tx: statements.Transaction, ids: Sequence[str], *, now: float) -> tuple[Sequence[model.Canceled], bool]:
    """Those that were asked, and whether a webhook of one of them is to be told."""
    found = tx.execute(_ASKABLE, {"ids": ids}).all()
    asked: list[model.Canceled] = []
    for status, edge in ASK.items():
        rows = [row for row in found if row.status == status]
        ended: dict[str, Any] = {"completed_at": now} if edge is Edge.CANCEL else {}
        edges.follow_many(tx, {row.id: row.webhook for row in rows}, status, edge, at=now, **ended)
        after = JobStatus.CANCELED if edge is Edge.CANCEL else JobStatus.CANCELING
        asked += [model.Canceled(job_id=row.id, status=after, attempt_id=row.attempt_id) for row in rows]
    return asked, any(row.webhook for row in found)
