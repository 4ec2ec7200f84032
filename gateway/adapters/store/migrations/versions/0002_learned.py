"""What was learned from runs: kept so that a restart does not forget it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One table for all that is learned; with each job, what placement needs to know of its graph."""
    op.create_table(
        "learned",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "key", name="pk_learned"),
        sqlite_with_rowid=False,
    )
    op.add_column("jobs", sa.Column("sketch", sa.LargeBinary()))


def downgrade() -> None:
    """Forget it."""
    op.drop_column("jobs", "sketch")
    op.drop_table("learned")
