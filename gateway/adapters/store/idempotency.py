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
    "INSERT INTO idempotency_keys (tenant, key, created_at, made) VALUES (:tenant, :key, :at, :made)"
    " ON CONFLICT (tenant, key) DO UPDATE SET created_at = excluded.created_at, made = excluded.made"
    " WHERE idempotency_keys.created_at <= :expired"
).bindparams(sa.bindparam("tenant", type_=Word))
_MADE: Final = sa.select(schema.idempotency_keys.c.made).where(
    schema.idempotency_keys.c.tenant == sa.bindparam("tenant"), schema.idempotency_keys.c.key == sa.bindparam("key")
)
_FORGET: Final = sa.delete(schema.idempotency_keys).where(
    schema.idempotency_keys.c.created_at <= sa.bindparam("expired")
)


def take(tx: statements.Transaction, tenant: str, key: str, made: tuple[str, str], *, at: float) -> None:
    """Take a key; IdempotencyKeyReuse, with what was made by it, when it is taken. `key` starts with what it is for;
    `made` is the kind of an id, and the id."""
    values = {"tenant": tenant, "key": rows.digest(key), "at": at, "expired": at - SECONDS, "made": " ".join(made)}
    if tx.execute(_TAKE, values).rowcount == 1:
        return
    row = tx.execute(_MADE, {"tenant": tenant, "key": values["key"]}).first()
    kind, _, made_id = (row.made or "" if row is not None else "").partition(" ")
    raise errors.IdempotencyKeyReuse(
        "This Idempotency-Key was presented before; use a new one, or take what was made by it.",
        details={kind: made_id} if made_id else None,
    )


def forget(tx: statements.Transaction, *, now: float) -> None:
    """Drop the keys that have run out."""
    tx.execute(_FORGET, {"expired": now - SECONDS})
