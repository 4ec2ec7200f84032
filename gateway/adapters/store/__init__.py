"""The store: four ports over one SQL database, SQLite or PostgreSQL.

Where to look: `schema` (the tables) · `engines` (all that differs between the two) · `units` (threads, group
commit) · `edges` (the only place where a job's status changes) · `submission`, `claims`, `settling`, `retention`
(the units of work, as functions of a connection) · `jobs`, `queue`, `workers`, `assets` (the ports).
"""

from __future__ import annotations

from gateway import ports
from gateway.adapters.store.opening import open_store as _open_store


async def open_store(url: str, *, clock: ports.Clock) -> ports.Store:
    """Open the database at `url` (`sqlite:///path` or `postgresql://…`) and bring its schema up to date.

    ConfigError for a URL or a database that cannot be used at all, StoreUnavailable when it cannot be reached now.
    """
    return await _open_store(url, clock=clock)
