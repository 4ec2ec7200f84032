"""The Pauses port, and how a claim stays cheap with thousands of paused jobs at the head of the queue.

The queued jobs of a paused tenant or template *sink*: their priority is lowered by `schema.SUNK`, so that they lie
behind everything else, where the windows of a claim end (`schema.FLOOR`). Lifting the pause raises them. A job that
came later is found by the claim that meets it, and sunk by `sink`, as long as the pause stands: whoever sinks locks
the pauses, so that none is lifted meanwhile and no job stays down there for ever.

Pauses are believed for a second; what this process changes, it knows at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa

from gateway import ports
from gateway.adapters.store import engines, rows, schema, statements, submission, units
from gateway.domain import errors, pauses

FRESH_SECONDS: Final = 1.0
SINK_AT_ONCE: Final = 2000  #: jobs that one claim sinks

_jobs = schema.jobs
_table = schema.pauses
_is_sunk = _jobs.c.priority < schema.FLOOR
_is_held = sa.or_(
    _jobs.c.tenant.in_(sa.bindparam("tenants", expanding=True)),
    _jobs.c.template.in_(sa.bindparam("templates", expanding=True)),
)
_down: Final = _jobs.c.priority - schema.SUNK

_ALL: Final = sa.select(_table).order_by(_table.c.since, _table.c.kind, _table.c.name)
_HELD_FAST: Final = _ALL.with_for_update(read=True)
_ADD: Final = sa.text(
    "INSERT INTO pauses (kind, name, since, by, drain) VALUES (:kind, :name, :since, :by, :drain)"
    " ON CONFLICT (kind, name) DO UPDATE SET drain = excluded.drain"
).bindparams(*(sa.bindparam(name, type_=_table.c[name].type) for name in ("kind", "name", "by", "drain")))
_REMOVE: Final = sa.delete(_table).where(_table.c.kind == sa.bindparam("kind"), _table.c.name == sa.bindparam("name"))

_upper = sa.select(_jobs.c.id).where(_jobs.c.status == schema.QUEUED, _jobs.c.priority > schema.FLOOR, _is_held)
_SINK: Final = (
    sa.update(_jobs)
    .where(
        _jobs.c.id.in_(_upper.order_by(_jobs.c.priority.desc(), _jobs.c.vt, _jobs.c.id).limit(sa.bindparam("most"))),
        _jobs.c.status == schema.QUEUED,
        _jobs.c.priority > schema.FLOOR,
    )
    .values(priority=_down)
)
_SINK_ALL: Final = (
    sa.update(_jobs)
    .where(_jobs.c.status == schema.QUEUED, _jobs.c.priority > schema.FLOOR, _is_held)
    .values(priority=_down)
)
_SUNK_GROUPS: Final = (
    sa.select(
        _jobs.c.tenant,
        _jobs.c.template,
        _jobs.c.priority,
        sa.func.min(_jobs.c.vt).label("first"),
        sa.func.max(_jobs.c.vt).label("last"),
    )
    .where(_jobs.c.status == schema.QUEUED, _is_sunk)
    .group_by(_jobs.c.tenant, _jobs.c.template, _jobs.c.priority)
)
_PRESENT: Final = sa.select(submission.PRESENT)
_RAISE: Final = (
    sa.update(_jobs)
    .where(
        _jobs.c.status == schema.QUEUED,
        _jobs.c.priority == sa.bindparam("sunk"),
        _jobs.c.tenant == sa.bindparam("b_tenant"),
        sa.func.coalesce(_jobs.c.template, "") == sa.bindparam("b_template"),
    )
    .values(priority=sa.bindparam("raised"), vt=_jobs.c.vt + sa.bindparam("later", type_=sa.Double))
)
_CATCH_UP: Final = (
    sa.update(schema.tenants)
    .where(schema.tenants.c.id == sa.bindparam("b_tenant"))
    .values(vt=engines.greater(schema.tenants.c.vt, sa.bindparam("last", type_=sa.Double)))
)

_RUNNING: Final = sa.select(sa.func.count()).select_from(schema.attempts).where(schema.attempts.c.ended_at.is_(None))


def _running_of(condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Open attempts are few, so they are looked at first."""
    return _RUNNING.where(sa.exists(sa.select(_jobs.c.id).where(_jobs.c.id == schema.attempts.c.job_id, condition)))


_RUNNING_OF: Final = {
    pauses.PauseKind.QUEUE: _RUNNING,
    pauses.PauseKind.TEMPLATE: _running_of(_jobs.c.template == sa.bindparam("name")),
    pauses.PauseKind.TENANT: _running_of(_jobs.c.tenant == sa.bindparam("name")),
    pauses.PauseKind.WORKER: _RUNNING.where(schema.attempts.c.worker == sa.bindparam("name")),
}


class Pauses:
    """`ports.Pauses` over SQL."""

    def __init__(self, run: units.Units, *, clock: ports.Clock) -> None:
        self._run = run
        self._clock = clock
        self._known = pauses.Pauses()
        self._read_at = float("-inf")

    async def all(self) -> pauses.Pauses:
        """What is paused; at most a second old."""
        if self.now is None:
            await self._read()
        return self._known

    @property
    def now(self) -> pauses.Pauses | None:
        """What is paused, if that is known without asking."""
        return self._known if 0 <= self._clock() - self._read_at < FRESH_SECONDS else None

    async def put(self, pause: pauses.Pause) -> pauses.Pause:
        """Pause it; one that is paused already stays so, as a drain if this asks for one."""
        await self._run.write(lambda tx: _put(tx, pause))
        return await self._changed(pause.kind, pause.name) or pause

    async def lift(self, kind: pauses.PauseKind, name: str) -> None:
        """End a pause; NotFound."""
        await self._run.write(lambda tx: _lift(tx, kind, name))
        await self._changed(kind, name)

    async def running(self, kind: pauses.PauseKind, name: str) -> int:
        """How many attempts of it are still open."""
        values = {} if kind is pauses.PauseKind.QUEUE else {"name": name}
        return int(await self._run.read(lambda tx: tx.execute(_RUNNING_OF[kind], values).scalar_one()))

    async def _changed(self, kind: pauses.PauseKind, name: str) -> pauses.Pause | None:
        await self._read()
        return self._known.find(kind, name)

    async def _read(self) -> None:
        now = self._clock()
        self._known = pauses.Pauses.of(_pauses(await self._run.read(lambda tx: tx.execute(_ALL).all())))
        self._read_at = now


def sink(tx: statements.Transaction) -> int:
    """Sink jobs at the head that are held by a pause which stands; how many."""
    standing = pauses.Pauses.of(_pauses(tx.execute(_HELD_FAST).all()))
    if not standing.hold_jobs:
        return 0
    return tx.execute(_SINK, {**_names(standing), "most": SINK_AT_ONCE}).rowcount


def _put(tx: statements.Transaction, pause: pauses.Pause) -> None:
    values = {name: getattr(pause, name) for name in ("kind", "name", "since", "by", "drain")}
    tx.execute(_ADD, values)
    alone = pauses.Pauses.of((pause,))
    if alone.hold_jobs:
        tx.execute(_SINK_ALL, _names(alone))


def _lift(tx: statements.Transaction, kind: pauses.PauseKind, name: str) -> None:
    if tx.execute(_REMOVE, {"kind": kind, "name": name}).rowcount != 1:
        what = dataclasses.replace(_NOBODYS, kind=kind, name=name).subject
        raise errors.NotFound(f"{what} is not paused")
    if kind not in {pauses.PauseKind.TENANT, pauses.PauseKind.TEMPLATE}:
        return
    rest = pauses.Pauses.of(_pauses(tx.execute(_ALL).all()))
    for group in tx.execute(_SUNK_GROUPS).all():
        if not rest.holds(group.tenant, group.template):
            _raise(tx, group)


def _raise(tx: statements.Transaction, group: rows.Row) -> None:
    """Bring jobs back into the order. As with a tenant that was idle, having been paused earns no credit: they stand
    where they would had they been ordered now."""
    priority = rows.priority(group.priority)
    present = tx.execute(_PRESENT, {"priority": priority}).scalar_one_or_none() or 0.0
    later = max(0.0, present - group.first)
    values: dict[str, Any] = {
        "sunk": group.priority,
        "raised": priority,
        "b_tenant": group.tenant,
        "b_template": group.template or "",
        "later": later,
    }
    tx.execute(_RAISE, values)
    tx.execute(_CATCH_UP, {"b_tenant": group.tenant, "last": group.last + later})


_NOBODYS: Final = pauses.Pause(kind=pauses.PauseKind.QUEUE, since=0.0)


def _names(held: pauses.Pauses) -> dict[str, Any]:
    """The names for a statement; a list has one element at least."""
    return {"tenants": sorted(held.tenants) or [""], "templates": sorted(held.templates) or [""]}


def _pauses(found: Iterable[rows.Row]) -> tuple[pauses.Pause, ...]:
    return tuple(
        pauses.Pause(kind=pauses.PauseKind(row.kind), name=row.name, since=row.since, by=row.by, drain=bool(row.drain))
        for row in found
    )
