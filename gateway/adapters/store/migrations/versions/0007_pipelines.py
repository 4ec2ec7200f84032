"""Pipelines: jobs made of steps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Plans of pipelines, and which step of its parent a job is."""
    op.add_column("jobs", sa.Column("step", sa.Text()))
    op.add_column("jobs", sa.Column("sealed", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "pipelines",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("plan", sa.LargeBinary(), nullable=False),
        sa.Column("owner", sa.Text()),
        sa.Column("owned_until", sa.Double(), nullable=False, server_default="0"),
        sa.Column("ended_at", sa.Double()),
        sa.PrimaryKeyConstraint("job_id", name="pk_pipelines"),
    )
    condition = sa.text("ended_at IS NULL")
    op.create_index("ix_pipelines_open", "pipelines", ["job_id"], sqlite_where=condition, postgresql_where=condition)


def downgrade() -> None:
    """Without them."""
    op.drop_index("ix_pipelines_open", table_name="pipelines")
    op.drop_table("pipelines")
    op.drop_column("jobs", "sealed")
    op.drop_column("jobs", "step")
