"""What was made by the request that an idempotency key came with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The kind and the id of what was made; null for keys that are older than this."""
    op.add_column("idempotency_keys", sa.Column("made", sa.Text(), nullable=True))


def downgrade() -> None:
    """Without it."""
    op.drop_column("idempotency_keys", "made")
