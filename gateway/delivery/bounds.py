"""How many webhooks are under way, over all and at each host, so that a slow receiver slows no other.

A host that was slow, or did not answer, gets one at a time until it is quick again, and all such hosts together get
half of the places: the other half is always there for those that answer.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Final

SLOW_SECONDS: Final = 2.0  #: a try that took longer makes its host a slow one
REMEMBERED: Final = 1000  #: slow hosts


class Bounds:
    """Counts what is under way. For one event loop."""

    def __init__(self, *, at_once: int = 64, per_host: int = 8) -> None:
        self._at_once = at_once
        self._per_host = per_host
        self._busy: Counter[str] = Counter()
        self._slow: OrderedDict[str, None] = OrderedDict()

    @property
    def room(self) -> int:
        """How many more may begin, over all hosts."""
        return self._at_once - self._busy.total()

    @property
    def full(self) -> Sequence[str]:
        """The hosts at which none may begin now."""
        known = self._slow if self._slow_room <= 0 else ()
        return sorted({*known, *(host for host, count in self._busy.items() if count >= self._limit(host))})

    def choose(self, hosts: Sequence[str]) -> Sequence[int]:
        """Which of these, given by the host of each, may begin now: their places in the list, the first ones first."""
        chosen: list[int] = []
        taken: Counter[str] = Counter()
        room, slow_room = self.room, self._slow_room
        for place, host in enumerate(hosts):
            slow = host in self._slow
            if room <= 0 or (slow and slow_room <= 0) or self._busy[host] + taken[host] >= self._limit(host):
                continue
            taken[host] += 1
            room -= 1
            slow_room -= slow
            chosen.append(place)
        return chosen

    def take(self, host: str) -> None:
        """One more is under way there."""
        self._busy[host] += 1

    def leave(self, host: str) -> None:
        """One of them has ended."""
        self._busy[host] -= 1
        if self._busy[host] <= 0:
            del self._busy[host]

    def was_slow(self, host: str) -> None:
        """It took long to answer, or did not."""
        self._slow[host] = None
        self._slow.move_to_end(host)
        if len(self._slow) > REMEMBERED:
            self._slow.popitem(last=False)

    def was_quick(self, host: str) -> None:
        """It answered at once."""
        self._slow.pop(host, None)

    @property
    def _slow_room(self) -> int:
        return max(1, self._at_once // 2) - sum(count for host, count in self._busy.items() if host in self._slow)

    def _limit(self, host: str) -> int:
        return 1 if host in self._slow else self._per_host
