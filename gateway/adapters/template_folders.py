"""The template files of several folders, looked at again and again.

A file that changes is read once it has stood still between two looks: an editor or a copy that is still writing is not
caught in the middle, and a workflow and its sidecar that are saved together are taken together. What is read while it
changes is thrown away. Nothing is read twice that did not change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway import ports, unforeseen
from gateway.adapters import templates
from gateway.domain import errors
from gateway.domain.templates import drafts, library

Stamp = tuple[str, int, int, int]  #: path, inode, time of the last change, size
Stamps = tuple[Stamp, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A template's files as they were when they were read, and what came of it."""

    stamps: Stamps
    files: frozenset[str]  #: the default files that its sidecar names, there or not
    found: drafts.Draft | library.Broken


class TemplateFolders:
    """`ports.TemplateFiles` over folders: the one that ships, and over it those of the user, later ones win.

    They must be there, unless they `may_come` later."""

    def __init__(self, folders: Sequence[Path], *, shipped: Path | None = None, may_come: bool = False) -> None:
        self._shipped = None if shipped is None else shipped.resolve()
        own = dict.fromkeys(folder.expanduser().resolve() for folder in folders)
        self._own = tuple(folder for folder in own if folder != self._shipped)
        for folder in self._folders:
            if not folder.is_dir() and not may_come:
                raise errors.ConfigError(f"The template folder {folder} does not exist.")
        self._seen: dict[Path, dict[str, _Seen]] = {}
        self._stirred: dict[Path, dict[str, Stamps]] = {}  #: changed at the last look, and not read yet
        self._defaults: dict[Path, tuple[Stamps, frozenset[str]]] = {}  #: default files by sidecar

    @property
    def _folders(self) -> tuple[Path, ...]:
        return self._own if self._shipped is None else (self._shipped, *self._own)

    def look(self) -> ports.FoundFiles:
        """The files as they are now. Blocks: call it in a thread, one call at a time."""
        found = {folder: self._look_into(folder) for folder in self._folders}
        own: dict[str, drafts.Draft | library.Broken] = {}
        for folder in self._own:
            own |= found[folder]
        shipped = {} if self._shipped is None else found[self._shipped]
        return ports.FoundFiles(own=own, shipped=shipped)

    def _look_into(self, folder: Path) -> Mapping[str, drafts.Draft | library.Broken]:
        first = folder not in self._seen
        seen, stirred = self._seen.setdefault(folder, {}), self._stirred.setdefault(folder, {})
        paths = self._named(folder)
        if paths is None:
            return {name: each.found for name, each in seen.items()}
        for gone in seen.keys() - paths.keys():
            del seen[gone]
        for name, path in paths.items():
            known = seen.get(name)
            stamps = _stamps(path, known.files if known is not None else frozenset())
            if known is not None and known.stamps == stamps:
                stirred.pop(name, None)
            elif not first and stirred.get(name) != stamps:
                stirred[name] = stamps
            else:
                stirred.pop(name, None)
                read = _read(name, path)
                if first or _stamps(path, read.files) == read.stamps:
                    seen[name] = read
        return {name: each.found for name, each in seen.items()}

    def _named(self, folder: Path) -> Mapping[str, Path] | None:
        """Its files; None while it cannot be looked into, as when a disk is away: then they are as they were."""
        try:
            return templates.named(folder, defaults_of=self._default_files)
        except FileNotFoundError:
            return {}
        except OSError:
            return None

    def _default_files(self, sidecar: Path) -> frozenset[str]:
        stamps = _of_files([sidecar])
        known = self._defaults.get(sidecar)
        if known is None or known[0] != stamps:
            known = self._defaults[sidecar] = stamps, templates.default_files(sidecar)
        return known[1]


def _read(name: str, path: Path) -> _Seen:
    files = templates.default_files(path.with_suffix(".toml"))
    stamps = _stamps(path, files)
    try:
        with unforeseen.as_template_error(name):
            found: drafts.Draft | library.Broken = templates.read(path)
    except errors.TemplateError as error:
        found = library.Broken(name=name, source=templates.plain(path), reason=error.message, faults=error.faults)
    return _Seen(stamps=stamps, files=files, found=found)


def _stamps(path: Path, files: frozenset[str]) -> Stamps:
    """Of the workflow, its sidecar and the default files."""
    return _of_files([path, path.with_suffix(".toml"), *(path.parent / file for file in sorted(files))])


def _of_files(paths: Iterable[Path]) -> Stamps:
    found: list[Stamp] = []
    for path in paths:
        try:
            facts = path.stat()
        except (OSError, ValueError):  # it is not there, went while we looked, or has no name that a file could have
            continue
        found.append((str(path), facts.st_ino, facts.st_mtime_ns, facts.st_size))
    return tuple(found)
