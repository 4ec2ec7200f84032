"""Waits until the supervisor is gone, then kills what carries its mark: `python guard.py MARK`, a pipe as stdin.

A program of its own (standard library only, run by path), so that it is small and nothing of ours can hang it.
"""

import os
import signal
import sys
from pathlib import Path

SWEEPS = 20  #: a process may fork while we look: look again until nothing is found


def marked(mark: bytes) -> list[int]:
    """Processes other than us that have the mark in their environment."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:  # gone, or somebody else's
            continue
        if mark in environment and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def main() -> None:
    """Wait, sweep, end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    for _ in range(SWEEPS):
        pids = marked(sys.argv[1].encode())
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue


if __name__ == "__main__":
    main()
