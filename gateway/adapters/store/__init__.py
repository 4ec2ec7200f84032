"""The store: four ports over one SQL database, SQLite or PostgreSQL.

Where to look: `schema` (the tables) · `engines` (all that differs between the two) · `units` (threads, group
commit) · `edges` (the only place where a job's status changes) · `submission`, `claims`, `settling`, `retention`
(the units of work, as functions of a connection) · `jobs`, `queue`, `workers`, `assets` (the ports).
"""

from __future__ import annotations

from gateway import ports
from gateway.adapters.store.opening import is_behind as _is_behind
from gateway.adapters.store.opening import open_store as _open_store


async def open_store(url: str, *, clock: ports.Clock) -> ports.Store:
    """Open the database at `url` (`sqlite:///path` or `postgresql://…`) and bring its schema up to date.

    ConfigError for a URL or a database that cannot be used at all, StoreUnavailable when it cannot be reached now.
    """
    return await _open_store(url, clock=clock)


async def is_behind(url: str) -> bool:
    """Whether the database at `url` has the schema of an older program, which opening it would change.

    ConfigError for a URL that cannot be used at all, StoreUnavailable when the database cannot be reached now.
    """
    return await _is_behind(url)
