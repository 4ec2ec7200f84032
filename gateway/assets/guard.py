"""Blobs that nothing uses are deleted, but never one that is just coming back into use.

Bytes arrive before their record does: an upload's record is minted after its last byte, an output's only when its
attempt settles. In between, the last *other* record over the same bytes may go, and its blob with it. So whoever
is about to use a hash says so (`hold`, `remember`), a put that was overtaken by a deletion notices (`putting`), and
deletions spare what is held or was remembered a short while ago; those are tried again later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from gateway import ports

FRESH_SECONDS: Final = 120.0  #: an output is recorded within moments; a store that is down may take longer


class Guard:
    """Which hashes are about to be used. For one process: its own puts and its own deletions."""

    def __init__(self, clock: ports.Clock) -> None:
        self._clock = clock
        self._held: Counter[str] = Counter()
        self._puts: list[set[str]] = []
        self._fresh: set[str] = set()
        self._older: set[str] = set()  #: remembered in the period before the present one
        self._period = clock()

    @contextmanager
    def putting(self) -> Generator[set[str]]:
        """While bytes come in whose hash is not known yet; yields the hashes deleted meanwhile."""
        deleted: set[str] = set()
        self._puts.append(deleted)
        try:
            yield deleted
        finally:
            self._puts.remove(deleted)

    @contextmanager
    def hold(self, hash_: str) -> Generator[None]:
        """While a record over these bytes is being written."""
        self._held[hash_] += 1
        try:
            yield
        finally:
            self._held[hash_] -= 1
            if not self._held[hash_]:
                del self._held[hash_]

    def remember(self, hash_: str) -> None:
        """Somebody else will write a record over these bytes soon."""
        self._turn()
        self._fresh.add(hash_)

    def may_delete(self, hash_: str) -> bool:
        """Whether these bytes may go; then all puts under way know."""
        self._turn()
        if hash_ in self._held or hash_ in self._fresh or hash_ in self._older:
            return False
        for deleted in self._puts:
            deleted.add(hash_)
        return True

    def _turn(self) -> None:
        """Forget what was remembered more than one to two periods ago."""
        now = self._clock()
        if now - self._period >= FRESH_SECONDS:
            self._older = self._fresh if now - self._period < 2 * FRESH_SECONDS else set()
            self._fresh = set()
            self._period = now
