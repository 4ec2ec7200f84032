"""The Learned port: what was learned from runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from gateway import ports
from gateway.adapters.store import schema, units
from gateway.adapters.store.columns import Json, Word

_learned = schema.learned

_LOAD: Final = sa.select(_learned.c.key, _learned.c.body).where(_learned.c.kind == sa.bindparam("kind"))
_KEEP: Final = sa.text(
    "INSERT INTO learned (kind, key, body, updated_at) VALUES (:kind, :key, :body, :at)"
    " ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body, updated_at = excluded.updated_at"
).bindparams(sa.bindparam("kind", type_=Word), sa.bindparam("key", type_=Word), sa.bindparam("body", type_=Json))
_FORGET: Final = sa.delete(_learned).where(
    _learned.c.kind == sa.bindparam("kind"), _learned.c.updated_at < sa.bindparam("before")
)


class Learned:
    """`ports.Learned` over SQL."""

    def __init__(self, run: units.Units, *, clock: ports.Clock) -> None:
        self._run = run
        self._clock = clock

    async def load(self, kind: str) -> Mapping[str, Mapping[str, Any]]:
        """All that a learner kept, by key."""
        found = await self._run.read(lambda tx: tx.execute(_LOAD, {"kind": kind}).all())
        return {row.key: row.body for row in found}

    async def keep(self, kind: str, bodies: Mapping[str, Mapping[str, Any]]) -> None:
        """Write these, over what was there under their keys."""
        at = self._clock()
        values = [{"kind": kind, "key": key, "body": dict(body), "at": at} for key, body in sorted(bodies.items())]
        if values:
            await self._run.write(lambda tx: tx.execute(_KEEP, values))

    async def forget(self, kind: str, *, unused_since: float) -> None:
        """Drop what was last written before that time."""
        await self._run.write(lambda tx: tx.execute(_FORGET, {"kind": kind, "before": unused_since}))
