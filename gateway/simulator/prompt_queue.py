"""The prompt queue and its history, with ComfyUI's order, ties and counting.

Order is by (number, prompt id). Two entries that tie in both cannot be compared, as on a real server: the
second one is stored and then the comparison fails, so its POST answers 500 although the entry will run.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

#: Keys of `extra_data` that are never given back (0.3.64 shows them in `/queue`).
SENSITIVE = ("auth_token_comfy_org", "api_key_comfy_org")


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    """One accepted prompt, waiting or running."""

    number: float
    prompt_id: str
    prompt: dict[str, Any]
    extra_data: dict[str, Any]
    outputs: list[str]
    sensitive: dict[str, Any] = field(default_factory=dict[str, Any])
    #: Whether the body held a NaN or the like, which only Python's own JSON writes again.
    is_odd: bool = False

    def __lt__(self, other: Entry) -> bool:
        """Compare as the tuples of a real server's heap do."""
        if self.number != other.number:
            return self.number < other.number
        if self.prompt_id != other.prompt_id:
            return self.prompt_id < other.prompt_id
        raise TypeError("'<' not supported between instances of 'dict' and 'dict'")

    def listed(self) -> list[Any]:
        """Return the entry as `/queue` and `/history` show it."""
        return [self.number, self.prompt_id, self.prompt, self.extra_data, self.outputs]


class PromptQueue:
    """What waits, what runs, and what has ended."""

    def __init__(self, *, history_size: int, on_change: Callable[[], None]) -> None:
        self._heap: list[Entry] = []
        self._history_size = history_size
        self._on_change = on_change
        self._wake = asyncio.Event()
        self.running: list[Entry] = []
        #: Whether any prompt so far was odd; its NaN must be spelled out in answers.
        self.is_odd = False
        self.history: dict[str, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._heap) + len(self.running)

    def pending(self) -> list[Entry]:
        """Return the waiting entries in heap order, as `/queue` lists them."""
        return list(self._heap)

    def put(self, entry: Entry) -> None:
        """Store an entry; a tie raises TypeError after it is stored."""
        self._wake.set()
        self.is_odd = self.is_odd or entry.is_odd
        heapq.heappush(self._heap, entry)
        self._on_change()

    def take(self) -> Entry | None:
        """Move the first waiting entry to the running ones."""
        if not self._heap:
            return None
        entry = heapq.heappop(self._heap)
        self.running.append(entry)
        self._on_change()
        return entry

    async def wait(self) -> None:
        """Return when something was put in or `nudge` was called."""
        await self._wake.wait()

    def nudge(self) -> None:
        """Wake the one who waits."""
        self._wake.set()

    def rest(self) -> None:
        """Forget earlier wake-ups; called before looking, so that none is lost."""
        self._wake.clear()

    def finish(self, entry: Entry, record: dict[str, Any] | None) -> None:
        """Take a running entry out and keep its record, dropping the oldest one when full."""
        self.running.remove(entry)
        if record is not None:
            while len(self.history) > self._history_size:
                del self.history[next(iter(self.history))]
            self.history[entry.prompt_id] = record
        self._on_change()

    def clear(self) -> None:
        """Drop all that waits."""
        self._heap.clear()
        self._on_change()

    def delete(self, prompt_id: str) -> bool:
        """Drop the first waiting entry of that id; the last one of all is told about twice."""
        for index, entry in enumerate(self._heap):
            if entry.prompt_id == prompt_id:
                if len(self._heap) == 1:
                    self.clear()
                else:
                    del self._heap[index]
                    heapq.heapify(self._heap)
                self._on_change()
                return True
        return False

    def find_running(self, prompt_id: str) -> Entry | None:
        """Return the running entry of that id."""
        return next((entry for entry in self.running if entry.prompt_id == prompt_id), None)

    def page(self, max_items: int | None, offset: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield history from `offset`; a negative offset with a limit means the newest ones."""
        keys = list(self.history)
        if offset < 0:
            offset = len(keys) - max_items if max_items is not None else 0
        keys = keys[max(offset, 0) :]
        for key in keys if max_items is None else keys[: max(max_items, 0)]:
            yield key, self.history[key]
