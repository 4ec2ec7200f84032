"""Template versions, aliases and what was added over the API."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

WORD = sa.Text()
BYTES = sa.LargeBinary()


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "template_versions",
        sa.Column("name", WORD, nullable=False),
        sa.Column("version", WORD, nullable=False),
        sa.Column("origin", WORD, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("current_at", sa.Double(), nullable=False),
        sa.Column("content", BYTES, nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name="pk_template_versions"),
    )
    op.create_table(
        "template_files",
        sa.Column("digest", WORD, nullable=False),
        sa.Column("data", BYTES, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_template_files"),
    )
    op.create_table(
        "template_heads",
        sa.Column("name", WORD, nullable=False),
        sa.Column("version", WORD, nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_template_heads"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "template_aliases",
        sa.Column("template", WORD, nullable=False),
        sa.Column("alias", WORD, nullable=False),
        sa.Column("moves", BYTES, nullable=False),
        sa.PrimaryKeyConstraint("template", "alias", name="pk_template_aliases"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "template_conversions",
        sa.Column("source", WORD, nullable=False),
        sa.Column("graph", BYTES, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("source", name="pk_template_conversions"),
    )


def downgrade() -> None:
    """Drop them."""
    for table in (
        "template_versions",
        "template_files",
        "template_heads",
        "template_aliases",
        "template_conversions",
    ):
        op.drop_table(table)
