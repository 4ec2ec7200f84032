"""Webhooks: what a job asks to be told, and the deliveries owed."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WORD = sa.Text()
BYTES = sa.LargeBinary()


def _where(condition: str) -> dict[str, Any]:
    """A partial index, in both engines' words."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    """A column of jobs, and a table."""
    op.add_column("jobs", sa.Column("webhook", BYTES))
    op.create_table(
        "deliveries",
        sa.Column("id", WORD, nullable=False),
        sa.Column("job_id", WORD, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("type", WORD, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("url", BYTES, nullable=False),
        sa.Column("host", WORD, nullable=False),
        sa.Column("status", WORD, nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("due", sa.Double(), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tried_at", sa.Double()),
        sa.Column("answer", sa.Integer()),
        sa.Column("error", BYTES),
        sa.Column("ended_at", sa.Double()),
        sa.Column("lease_owner", WORD),
        sa.Column("lease_boot", WORD),
        sa.Column("lease_until", sa.Double(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
    )
    op.create_index("ix_deliveries_job", "deliveries", ["job_id", "seq"])
    op.create_index("ix_deliveries_listing", "deliveries", ["tenant", "at", "id"])
    op.create_index("ix_deliveries_due", "deliveries", ["due", "id"], **_where("status = 'pending'"))
    op.create_index("ix_deliveries_dead", "deliveries", ["at"], **_where("status = 'dead'"))
    op.create_index("ix_deliveries_ended", "deliveries", ["ended_at"], **_where("ended_at IS NOT NULL"))


def downgrade() -> None:
    """Forget them."""
    op.drop_table("deliveries")
    op.drop_column("jobs", "webhook")
