"""The tables, once for both engines; migrations/ leads to exactly this (a test compares them).

Times are seconds since the epoch. What is queued, active or ended is found through partial indexes: their
conditions are written as literals here and in the queries, since an engine matches them by their text.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from gateway.adapters.store.columns import Json, Prose, Word

REVISION: Final = "0009"  #: the newest migration

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

QUEUED: Final = sa.literal_column("'queued'")

#: What is paused sinks to the end of the queue: the priority of its queued jobs is lowered by this (see pausing.py).
SUNK: Final = 1_000_000
FLOOR: Final = sa.literal_column("-500000")  #: queued jobs below this priority are paused


def few(rows: int) -> sa.ColumnClause[int]:
    """A LIMIT in the text of a statement. For one that comes as a value, PostgreSQL prepares to read a tenth of the
    table; so it would plan anew for each value, which takes longer than to read a few rows."""
    return sa.literal_column(str(rows), sa.Integer)


def _partial(name: str, *columns: Any, where: str, unique: bool = False) -> sa.Index:
    condition = sa.text(where)
    return sa.Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


#: Whose key it is. `vt` is the virtual time up to which the tenant has been served (see submission.py).
tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", Word, primary_key=True),
    sa.Column("weight", sa.Double, nullable=False, server_default="1"),
    sa.Column("vt", sa.Double, nullable=False, server_default="0"),
    sa.Column("max_running", sa.Integer),
    sa.Column("max_queued", sa.Integer),
    sa.Column("max_queued_bytes", sa.BigInteger),
    _partial("ix_tenants_capped", "id", where="max_running IS NOT NULL"),
)

# What claims read comes before what can be long: SQLite walks a row from its front.
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", Word, primary_key=True),
    sa.Column("tenant", Word, nullable=False),
    sa.Column("status", Word, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("vt", sa.Double, nullable=False),
    sa.Column("requirements", Word, nullable=False),
    sa.Column("not_before", sa.Double, nullable=False, server_default="0"),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("queued_at", sa.Double, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("avoid", Json),
    sa.Column("started_at", sa.Double),
    sa.Column("completed_at", sa.Double),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Column("metadata", Json),
    sa.Column("template", Word),
    sa.Column("template_version", Word),
    sa.Column("inputs", Json),
    sa.Column("batch_id", Word),
    sa.Column("batch_index", sa.Integer),
    sa.Column("parent_id", Word),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("max_tries", sa.Integer, nullable=False),
    sa.Column("needs_secret", sa.Boolean, nullable=False),
    sa.Column("worker", Word),
    sa.Column("attempt_id", Word),
    sa.Column("outputs_reused", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("execution_ms", sa.Integer),
    sa.Column("error", Json),
    sa.Column("simulated", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("sketch", sa.LargeBinary),
    sa.Column("webhook", Json),
    sa.Column("graph_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("size", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("room", Json),
    sa.Column("queue_limit", sa.Double),
    sa.Column("queue_until", sa.Double),
    sa.Column("run_limit", sa.Double),
    sa.Column("idle_limit", sa.Double),
    sa.Column("deadline", sa.Double),
    sa.Column("step", Word),
    sa.Column("sealed", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("ix_jobs_listing", "tenant", "created_at", "id"),
    _partial("ix_jobs_fair", sa.text("priority DESC"), "vt", "id", where="status = 'queued'"),
    _partial("ix_jobs_class", "requirements", sa.text("priority DESC"), "vt", "id", where="status = 'queued'"),
    _partial("ix_jobs_lane", "requirements", "tenant", sa.text("priority DESC"), "vt", "id", where="status = 'queued'"),
    _partial("ix_jobs_queue_until", "queue_until", where="status = 'queued' AND queue_until IS NOT NULL"),
    _partial("ix_jobs_ended", "expires_at", "status", where="completed_at IS NOT NULL"),
    _partial("ix_jobs_batch", "batch_id", where="batch_id IS NOT NULL"),
    _partial("ix_jobs_parent", "parent_id", where="parent_id IS NOT NULL"),
)

#: Bound graphs, apart because they can be megabytes. `packed`: zlib.
job_graphs = sa.Table(
    "job_graphs",
    metadata,
    sa.Column("job_id", Word, primary_key=True),
    sa.Column("graph", sa.LargeBinary, nullable=False),
    sa.Column("packed", sa.Boolean, nullable=False),
)

#: The assets that a job's graph refers to.
job_assets = sa.Table(
    "job_assets",
    metadata,
    sa.Column("job_id", Word, primary_key=True),
    sa.Column("asset_id", Word, primary_key=True),
    sa.Index("ix_job_assets_asset", "asset_id"),
    sqlite_with_rowid=False,
)

#: For filters by metadata: a digest of each pair, so that any key and value fits an index.
job_metadata = sa.Table(
    "job_metadata",
    metadata,
    sa.Column("job_id", Word, primary_key=True),
    sa.Column("pair", Word, primary_key=True),
    sa.Index("ix_job_metadata_pair", "pair"),
    sqlite_with_rowid=False,
)

outputs = sa.Table(
    "outputs",
    metadata,
    sa.Column("job_id", Word, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("asset_id", Word, nullable=False),
    sa.Column("attempt_id", Word, nullable=False),
    sa.Column("node_id", Prose, nullable=False),
    sa.Column("name", Prose, nullable=False),
    sa.Column("type", Word, nullable=False),
    sa.Index("ix_outputs_asset", "asset_id"),
    sqlite_with_rowid=False,
)

#: `path_key` is a digest of `file_path`, which may be longer than an index takes.
assets = sa.Table(
    "assets",
    metadata,
    sa.Column("id", Word, primary_key=True),
    sa.Column("tenant", Word, nullable=False),
    sa.Column("hash", Word, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("content_type", Prose, nullable=False),
    sa.Column("file_path", Prose),
    sa.Column("path_key", Word),
    sa.Column("tags", Json),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double),
    sa.Column("job_id", Word),
    sa.Column("simulated", sa.Boolean, nullable=False),
    sa.Index("ix_assets_hash", "hash", "tenant", "created_at", "id"),
    _partial("ix_assets_path", "tenant", "path_key", "created_at", "id", where="path_key IS NOT NULL"),
    _partial("ix_assets_expiry", "expires_at", where="expires_at IS NOT NULL"),
)

#: Hashes whose records went away; `boot` is the gateway boot that was told to delete the bytes.
loose_blobs = sa.Table(
    "loose_blobs",
    metadata,
    sa.Column("hash", Word, primary_key=True),
    sa.Column("boot", Word),
    sqlite_with_rowid=False,
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("id", Word, primary_key=True),
    sa.Column("job_id", Word, nullable=False),
    sa.Column("worker", Word, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("posted_at", sa.Double),
    sa.Column("started_at", sa.Double),
    sa.Column("ended_at", sa.Double),
    sa.Column("outcome", Word),
    sa.Column("reason", Prose),
    sa.Column("error", Json),
    sa.Column("node_errors", Json),
    sa.Column("client_id", Word),
    sa.Index("uq_attempts_number", "job_id", "number", unique=True),
    _partial("uq_attempts_open", "job_id", where="ended_at IS NULL", unique=True),
    _partial("ix_attempts_open", "worker", where="ended_at IS NULL"),
    _partial("ix_attempts_given_up", "worker", "ended_at", where="outcome IN ('lost', 'broken')"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("job_id", Word, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("type", Word, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("data", Json),
    sqlite_with_rowid=False,
)

batches = sa.Table(
    "batches",
    metadata,
    sa.Column("id", Word, primary_key=True),
    sa.Column("tenant", Word, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("metadata", Json),
)

#: Slices of large orders that are still to be written as jobs (see slices.py); number 0 says that the order was taken.
slices = sa.Table(
    "slices",
    metadata,
    sa.Column("order_id", Word, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("tenant", Word, nullable=False),
    sa.Column("jobs", sa.Integer, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

#: What requirement keys mean.
requirements = sa.Table(
    "requirements",
    metadata,
    sa.Column("key", Word, primary_key=True),
    sa.Column("body", Json, nullable=False),
)

#: `key` is a digest of what it is for and the client's key; `made` says what came of it: `job_id`, `batch_id` or
#: `asset_id`, a blank, and the id.
idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("tenant", Word, primary_key=True),
    sa.Column("key", Word, primary_key=True),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("made", Word),
    sa.Index("ix_idempotency_keys_created_at", "created_at"),
    sqlite_with_rowid=False,
)

#: `lease_boot` tells two boots of one owner apart: attempts of an earlier boot are fenced off until adopted.
workers = sa.Table(
    "workers",
    metadata,
    sa.Column("id", Word, primary_key=True),
    sa.Column("url", Word, nullable=False),
    sa.Column("kind", Word, nullable=False),
    sa.Column("gpu", Word),
    sa.Column("depth", sa.Integer, nullable=False),
    sa.Column("persistent", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("jobs_done", sa.Integer, nullable=False, server_default="0"),
    sa.Column("lease_owner", Word),
    sa.Column("lease_boot", Word),
    sa.Column("lease_epoch", sa.Integer, nullable=False, server_default="0"),
    sa.Column("lease_until", sa.Double, nullable=False, server_default="0"),
)

#: Plans of pipelines, and who leads them on until when, by the database's clock.
pipelines = sa.Table(
    "pipelines",
    metadata,
    sa.Column("job_id", Word, primary_key=True),
    sa.Column("plan", Json, nullable=False),
    sa.Column("owner", Word),
    sa.Column("owned_until", sa.Double, nullable=False, server_default="0"),
    sa.Column("ended_at", sa.Double),
    _partial("ix_pipelines_open", "job_id", where="ended_at IS NULL"),
)

#: What was learned from runs (`kind` names the learner), so that a restart does not forget it.
learned = sa.Table(
    "learned",
    metadata,
    sa.Column("kind", Word, primary_key=True),
    sa.Column("key", Word, primary_key=True),
    sa.Column("body", Json, nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
    sqlite_with_rowid=False,
)

#: Versions of templates. `content` is packed JSON; the default files that it names are apart, by their digest.
template_versions = sa.Table(
    "template_versions",
    metadata,
    sa.Column("name", Word, primary_key=True),
    sa.Column("version", Word, primary_key=True),
    sa.Column("origin", Word, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("current_at", sa.Double, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
)

template_files = sa.Table(
    "template_files",
    metadata,
    sa.Column("digest", Word, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

#: Templates that were added over the API.
template_heads = sa.Table(
    "template_heads",
    metadata,
    sa.Column("name", Word, primary_key=True),
    sa.Column("version", Word, nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
    sqlite_with_rowid=False,
)

#: `moves`: what the alias pointed to, oldest first; the last is now.
template_aliases = sa.Table(
    "template_aliases",
    metadata,
    sa.Column("template", Word, primary_key=True),
    sa.Column("alias", Word, primary_key=True),
    sa.Column("moves", Json, nullable=False),
    sqlite_with_rowid=False,
)

#: Graphs (packed) that the editor's files were converted to, by the digest of the file.
template_conversions = sa.Table(
    "template_conversions",
    metadata,
    sa.Column("source", Word, primary_key=True),
    sa.Column("graph", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
)

#: What takes nothing new: the queue, a template, a tenant or a worker. `drain`: somebody waits for it to be empty.
pauses = sa.Table(
    "pauses",
    metadata,
    sa.Column("kind", Word, primary_key=True),
    sa.Column("name", Word, primary_key=True),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("by", Prose),
    sa.Column("drain", sa.Boolean, nullable=False),
    sqlite_with_rowid=False,
)

#: Webhook POSTs owed for events (`seq` is the event's). One that is under way is leased; `tries` fences it.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", Word, primary_key=True),
    sa.Column("job_id", Word, nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("tenant", Word, nullable=False),
    sa.Column("type", Word, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("url", Prose, nullable=False),
    sa.Column("host", Word, nullable=False),
    sa.Column("status", Word, nullable=False),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("due", sa.Double, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("tried_at", sa.Double),
    sa.Column("answer", sa.Integer),
    sa.Column("error", Prose),
    sa.Column("ended_at", sa.Double),
    sa.Column("lease_owner", Word),
    sa.Column("lease_boot", Word),
    sa.Column("lease_until", sa.Double, nullable=False, server_default="0"),
    sa.Index("ix_deliveries_job", "job_id", "seq"),
    sa.Index("ix_deliveries_listing", "tenant", "at", "id"),
    _partial("ix_deliveries_due", "due", "id", where="status = 'pending'"),
    _partial("ix_deliveries_dead", "at", where="status = 'dead'"),
    _partial("ix_deliveries_ended", "ended_at", where="ended_at IS NOT NULL"),
)

#: One row that `check` writes.
probe = sa.Table(
    "probe",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Double, nullable=False),
)
