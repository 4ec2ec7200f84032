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
