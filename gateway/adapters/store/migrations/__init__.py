"""Alembic's scripts; see `gateway.adapters.store.migrating`."""
