"""Owing webhooks: the delivery is written with the event that it tells, in the same transaction.

Whoever changes a job knows its webhook from the row it has read anyway; for a job without one nothing is executed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import sqlalchemy as sa

from gateway.adapters.store import schema, statements
from gateway.adapters.store.columns import Prose, Word
from gateway.domain import deliveries, model, webhooks

Hook: TypeAlias = Mapping[str, Any] | None  #: the column `webhook` of a job

_owed = schema.deliveries
_jobs = schema.jobs

#: The event that was written last for the job; its number makes the delivery's id, so that it needs no other.
_SEQ: Final = (
    sa.select(sa.func.max(schema.events.c.seq))
    .where(schema.events.c.job_id == sa.bindparam("to_job"))
    .scalar_subquery()
)
_COLUMNS: Final = ("id", "job_id", "seq", "tenant", "type", "at", "url", "host", "status", "since", "due")
_OWE: Final = sa.insert(_owed).from_select(
    _COLUMNS,
    sa.select(
        sa.bindparam("to_stem", type_=Word).op("||", return_type=Word())(sa.cast(_SEQ, sa.Text)),
        _jobs.c.id,
        _SEQ,
        _jobs.c.tenant,
        sa.bindparam("to_type", type_=Word),
        sa.bindparam("to_at", type_=sa.Double),
        sa.bindparam("to_url", type_=Prose),
        sa.bindparam("to_host", type_=Word),
        sa.literal_column("'pending'"),
        sa.bindparam("to_at", type_=sa.Double),
        sa.bindparam("to_at", type_=sa.Double),
    ).where(_jobs.c.id == sa.bindparam("to_job")),
    include_defaults=False,
)
#: What an attempt that is given up has made goes with it, and so does what was to be told of it.
_DROP: Final = sa.delete(_owed).where(
    _owed.c.job_id == sa.bindparam("job_id"),
    _owed.c.status == sa.literal_column("'pending'"),
    _owed.c.type == sa.literal_column(f"'{webhooks.EventType.OUTPUT.value}'"),
)


def owe(tx: statements.Transaction, job_id: str, hook: Hook, event: webhooks.EventType | None, *, at: float) -> None:
    """Owe the job's latest event to its webhook, if it has one that wants it."""
    if hook is None or event is None or event.value not in hook["events"]:
        return
    url = hook["url"]
    tx.execute(
        _OWE,
        {
            "to_stem": f"msg_{job_id}_",
            "to_job": job_id,
            "to_type": event.value,
            "to_at": at,
            "to_url": url,
            "to_host": webhooks.host_of(url),
        },
    )


def drop_outputs(tx: statements.Transaction, job_id: str, hook: Hook) -> None:
    """Owe no outputs of a job any more: another attempt makes them again."""
    if hook is not None:
        tx.execute(_DROP, {"job_id": job_id})


class Bell:
    """Rings when this process has written something that is owed, so that nobody has to look all the time."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._heard: list[deliveries.Heard] = []

    def claimed(self, claims: Sequence[model.Claim]) -> None:
        """Ring for jobs that began to run here."""
        hooked = [claim for claim in claims if claim.webhook is not None]
        self._heard += [
            deliveries.Heard(job_id=claim.job_id, tenant=claim.tenant)
            for claim in hooked
            if claim.webhook is not None and webhooks.EventType.PROGRESS in claim.webhook.events
        ]
        if hooked:
            self._rung.set()

    def changed(self, jobs: Iterable[model.Job]) -> None:
        """Ring for jobs whose status changed."""
        if any(job.webhook is not None for job in jobs):
            self._rung.set()

    def ring(self) -> None:
        """Ring."""
        self._rung.set()

    async def rung(self) -> Sequence[deliveries.Heard]:
        """Wait for a ring; the jobs that began to run since the last one and whose progress is wanted."""
        await self._rung.wait()
        self._rung.clear()
        heard, self._heard = self._heard, []
        return heard
