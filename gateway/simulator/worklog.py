"""What a simulator itself knows of its jobs: received, started, ended. Benchmarks trust this, not the client."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class Record:
    """One prompt; times are of the monotonic clock, and of the wall clock as `*_wall`."""

    prompt_id: str
    number: float
    received: float
    received_wall: float
    started: float | None = None
    started_wall: float | None = None
    ended: float | None = None
    ended_wall: float | None = None
    outcome: str | None = None
    loads: int = 0  #: models that were loaded for it

    def end(self, outcome: str) -> None:
        """Note the end."""
        self.ended, self.ended_wall, self.outcome = time.monotonic(), time.time(), outcome

    def as_json(self) -> dict[str, Any]:
        """Return the record as the control route shows it."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class WorkLog:
    """The newest records, in order of arrival."""

    limit: int = 200_000
    printed: deque[tuple[float, str]] = field(default_factory=lambda: deque[tuple[float, str]](maxlen=300))
    _records: deque[Record] = field(default_factory=deque[Record])
    _waiting: dict[str, deque[Record]] = field(default_factory=dict[str, "deque[Record]"])

    def print(self, text: str) -> None:
        """Write a line of what a real server prints; the newest are shown at `/internal/logs/raw`."""
        self.printed.append((time.time(), f"{text}\n"))

    def received(self, prompt_id: str, number: float) -> None:
        """A prompt was accepted."""
        record = Record(prompt_id=prompt_id, number=number, received=time.monotonic(), received_wall=time.time())
        self.print("got prompt")
        self._records.append(record)
        self._waiting.setdefault(prompt_id, deque()).append(record)
        if len(self._records) > self.limit:
            self._records.popleft()

    def started(self, prompt_id: str) -> Record:
        """A prompt runs now."""
        waiting = self._waiting[prompt_id]
        record = waiting.popleft()
        if not waiting:
            del self._waiting[prompt_id]
        record.started, record.started_wall = time.monotonic(), time.time()
        return record

    def clear(self) -> None:
        """Forget all but what waits or runs."""
        self._records.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """Return all records."""
        return [record.as_json() for record in self._records]
