"""How many event streams are open, so that one tenant cannot take all there are."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from gateway.domain import errors, model


class Streams:
    """Counts open streams, so that one tenant cannot take all there are."""

    def __init__(self) -> None:
        self._open: dict[model.TenantId, int] = {}

    @contextlib.contextmanager
    def counted(self, tenant: model.TenantId, limit: int) -> Generator[None]:
        """Counts one stream while it is open; TooManyStreams when the tenant has `limit` of them."""
        if self._open.get(tenant, 0) >= limit:
            raise errors.TooManyStreams(f"{limit} event streams are open already; polling the job always works")
        self._open[tenant] = self._open.get(tenant, 0) + 1
        try:
            yield
        finally:
            self._open[tenant] -= 1
            if not self._open[tenant]:
                del self._open[tenant]
