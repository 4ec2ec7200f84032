"""Output files of our own workers: what attempts left in their folders."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from gateway.adapters import datadir
from gateway.domain import model

_FOLDER: Final = "gw"  #: what dispatch calls the folder above those of attempts
_ATTEMPT: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class WorkerFiles:
    """`ports.WorkerFiles` in a data directory. Files that cannot be removed stay: the disk has other brakes."""

    def __init__(self, data: datadir.DataDir) -> None:
        self._data = data

    async def clear(self, worker: model.WorkerId, attempts: Sequence[model.AttemptId]) -> None:
        """Remove the folders of these attempts."""
        folder = self._folder(worker)
        await asyncio.to_thread(_remove, [folder / attempt for attempt in attempts if _ATTEMPT.fullmatch(attempt)])

    async def clear_stale(self, worker: model.WorkerId, *, keep: Collection[model.AttemptId], before: float) -> int:
        """Remove folders of attempts that nothing was put into since then, but not these; how many."""
        return await asyncio.to_thread(_remove_old, self._folder(worker), frozenset[str](keep), before)

    def _folder(self, worker: model.WorkerId) -> Path:
        return self._data.worker(worker) / "output" / _FOLDER


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_old(parent: Path, keep: frozenset[str], before: float) -> int:
    try:
        found = [(path, path.stat().st_mtime) for path in parent.iterdir()]
    except OSError:
        return 0
    old = [path for path, at in found if at < before and path.name not in keep and _ATTEMPT.fullmatch(path.name)]
    _remove(old)
    return len(old)
