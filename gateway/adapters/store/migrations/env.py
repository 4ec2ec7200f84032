"""Alembic's environment: the connection and its transaction are the caller's."""

from __future__ import annotations

from alembic import context

from gateway.adapters.store import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
