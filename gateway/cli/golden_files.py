"""The stored pictures of a template's examples, `golden/NAME/EXAMPLE-01.png` beside it: compared, and kept anew."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gateway.adapters import likeness
from gateway.adapters import templates as folders
from gateway.cli import failures, files

Status = Literal["same", "different", "not stored", "failed", "stored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of an example."""

    label: str
    status: Status
    message: str | None = None
    distance: float | None = None  #: of the picture that is furthest
    tolerance: float | None = None
    drawn: tuple[Path, ...] = ()  #: expected, made and difference side by side
    job: str | None = None

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return self.status in {"same", "stored"}

    def as_dict(self) -> dict[str, Any]:
        """JSON of it."""
        template, _, example = self.label.partition(" ")
        return {
            "template": template,
            "example": example,
            "status": self.status,
            "message": self.message,
            "distance": self.distance,
            "tolerance": self.tolerance,
            "differences": [str(path) for path in self.drawn],
            "job": self.job,
        }


def folder_of(path: Path) -> Path:
    """Where the pictures of the template in this file are."""
    return path.parent / "golden" / folders.name_of(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The pictures of one example."""

    path: Path  #: the template's file
    example: str

    def files(self) -> list[Path]:
        """Those that are there, in order."""
        shape = re.compile(re.escape(self.example) + r"-\d{2,}\.png")
        folder = folder_of(self.path)
        found = [each for each in folder.glob("*.png") if shape.fullmatch(each.name)] if folder.is_dir() else []
        return sorted(found, key=lambda each: int(each.stem.rpartition("-")[2]))

    def kept(self, pictures: Sequence[Path], label: str, job: str) -> Verdict:
        """Store these in place of those that are there."""
        if not pictures:
            return Verdict(label=label, status="failed", message="it made no picture", job=job)
        folder = files.usable_folder(folder_of(self.path))
        made = [likeness.to_store(picture.read_bytes()) for picture in pictures]
        try:
            for old in self.files()[len(made) :]:
                old.unlink()
            for number, data in enumerate(made, 1):
                (folder / self._name(number)).write_bytes(data)
        except OSError as error:
            raise failures.Wrong(f"{folder} cannot take the pictures: {error.strerror}") from None
        count = "one picture" if len(made) == 1 else f"{len(made)} pictures"
        return Verdict(label=label, status="stored", message=f"{count} in {folder}", job=job)

    def _name(self, number: int) -> str:
        return f"{self.example}-{number:02}.png"

    def compared(
        self, pictures: Sequence[Path], label: str, job: str, *, tolerance: float | None, out: Path
    ) -> Verdict:
        """Hold these to those that are stored; what is too far is drawn into `out`."""
        known = self.files()
        if not known:
            return Verdict(label=label, status="not stored", message="there is no stored picture", job=job)
        most = likeness.TOLERANCE if tolerance is None else tolerance
        found = [
            likeness.compare(stored.read_bytes(), made.read_bytes())
            for stored, made in zip(known, pictures, strict=False)
        ]
        drawn = tuple(
            _drawn(out, f"{folders.name_of(self.path)}-{stored.name}", each.shown)
            for stored, each in zip(known, found, strict=False)
            if each.distance > most or each.why is not None
        )
        reasons = [each.why for each in found if each.why is not None]
        if len(known) != len(pictures):
            reasons.append(f"it made {len(pictures)} pictures, and {len(known)} are stored")
        return Verdict(
            label=label,
            status="different" if drawn or reasons else "same",
            message="; ".join(reasons) or None,
            distance=max((each.distance for each in found), default=None),
            tolerance=most,
            drawn=drawn,
            job=job,
        )


def _drawn(folder: Path, name: str, data: bytes) -> Path:
    path = files.usable_folder(folder) / name
    try:
        path.write_bytes(data)
    except OSError as error:
        raise failures.Wrong(f"{path} cannot be written: {error.strerror}") from None
    return path
