"""Log files that a child process writes into by itself (a pipe through us would stop with us, and cost)."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

MOST_BYTES = 20 * 1024 * 1024
KEPT = 3  #: older files, as `gpu0.log.1` …
_TAIL_BYTES = 8192


def rotate(path: Path, *, over: int = 0) -> None:
    """Move a file of more than `over` bytes aside and begin a new one. Nobody may have it open."""
    with suppress(OSError):  # missing, or a disk that is full: no reason to stop
        if path.stat().st_size <= over:
            return
        _shift(path)
        path.rename(f"{path}.1")


def shorten(path: Path, *, over: int = MOST_BYTES) -> None:
    """The same while a process writes to the file: it is copied and emptied (a line written in between is lost)."""
    with suppress(OSError):
        if path.stat().st_size <= over:
            return
        _shift(path)
        shutil.copyfile(path, f"{path}.1")
        os.truncate(path, 0)


def _shift(path: Path) -> None:
    for number in range(KEPT - 1, 0, -1):
        with suppress(FileNotFoundError):
            Path(f"{path}.{number}").rename(f"{path}.{number + 1}")


def tail(path: Path, *, lines: int = 20) -> str:
    """The last lines, without colours and without what a progress bar overwrote."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in plain.split("\n")]
    return "\n".join([line for line in shown if line.strip()][-lines:])
