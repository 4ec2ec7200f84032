"""Bringing a database's schema up to date with Alembic, from inside the program."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from gateway.adapters.store import schema
from gateway.domain import errors

SCRIPTS: Final = "gateway.adapters.store:migrations"
_LOCK: Final = 0x636F6D66  #: of PostgreSQL's advisory lock: gateways that start together migrate one by one


def migrate(engine: sa.Engine) -> None:
    """Upgrade to `schema.REVISION`, in one transaction; ConfigError for a database of a newer program."""
    with engine.connect() as connection:
        sqlite = connection.dialect.name == "sqlite"
        if _revision(connection) == schema.REVISION:
            return
        connection.exec_driver_sql("BEGIN IMMEDIATE" if sqlite else "BEGIN")
        try:
            if not sqlite:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            if _revision(connection) != schema.REVISION:
                _upgrade(connection)
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")


def is_behind(engine: sa.Engine) -> bool:
    """Whether the database was last used by an older program; one that nobody has used yet was not."""
    with engine.connect() as connection:
        return (_revision(connection) or schema.REVISION) < schema.REVISION


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _upgrade(connection: sa.Connection) -> None:
    # Alembic takes a quarter of a second to import, and most starts have nothing to migrate.
    from alembic import command, config
    from alembic.util import CommandError

    settings = config.Config()
    settings.set_main_option("script_location", SCRIPTS)
    settings.attributes["connection"] = connection
    try:
        command.upgrade(settings, schema.REVISION)
    except CommandError as error:
        message = "The database was made by a newer version of this program; use that one, or another database."
        raise errors.ConfigError(message) from error
