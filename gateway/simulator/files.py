"""A worker's directories: output, input and temp; where a file may lie, and what the next one is called."""

from __future__ import annotations

import hashlib
import os
import secrets
import string
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KINDS = ("output", "input", "temp")


class OutsideDirectory(Exception):
    """A path would leave the directory it belongs to."""


@dataclass(frozen=True, slots=True)
class SavePlace:
    """Where a node's files go: folder, name without number, first number, subfolder as reported."""

    folder: Path
    name: str
    counter: int
    subfolder: str


@dataclass(slots=True)
class _Counter:
    mtime_ns: int
    highest: int


def _random_letters() -> str:
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(5))


@dataclass(slots=True)
class Files:
    """The three directories of one worker."""

    base: Path
    temp_token: str = field(default_factory=_random_letters)
    _counters: dict[tuple[Path, str], _Counter] = field(default_factory=dict[tuple[Path, str], _Counter])
    _hashes: dict[tuple[str, int, int], str] = field(default_factory=dict[tuple[str, int, int], str])

    def create(self) -> None:
        """Make the directories; what earlier runs left in temp goes."""
        for kind in KINDS:
            (self.base / kind).mkdir(parents=True, exist_ok=True)
        for path in (self.base / "temp").glob("*"):
            if path.is_file():
                path.unlink()

    def directory(self, kind: str) -> Path:
        """Return the directory of a kind."""
        return self.base / kind

    def annotated(self, name: str) -> Path:
        """Resolve `name`, `name [temp]` and the like inside the directory that it names (default: input)."""
        kind = "input"
        for candidate in KINDS:
            if name.endswith(f" [{candidate}]"):
                kind, name = candidate, name[: -len(candidate) - 3]
        root = self.directory(kind)
        path = Path(os.path.normpath(root / name))
        if not path.is_relative_to(root):
            raise OutsideDirectory(name)
        return path

    def exists(self, name: Any) -> bool:
        """Whether an annotated name is an uploaded file."""
        try:
            return isinstance(name, str) and "\0" not in name and self.annotated(name).is_file()
        except (OutsideDirectory, OSError):
            return False

    def content_hash(self, name: str) -> str:
        """Return the hash of a file's content; unchanged files are read once."""
        path = self.annotated(name)
        try:
            stat = path.stat()
        except OSError:
            return ""
        key = (str(path), stat.st_mtime_ns, stat.st_size)
        if key not in self._hashes:
            self._hashes[key] = hashlib.sha256(path.read_bytes()).hexdigest()
        return self._hashes[key]

    def place(self, prefix: str, kind: str, size: tuple[int, int] | None = None) -> SavePlace:
        """Find folder, name and next number for a prefix such as `sub/name_%width%`."""
        prefix = _fill(prefix, size)
        root = self.directory(kind)
        subfolder = os.path.dirname(os.path.normpath(prefix))  # noqa: PTH120 - `a/../b` must be folded first
        name = os.path.basename(os.path.normpath(prefix))  # noqa: PTH119
        folder = Path(os.path.normpath(root / subfolder))
        if not folder.is_relative_to(root):
            raise OutsideDirectory(str(folder))
        return SavePlace(folder, name, self._next_number(folder, name), subfolder)

    def wrote(self, place: SavePlace, count: int) -> None:
        """Remember how far a folder's numbers go, so that it is not listed again until it changes."""
        self._counters[(place.folder, place.name)] = _Counter(
            place.folder.stat().st_mtime_ns, place.counter + count - 1
        )

    def _next_number(self, folder: Path, name: str) -> int:
        try:
            mtime = folder.stat().st_mtime_ns
        except FileNotFoundError:
            folder.mkdir(parents=True, exist_ok=True)
            return 1
        known = self._counters.get((folder, name))
        if known is not None and known.mtime_ns == mtime:
            return known.highest + 1
        highest = 0
        with os.scandir(folder) as entries:
            for entry in entries:
                stem, _, rest = entry.name[: len(name) + 1], None, entry.name[len(name) + 1 :]
                digits = rest.split("_")[0]
                if stem.lower() == f"{name}_".lower() and digits.isdigit():
                    highest = max(highest, int(digits))
        return highest + 1


def _fill(prefix: str, size: tuple[int, int] | None) -> str:
    if "%" not in prefix:
        return prefix
    now = time.localtime()
    values: Mapping[str, str] = {
        "%width%": str(size[0] if size else 0),
        "%height%": str(size[1] if size else 0),
        "%year%": str(now.tm_year),
        "%month%": f"{now.tm_mon:02}",
        "%day%": f"{now.tm_mday:02}",
        "%hour%": f"{now.tm_hour:02}",
        "%minute%": f"{now.tm_min:02}",
        "%second%": f"{now.tm_sec:02}",
    }
    for key, value in values.items():
        prefix = prefix.replace(key, value)
    return prefix
