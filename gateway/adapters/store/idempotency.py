"""Idempotency keys: presented once, taken for a day."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from gateway.adapters.store import rows, schema, statements
from gateway.adapters.store.columns import Word
from gateway.domain import errors

SECONDS: Final = 24 * 3600.0  #: how long a key stays taken

# One statement, so that of several requests with one key, at once or not, exactly one gets it.
_TAKE: Final = sa.text(
    "INSERT INTO idempotency_keys (tenant, key, created_at) VALUES (:tenant, :key, :at)"
    " ON CONFLICT (tenant, key) DO UPDATE SET created_at = excluded.created_at"
    " WHERE idempotency_keys.created_at <= :expired"
).bindparams(sa.bindparam("tenant", type_=Word))
_FORGET: Final = sa.delete(schema.idempotency_keys).where(
    schema.idempotency_keys.c.created_at <= sa.bindparam("expired")
)


def take(tx: statements.Transaction, tenant: str, key: str, *, at: float) -> None:
    """Take a key; IdempotencyKeyReuse when it is taken. `key` starts with what it is for."""
    values = {"tenant": tenant, "key": rows.digest(key), "at": at, "expired": at - SECONDS}
    if tx.execute(_TAKE, values).rowcount != 1:
        raise errors.IdempotencyKeyReuse("This Idempotency-Key was presented before; use a new one.")


def forget(tx: statements.Transaction, *, now: float) -> None:
    """Drop the keys that have run out."""
    tx.execute(_FORGET, {"expired": now - SECONDS})
