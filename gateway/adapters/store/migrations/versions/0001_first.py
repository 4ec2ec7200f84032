"""The first schema: tenants, jobs with their attempts, events and outputs, assets, workers with leases."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

WORD = sa.Text()
BYTES = sa.LargeBinary()


def _where(condition: str) -> dict[str, Any]:
    """A partial index, in both engines' words."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "assets",
        sa.Column("id", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("hash", WORD, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("content_type", BYTES, nullable=False),
        sa.Column("file_path", BYTES),
        sa.Column("path_key", WORD),
        sa.Column("tags", BYTES),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double()),
        sa.Column("job_id", WORD),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_assets"),
    )
    op.create_index("ix_assets_expiry", "assets", ["expires_at"], **_where("expires_at IS NOT NULL"))
    op.create_index("ix_assets_hash", "assets", ["hash", "tenant", "created_at", "id"])
    path = ["tenant", "path_key", "created_at", "id"]
    op.create_index("ix_assets_path", "assets", path, **_where("path_key IS NOT NULL"))
    op.create_table(
        "attempts",
        sa.Column("id", WORD, nullable=False),
        sa.Column("job_id", WORD, nullable=False),
        sa.Column("worker", WORD, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("posted_at", sa.Double()),
        sa.Column("started_at", sa.Double()),
        sa.Column("ended_at", sa.Double()),
        sa.Column("outcome", WORD),
        sa.Column("reason", BYTES),
        sa.Column("error", BYTES),
        sa.Column("node_errors", BYTES),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
    )
    op.create_index("ix_attempts_open", "attempts", ["worker"], **_where("ended_at IS NULL"))
    op.create_index("uq_attempts_number", "attempts", ["job_id", "number"], unique=True)
    op.create_index("uq_attempts_open", "attempts", ["job_id"], unique=True, **_where("ended_at IS NULL"))
    op.create_table(
        "batches",
        sa.Column("id", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("metadata", BYTES),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
    )
    op.create_table(
        "events",
        sa.Column("job_id", WORD, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("type", WORD, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("data", BYTES),
        sa.PrimaryKeyConstraint("job_id", "seq", name="pk_events"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("key", WORD, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key", name="pk_idempotency_keys"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "job_assets",
        sa.Column("job_id", WORD, nullable=False),
        sa.Column("asset_id", WORD, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "asset_id", name="pk_job_assets"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_job_assets_asset", "job_assets", ["asset_id"])
    op.create_table(
        "job_graphs",
        sa.Column("job_id", WORD, nullable=False),
        sa.Column("graph", sa.LargeBinary(), nullable=False),
        sa.Column("packed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_job_graphs"),
    )
    op.create_table(
        "job_metadata",
        sa.Column("job_id", WORD, nullable=False),
        sa.Column("pair", WORD, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "pair", name="pk_job_metadata"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_job_metadata_pair", "job_metadata", ["pair"])
    op.create_table(
        "jobs",
        sa.Column("id", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("status", WORD, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("vt", sa.Double(), nullable=False),
        sa.Column("requirements", WORD, nullable=False),
        sa.Column("not_before", sa.Double(), server_default="0", nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("queued_at", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("avoid", BYTES),
        sa.Column("started_at", sa.Double()),
        sa.Column("completed_at", sa.Double()),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("metadata", BYTES),
        sa.Column("template", WORD),
        sa.Column("template_version", WORD),
        sa.Column("inputs", BYTES),
        sa.Column("batch_id", WORD),
        sa.Column("batch_index", sa.Integer()),
        sa.Column("parent_id", WORD),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_tries", sa.Integer(), nullable=False),
        sa.Column("needs_secret", sa.Boolean(), nullable=False),
        sa.Column("worker", WORD),
        sa.Column("attempt_id", WORD),
        sa.Column("outputs_reused", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("execution_ms", sa.Integer()),
        sa.Column("error", BYTES),
        sa.Column("simulated", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_batch", "jobs", ["batch_id"], **_where("batch_id IS NOT NULL"))
    op.create_index("ix_jobs_ended", "jobs", ["expires_at", "status"], **_where("completed_at IS NOT NULL"))
    fair = [sa.text("priority DESC"), "vt", "id"]
    op.create_index("ix_jobs_fair", "jobs", fair, **_where("status = 'queued'"))
    op.create_index("ix_jobs_class", "jobs", ["requirements", *fair], **_where("status = 'queued'"))
    op.create_index("ix_jobs_listing", "jobs", ["tenant", "created_at", "id"])
    op.create_index("ix_jobs_parent", "jobs", ["parent_id"], **_where("parent_id IS NOT NULL"))
    op.create_table(
        "loose_blobs",
        sa.Column("hash", WORD, nullable=False),
        sa.Column("boot", WORD),
        sa.PrimaryKeyConstraint("hash", name="pk_loose_blobs"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "outputs",
        sa.Column("job_id", WORD, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("asset_id", WORD, nullable=False),
        sa.Column("attempt_id", WORD, nullable=False),
        sa.Column("node_id", BYTES, nullable=False),
        sa.Column("name", BYTES, nullable=False),
        sa.Column("type", WORD, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "position", name="pk_outputs"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_outputs_asset", "outputs", ["asset_id"])
    op.create_table(
        "probe",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_probe"),
    )
    op.create_table(
        "requirements",
        sa.Column("key", WORD, nullable=False),
        sa.Column("body", BYTES, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_requirements"),
    )
    op.create_table(
        "tenants",
        sa.Column("id", WORD, nullable=False),
        sa.Column("weight", sa.Double(), server_default="1", nullable=False),
        sa.Column("vt", sa.Double(), server_default="0", nullable=False),
        sa.Column("max_running", sa.Integer()),
        sa.Column("max_queued", sa.Integer()),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
    )
    op.create_index("ix_tenants_capped", "tenants", ["id"], **_where("max_running IS NOT NULL"))
    op.create_table(
        "workers",
        sa.Column("id", WORD, nullable=False),
        sa.Column("url", WORD, nullable=False),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("gpu", WORD),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("persistent", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("jobs_done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_owner", WORD),
        sa.Column("lease_boot", WORD),
        sa.Column("lease_epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.Double(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
    )


def downgrade() -> None:
    """Drop all tables."""
    for table in (
        "assets",
        "attempts",
        "batches",
        "events",
        "idempotency_keys",
        "job_assets",
        "job_graphs",
        "job_metadata",
        "jobs",
        "loose_blobs",
        "outputs",
        "probe",
        "requirements",
        "tenants",
        "workers",
    ):
        op.drop_table(table)
