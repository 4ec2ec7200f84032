"""How a fetch tells what it does: a line that redraws itself on a terminal, plain lines in a log, JSON for programs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

_REDRAW_S = 0.2
_LINE_S = 10.0


class Report(Protocol):
    """Takes what happens, from any thread."""

    def event(self, kind: str, path: str, **facts: Any) -> None:
        """Take a fact about one file: waiting, checking, started, retrying, present, fetched, warned, failed."""
        ...

    def advance(self, path: str, done: int, total: int | None) -> None:
        """Say how many bytes of a file are there."""
        ...


@dataclass(slots=True, kw_only=True)
class _Transfer:
    done: int
    total: int | None
    started_at: float
    done_at_start: int
    told_at: float

    def describe(self, now: float) -> str:
        """`1.2 of 6.5 GB (18%), 85 MB/s`."""
        rate = (self.done - self.done_at_start) / max(now - self.started_at, 0.001)
        if not self.total:
            return f"{size_text(self.done)}, {size_text(rate)}/s"
        percent = 100 * self.done // self.total
        return f"{size_text(self.done)} of {size_text(self.total)} ({percent}%), {size_text(rate)}/s"


@dataclass(slots=True, kw_only=True)
class Text:
    """For people: events as lines; progress as one line that redraws itself on a terminal, else a line now and then."""

    out: TextIO
    clock: Callable[[], float] = time.monotonic
    _transfers: dict[str, _Transfer] = field(default_factory=dict[str, _Transfer])
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _drawn: bool = False

    def event(self, kind: str, path: str, **facts: Any) -> None:
        """Write one line."""
        with self._lock:
            self._transfers.pop(path, None)
            told = facts.get("message") or ", ".join(f"{name} {value}" for name, value in facts.items())
            self._write(f"{kind:<9}{path}{': ' if told else ''}{told}")

    def advance(self, path: str, done: int, total: int | None) -> None:
        """Redraw, or write a line when the last one is old."""
        now = self.clock()
        with self._lock:
            known = self._transfers.get(path)
            if known is None or done < known.done:
                known = _Transfer(done=done, total=total, started_at=now, done_at_start=done, told_at=now)
                self._transfers[path] = known
            known.done, known.total = done, total
            if now - known.told_at < (_REDRAW_S if self.out.isatty() else _LINE_S):
                return
            known.told_at = now
            if self.out.isatty():
                line = " | ".join(
                    f"{name.rsplit('/', 1)[-1]} {it.describe(now)}" for name, it in self._transfers.items()
                )
                self.out.write(f"\r\x1b[K{line[:160]}")
                self.out.flush()
                self._drawn = True
            else:
                self._write(f"{'…':<9}{path}: {known.describe(now)}")

    def _write(self, line: str) -> None:
        if self._drawn:
            self.out.write("\r\x1b[K")
            self._drawn = False
        self.out.write(line + "\n")
        self.out.flush()


@dataclass(slots=True, kw_only=True)
class JsonLines:
    """For programs: one JSON object a line."""

    out: TextIO
    clock: Callable[[], float] = time.monotonic
    _told_at: dict[str, float] = field(default_factory=dict[str, float])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def event(self, kind: str, path: str, **facts: Any) -> None:
        """Write one object."""
        with self._lock:
            self.out.write(json.dumps({"event": kind, "path": path, **facts}) + "\n")
            self.out.flush()

    def advance(self, path: str, done: int, total: int | None) -> None:
        """Write at most one object a second and file."""
        now = self.clock()
        with self._lock:
            due = now - self._told_at.get(path, now - 1) >= 1
            if due:
                self._told_at[path] = now
        if due:
            self.event("progress", path, done=done, total=total)


def size_text(count: float) -> str:
    """`6.9 GB`, in powers of a thousand as disks are sold."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} bytes"
