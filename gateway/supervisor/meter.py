"""Whether a process does anything: how long it has used no CPU worth the name, how long its card has computed nothing,
and how much memory it takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

_BUSY = 0.02  #: of one core; a ComfyUI that only answers our polls stays below


class CpuMeter:
    """Measures one process with its children. `sample` it every few seconds. `gpu_busy` says how busy its card is right
    now (0..1; None: not known)."""

    def __init__(
        self, pid: int, *, now: float | None = None, gpu_busy: Callable[[], float | None] = lambda: None
    ) -> None:
        self._pid = pid
        self._gpu_busy = gpu_busy
        self._at = time.monotonic() if now is None else now
        self._used = self._seconds()
        self._busy_at = self._gpu_busy_at = self._at
        self.idle_seconds: float | None = None  #: None: not known yet
        self.gpu_idle_seconds: float | None = None
        self.memory_bytes: int | None = None

    def sample(self, now: float) -> None:
        """Look again."""
        used = self._seconds()
        if used is not None and self._used is not None and now > self._at:
            # A child that ended takes what it had used with it: less than before is work, too.
            if abs(used - self._used) / (now - self._at) >= _BUSY:
                self._busy_at = now
            self.idle_seconds = now - self._busy_at
        self._used, self._at = used, now
        self._sample_gpu(now)

    def _sample_gpu(self, now: float) -> None:
        busy = self._gpu_busy()
        if busy is None:
            self.gpu_idle_seconds = None
            return
        if busy > 0:
            self._gpu_busy_at = now
        self.gpu_idle_seconds = now - self._gpu_busy_at

    def _seconds(self) -> float | None:
        try:
            process = psutil.Process(self._pid)
            family = [process, *process.children(recursive=True)]
        except psutil.Error:
            self.memory_bytes = None
            return None
        self.memory_bytes = sum(map(_memory, family))
        return sum(map(_cpu, family))


def _memory(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:  # it ended while we looked
        return 0.0
    return times.user + times.system
