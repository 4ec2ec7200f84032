"""The Deliveries port: what is owed is leased, sent once at a time per job, and ended.

Deliveries are written by `owing`, with their events. Claiming reads first, on the readers' connection, and writes only
when something is due. The lease is compared by the database's clock; `tries`, which each claim raises, fences it.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson
import sqlalchemy as sa

from gateway import ports
from gateway.adapters.store import engines, owing, rows, schema, statements, units
from gateway.domain import deliveries, errors, model
from gateway.domain.deliveries import DeliveryStatus
from gateway.domain.webhooks import EventType

WINDOW: Final = 64  #: due deliveries looked at in one claim
BACKLOG_SECONDS: Final = 1.0  #: how old numbers for metrics may be
FORGET_AT_ONCE: Final = 1000

_owed = schema.deliveries
_events = schema.events
_earlier = schema.deliveries.alias("earlier")
_pending = sa.literal_column("'pending'")
_dead = sa.literal_column("'dead'")
_of_tenant = _owed.c.tenant == sa.bindparam("tenant")

_ALL: Final = sa.select(_owed, _events.c.data).join_from(
    _owed, _events, sa.and_(_events.c.job_id == _owed.c.job_id, _events.c.seq == _owed.c.seq), isouter=True
)


def _free(owner: str, boot: str) -> sa.ColumnElement[bool]:
    """Leased by nobody, or by a boot of this owner that is gone."""
    left = sa.and_(_owed.c.lease_owner == sa.bindparam(owner), _owed.c.lease_boot != sa.bindparam(boot))
    return sa.or_(_owed.c.lease_until <= engines.db_now(), left)


_DUE: Final = (
    _ALL.where(
        _owed.c.status == _pending,
        _owed.c.due <= sa.bindparam("now"),
        _owed.c.host.not_in(sa.bindparam("full", expanding=True)),
        _free("owner", "boot"),
        ~sa.exists(
            sa.select(_earlier.c.id).where(
                _earlier.c.job_id == _owed.c.job_id, _earlier.c.status == _pending, _earlier.c.seq < _owed.c.seq
            )
        ),
    )
    .order_by(_owed.c.due, _owed.c.id)
    .limit(WINDOW)
)
_TAKE: Final = (
    sa.update(_owed)
    .where(
        _owed.c.id == sa.bindparam("b_id"),
        _owed.c.status == _pending,
        _owed.c.tries == sa.bindparam("b_tries"),
        _free("b_owner", "b_boot"),
    )
    .values(
        tries=_owed.c.tries + 1,
        tried_at=sa.bindparam("b_now"),
        lease_owner=sa.bindparam("owner"),
        lease_boot=sa.bindparam("boot"),
        lease_until=engines.db_now() + sa.bindparam("seconds", type_=sa.Double),
    )
)
_FINISH: Final = (
    sa.update(_owed)
    .where(
        _owed.c.id == sa.bindparam("b_id"),
        _owed.c.status == _pending,
        _owed.c.tries == sa.bindparam("b_tries"),
        _owed.c.lease_boot == sa.bindparam("b_boot"),
    )
    .values(
        {name: sa.bindparam(name) for name in ("status", "due", "answer", "error", "ended_at")}
        | {"lease_owner": None, "lease_boot": None, "lease_until": 0.0}
    )
)
#: What waits behind a delivery is looked at again when that one is: a receiver that is away for hours would otherwise
#: have all that is owed to it read each time.
_AFTER: Final = (
    sa.update(_owed)
    .where(_owed.c.job_id == sa.bindparam("b_job"), _owed.c.status == _pending, _owed.c.seq > sa.bindparam("b_seq"))
    .values(due=sa.bindparam("due"))
)
_BURY: Final = (
    sa.update(_owed)
    .where(_owed.c.job_id == sa.bindparam("b_job"), _owed.c.status == _pending)
    .values({name: sa.bindparam(name) for name in ("status", "error", "ended_at")})
)
_ONE: Final = _ALL.where(_owed.c.id == sa.bindparam("id"), _of_tenant)
_LOCK: Final = (
    sa.select(_owed.c.id, _owed.c.status, schema.jobs.c.webhook)
    .join_from(_owed, schema.jobs, schema.jobs.c.id == _owed.c.job_id, isouter=True)
    .where(_owed.c.id == sa.bindparam("id"), _of_tenant)
    .with_for_update(of=_owed)
)
_AGAIN: Final = (
    sa.update(_owed)
    .where(_owed.c.id == sa.bindparam("b_id"))
    .values(status=_pending, since=sa.bindparam("b_now"), due=sa.bindparam("b_now"), tries=0, ended_at=None)
)
_NOW: Final = sa.update(_owed).where(_owed.c.id == sa.bindparam("b_id")).values(due=sa.bindparam("b_now"))
_BACKLOG: Final = sa.union_all(
    sa.select(_pending.label("status"), sa.func.count().label("n"), sa.func.min(_owed.c.at).label("oldest")).where(
        _owed.c.status == _pending
    ),
    sa.select(_dead, sa.func.count(), sa.func.min(_owed.c.at)).where(_owed.c.status == _dead),
)
_ENDED: Final = (
    sa.select(_owed.c.id)
    .where(_owed.c.ended_at.is_not(None), _owed.c.ended_at < sa.bindparam("before"))
    .limit(FORGET_AT_ONCE)
)
_FORGET: Final = sa.delete(_owed).where(_owed.c.id.in_(sa.bindparam("ids", expanding=True)))


class Deliveries:
    """`ports.Deliveries` over SQL."""

    def __init__(self, run: units.Units, bell: owing.Bell, *, boot: str, clock: ports.Clock) -> None:
        self._run = run
        self._bell = bell
        self._boot = boot
        self._clock = clock
        self._backlog: tuple[float, deliveries.Backlog] = (-math.inf, deliveries.Backlog())

    async def rung(self) -> Sequence[deliveries.Heard]:
        """Wait until this process has written something that is owed."""
        return await self._bell.rung()

    async def claim(
        self,
        *,
        owner: str,
        now: float,
        seconds: float,
        full: Sequence[str],
        choose: Callable[[Sequence[str]], Sequence[int]],
    ) -> tuple[deliveries.Delivery, ...]:
        """Lease what is due and chosen."""
        who = {"owner": owner, "boot": self._boot}
        values = {"now": now, "full": _padded(full), **who}
        due = await self._run.read(lambda tx: tx.execute(_DUE, values).all())
        chosen = [due[place] for place in choose([row.host for row in due])] if due else []
        if not chosen:
            return ()
        lease = {"b_now": now, "seconds": seconds, **who, "b_owner": owner, "b_boot": self._boot}
        taken = await self._run.write(lambda tx: [row for row in chosen if _take(tx, row, lease)])
        return tuple(_delivery(row, tries=row.tries + 1, tried_at=now) for row in taken)

    async def finish(self, delivery: deliveries.Delivery, verdict: deliveries.Verdict, *, now: float) -> bool:
        """Write what a try came to; False when somebody else has the delivery now."""
        return await self._run.write(lambda tx: _finish(tx, delivery, verdict, boot=self._boot, now=now))

    async def get(self, tenant: model.TenantId, delivery_id: str) -> deliveries.Delivery:
        """One delivery; NotFound."""
        row = await self._run.read(lambda tx: tx.execute(_ONE, {"id": delivery_id, "tenant": tenant}).one_or_none())
        if row is None:
            raise _missing(delivery_id)
        return _delivery(row)

    async def page(
        self, tenant: model.TenantId, want: deliveries.DeliveryFilter, *, limit: int, cursor: str | None
    ) -> deliveries.DeliveryPage:
        """Deliveries newest first; InvalidCursor."""
        query = _listing(tenant, want, None if cursor is None else _read_cursor(cursor)).limit(limit + 1)
        found = await self._run.read(lambda tx: tx.execute(query).all())
        more, found = len(found) > limit, found[:limit]
        return deliveries.DeliveryPage(
            deliveries=tuple(_delivery(row) for row in found),
            next_cursor=_cursor(found[-1].at, found[-1].id) if more and found else None,
        )

    async def redeliver(self, tenant: model.TenantId, delivery_id: str, *, now: float) -> deliveries.Delivery:
        """Owe it again from now on; NotFound, Conflict."""
        row = await self._run.write(lambda tx: _redeliver(tx, tenant, delivery_id, now))
        self._bell.ring()
        return _delivery(row)

    async def backlog(self) -> deliveries.Backlog:
        """How many are pending and dead; at most a second old."""
        now = self._clock()
        read_at, known = self._backlog
        if not 0 <= now - read_at < BACKLOG_SECONDS:
            found = {row.status: row for row in await self._run.read(lambda tx: tx.execute(_BACKLOG).all())}
            pending = found["pending"]
            known = deliveries.Backlog(pending=pending.n, dead=found["dead"].n, oldest=pending.oldest)
            self._backlog = (now, known)
        return known

    async def forget(self, *, ended_before: float) -> int:
        """Drop deliveries that ended before that time; how many."""
        ids = await self._run.read(lambda tx: tx.execute(_ENDED, {"before": ended_before}).scalars())
        if ids:
            await self._run.write(lambda tx: tx.execute(_FORGET, {"ids": ids}))
        return len(ids)


def _padded(hosts: Sequence[str]) -> Sequence[str]:
    """The same hosts in a list of one of a few lengths: a statement is compiled once for each."""
    length = 1 << (len(hosts) - 1).bit_length() if hosts else 0
    return [*hosts, *(hosts[-1] for _ in range(length - len(hosts)))]


def _take(tx: statements.Transaction, row: rows.Row, lease: Mapping[str, Any]) -> bool:
    return tx.execute(_TAKE, {**lease, "b_id": row.id, "b_tries": row.tries}).rowcount == 1


def _finish(
    tx: statements.Transaction,
    delivery: deliveries.Delivery,
    verdict: deliveries.Verdict,
    *,
    boot: str,
    now: float,
) -> bool:
    pending = verdict.status is DeliveryStatus.PENDING
    values = {
        "b_id": delivery.id,
        "b_tries": delivery.tries,
        "b_boot": boot,
        "status": verdict.status,
        "due": verdict.due if pending else delivery.due,
        "answer": verdict.answer,
        "error": verdict.error,
        "ended_at": None if pending else now,
    }
    if tx.execute(_FINISH, values).rowcount != 1:
        return False
    if pending or delivery.tries > 1:
        due = verdict.due if pending else now
        tx.execute(_AFTER, {"b_job": delivery.job_id, "b_seq": delivery.seq, "due": due})
    if verdict.gone:
        buried = {"b_job": delivery.job_id, "status": DeliveryStatus.DEAD, "error": verdict.error, "ended_at": now}
        tx.execute(_BURY, buried)
    return True


def _redeliver(tx: statements.Transaction, tenant: str, delivery_id: str, now: float) -> rows.Row:
    row = tx.execute(_LOCK, {"id": delivery_id, "tenant": tenant}).one_or_none()
    if row is None:
        raise _missing(delivery_id)
    if row.webhook is None:
        raise errors.Conflict("The job of this delivery is not kept any more, so there is nothing left to tell.")
    statement = _NOW if row.status == DeliveryStatus.PENDING else _AGAIN
    tx.execute(statement, {"b_id": row.id, "b_now": now})
    return tx.execute(_ONE, {"id": delivery_id, "tenant": tenant}).one()


def _missing(delivery_id: str) -> errors.NotFound:
    return errors.NotFound(f"There is no delivery {delivery_id!r}.")


def _delivery(row: rows.Row, **changed: Any) -> deliveries.Delivery:
    known: dict[str, Any] = {"tries": row.tries, "tried_at": row.tried_at, **changed}
    return deliveries.Delivery(
        id=row.id,
        job_id=row.job_id,
        seq=row.seq,
        tenant=row.tenant,
        type=EventType(row.type),
        at=row.at,
        url=row.url,
        host=row.host,
        status=DeliveryStatus(row.status),
        since=row.since,
        due=row.due,
        answer=row.answer,
        error=row.error,
        ended_at=row.ended_at,
        data=row.data or {},
        **known,
    )


def _listing(tenant: str, want: deliveries.DeliveryFilter, after: tuple[float, str] | None) -> sa.Select[Any]:
    query = _ALL.where(_owed.c.tenant == tenant)
    if want.job_id is not None:
        query = query.where(_owed.c.job_id == want.job_id)
    if want.statuses:
        query = query.where(_owed.c.status.in_(sorted(want.statuses)))
    if after is not None:
        query = query.where(sa.tuple_(_owed.c.at, _owed.c.id) < sa.tuple_(*after))
    return query.order_by(_owed.c.at.desc(), _owed.c.id.desc())


def _cursor(at: float, delivery_id: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([at, delivery_id])).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[float, str]:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        place = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        place = None
    match place:
        case [float() as at, str() as delivery_id]:
            return at, delivery_id
        case _:
            raise errors.InvalidCursor("This cursor was not issued by this gateway.")
