"""How many webhooks are under way, over all and at each host, so that a slow receiver slows no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


class Bounds:
    """Counts what is under way. For one event loop."""

    def __init__(self, *, at_once: int = 32, per_host: int = 8) -> None:
        self.per_host = per_host
        self._at_once = at_once
        self._busy: Counter[str] = Counter()

    @property
    def room(self) -> int:
        """How many more may begin, over all hosts."""
        return self._at_once - self._busy.total()

    @property
    def busy(self) -> Mapping[str, int]:
        """How many are under way at each host."""
        return self._busy

    def fits(self, host: str) -> bool:
        """Whether another one may begin there."""
        return self.room > 0 and self._busy[host] < self.per_host

    def take(self, host: str) -> None:
        """One more is under way there."""
        self._busy[host] += 1

    def leave(self, host: str) -> None:
        """One of them has ended."""
        self._busy[host] -= 1
        if not self._busy[host]:
            del self._busy[host]
