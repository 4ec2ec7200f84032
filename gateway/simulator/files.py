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
#: Folders whose highest number is remembered.
_KNOWN_FOLDERS = 10_000


class OutsideDirectory(Exception):
    """A path would leave the directory it belongs to."""


@dataclass(frozen=True, slots=True)
class SavePlace:
    """Where a node's files go: folder, name without number, first number, subfolder as reported.

    The folder is a plain string: this runs a thousand times a second.
    """

    folder: str
    name: str
    counter: int
    subfolder: str

    def path(self, name: str) -> str:
        """Return the path of a file in it."""
        return f"{self.folder}/{name}"


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
    _counters: dict[tuple[str, str], _Counter] = field(default_factory=dict[tuple[str, str], _Counter])
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
        prefix = os.path.normpath(_fill(prefix, size))
        root = f"{self.base}/{kind}"
        subfolder, name = os.path.split(prefix)
        folder = os.path.normpath(os.path.join(root, subfolder)) if subfolder else root  # noqa: PTH118 - see SavePlace
        if folder != root and not folder.startswith(f"{root}/"):
            raise OutsideDirectory(folder)
        return SavePlace(folder, name, self._next_number(folder, name), subfolder)

    def wrote(self, place: SavePlace, count: int) -> None:
        """Remember how far a folder's numbers go, so that it is not listed again until it changes."""
        mtime = os.stat(place.folder).st_mtime_ns  # noqa: PTH116 - see SavePlace
        self._counters[(place.folder, place.name)] = _Counter(mtime, place.counter + count - 1)
        if len(self._counters) > _KNOWN_FOLDERS:
            del self._counters[next(iter(self._counters))]

    def _next_number(self, folder: str, name: str) -> int:
        try:
            mtime = os.stat(folder).st_mtime_ns  # noqa: PTH116 - see SavePlace
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - see SavePlace
            return 1
        known = self._counters.get((folder, name))
        if known is not None and known.mtime_ns == mtime:
            return known.highest + 1
        highest = 0
        start = len(name) + 1
        with os.scandir(folder) as entries:
            for entry in entries:
                digits = entry.name[start:].split("_")[0]
                if digits.isdigit() and entry.name[:start].lower() == f"{name}_".lower():
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
