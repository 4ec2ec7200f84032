"""Order: pauses, deadlines, and the jobs of one tenant in fair order."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them."""
    op.create_table(
        "pauses",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("by", sa.LargeBinary()),
        sa.Column("drain", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name="pk_pauses"),
        sqlite_with_rowid=False,
    )
    op.add_column("jobs", sa.Column("deadline", sa.Double()))
    queued = sa.text("status = 'queued'")
    op.create_index(
        "ix_jobs_lane",
        "jobs",
        ["requirements", "tenant", sa.text("priority DESC"), "vt", "id"],
        sqlite_where=queued,
        postgresql_where=queued,
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_jobs_lane", table_name="jobs")
    op.drop_column("jobs", "deadline")
    op.drop_table("pauses")
