"""Whether a process does anything: how long it has used no CPU worth the name."""

from __future__ import annotations

import time

import psutil

_BUSY = 0.02  #: of one core; a ComfyUI that only answers our polls stays below


class CpuMeter:
    """Measures one process with its children. `sample` it every few seconds."""

    def __init__(self, pid: int, *, now: float | None = None) -> None:
        self._pid = pid
        self._at = time.monotonic() if now is None else now
        self._used = self._seconds()
        self._busy_at = self._at
        self.idle_seconds: float | None = None  #: None: not known yet

    def sample(self, now: float) -> None:
        """Look again."""
        used = self._seconds()
        if used is not None and self._used is not None and now > self._at:
            # A child that ended takes what it had used with it: less than before is work, too.
            if abs(used - self._used) / (now - self._at) >= _BUSY:
                self._busy_at = now
            self.idle_seconds = now - self._busy_at
        self._used, self._at = used, now

    def _seconds(self) -> float | None:
        try:
            process = psutil.Process(self._pid)
            family = [process, *process.children(recursive=True)]
        except psutil.Error:
            return None
        return sum(map(_cpu, family))


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:  # it ended while we looked
        return 0.0
    return times.user + times.system
