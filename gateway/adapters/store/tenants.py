"""The Tenants port: how much each tenant may take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from gateway.adapters.store import schema, statements, submission, units
from gateway.domain import model

_LIMITS: Final = ("weight", "max_queued", "max_queued_bytes", "max_running")
_LIMIT: Final = (
    sa.update(schema.tenants)
    .where(schema.tenants.c.id == sa.bindparam("b_id"))
    .values({name: sa.bindparam(name) for name in _LIMITS})
)


class Tenants:
    """`ports.Tenants` over SQL."""

    def __init__(self, run: units.Units) -> None:
        self._run = run

    async def limit(self, limits: Mapping[model.TenantId, model.TenantLimits]) -> None:
        """Set the limits of these tenants."""
        rows = [
            {"b_id": tenant, **{name: getattr(given, name) for name in _LIMITS}}
            for tenant, given in sorted(limits.items())
        ]

        def write(tx: statements.Transaction) -> None:
            for row in rows:
                tx.execute(submission.ADD_TENANT, {"id": row["b_id"]})
                tx.execute(_LIMIT, row)

        if rows:
            await self._run.write(write)
