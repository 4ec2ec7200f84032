"""Whether a process does anything."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from gateway.supervisor import meter

BUSY = "print('on', flush=True)\nwhile True: pass"
HELPED = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])"
IDLE = "import time; print('on', flush=True); time.sleep(600)"


@pytest.mark.parametrize(("code", "busy"), [(BUSY, True), (HELPED, True), (IDLE, False)])
def test_work_is_told_from_waiting(code: str, busy: bool) -> None:
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        measured = meter.CpuMeter(process.pid)
        assert measured.idle_seconds is None
        began = time.monotonic()
        while time.monotonic() - began < 1.0:  # for it to use CPU, or not
            time.sleep(0.05)
        now = time.monotonic()
        measured.sample(now)
        assert measured.idle_seconds is not None
        assert (measured.idle_seconds == 0) is busy
        assert measured.gpu_idle_seconds is None
        assert measured.memory_bytes is not None
        assert measured.memory_bytes > 1_000_000
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_process_that_is_gone_tells_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    measured = meter.CpuMeter(process.pid)
    measured.sample(time.monotonic() + 1)
    assert measured.idle_seconds is None
    assert measured.memory_bytes is None


def test_a_card_that_computes_is_told_from_one_that_waits() -> None:
    busy: list[float | None] = [0.4, 0.0, 0.0, None]
    measured = meter.CpuMeter(os.getpid(), now=100.0, gpu_busy=lambda: busy.pop(0))
    seen: list[float | None] = []
    for now in (110.0, 120.0, 130.0, 140.0):
        measured.sample(now)
        seen.append(measured.gpu_idle_seconds)
    assert seen == [0.0, 10.0, 20.0, None]
