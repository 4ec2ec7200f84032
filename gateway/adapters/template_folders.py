"""The templates of several folders, read again when their files change: a file that is dropped in is there at once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path

import structlog

from gateway.adapters import templates
from gateway.domain.templates import library

_log = structlog.get_logger("gateway.templates")
_LOOK_SECONDS = 1.0  #: between two looks at the folders

Signature = tuple[tuple[str, int, int], ...]


class TemplateFolders:
    """Call it for the library as it is now. ConfigError when a folder is missing at the start."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(dict.fromkeys(folder.expanduser().resolve() for folder in folders))
        self._signature = self._look()
        self._library = self._load()
        self._looked = time.monotonic()

    def __call__(self) -> library.Library:
        """The library; at most a second old."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            signature = self._look()
            if signature != self._signature:
                self._signature, self._library = signature, self._load()
        return self._library

    def _load(self) -> library.Library:
        loaded = reduce(
            library.Library.with_over, (templates.load(folder) for folder in self._folders if folder.is_dir())
        )
        _log.info("templates_loaded", templates=len(loaded.templates), broken=len(loaded.broken) or None)
        for broken in loaded.broken:
            _log.warning("template_broken", template=broken.name, source=broken.source, reason=broken.reason)
        return loaded

    def _look(self) -> Signature:
        return tuple(sorted(entry for folder in self._folders for entry in _entries(folder)))


def _entries(folder: Path) -> Iterator[tuple[str, int, int]]:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        try:
            facts = path.stat()
        except OSError:  # it went while we looked
            continue
        yield str(path), facts.st_mtime_ns, facts.st_size
