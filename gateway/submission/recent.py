"""A small memory of what was seen last."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeVar

_REMEMBERED: Final = 4096

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The entries used last, up to a bound."""

    def __init__(self, limit: int = _REMEMBERED) -> None:
        self._limit = limit
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, which counts as used now; None when it is not remembered."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Remember a value; the one that was not used for longest may go."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)
