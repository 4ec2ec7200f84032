"""Limits of a job (queue, run, idle), and what retention and cancelling need."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_jobs_queue_until", "jobs", ["queue_until"], "status = 'queued' AND queue_until IS NOT NULL"),
    ("ix_attempts_given_up", "attempts", ["worker", "ended_at"], "outcome IN ('lost', 'broken')"),
)


def added() -> tuple[tuple[str, sa.Column[Any]], ...]:
    """The new columns by table; a column can be used only once."""
    return (
        ("tenants", sa.Column("max_queued_bytes", sa.BigInteger())),
        ("jobs", sa.Column("graph_bytes", sa.BigInteger(), nullable=False, server_default="0")),
        ("jobs", sa.Column("size", sa.BigInteger(), nullable=False, server_default="0")),
        ("jobs", sa.Column("room", sa.LargeBinary())),
        ("jobs", sa.Column("queue_limit", sa.Double())),
        ("jobs", sa.Column("queue_until", sa.Double())),
        ("jobs", sa.Column("run_limit", sa.Double())),
        ("jobs", sa.Column("idle_limit", sa.Double())),
        ("attempts", sa.Column("client_id", sa.Text())),
    )


def upgrade() -> None:
    """Add them."""
    for table, column in added():
        op.add_column(table, column)
    for name, table, columns, where in INDEXES:
        condition = sa.text(where)
        op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)


def downgrade() -> None:
    """Drop them."""
    for name, table, _, _ in INDEXES:
        op.drop_index(name, table_name=table)
    for table, column in reversed(added()):
        op.drop_column(table, column.name)
