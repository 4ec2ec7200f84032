"""What all the readers of containers share: the texts that they find, and how they say that a file is broken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

#: Longer metadata than this is no workflow; the largest official one has under 1 MB.
MAX_TEXT: Final = 8 * 2**20
#: Chunks, boxes, pages or frames that are looked at in one file.
MAX_PARTS: Final = 400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A named text of a file's metadata."""

    key: str
    value: str
    place: str  #: where in the file it stands, for people


class Broken(ValueError):
    """A container that contradicts itself or its bounds; `reason` is a fault's word."""

    def __init__(self, reason: str, message: str, place: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.place = place


def truncated(place: str) -> Broken:
    """A part that says it is longer than the file."""
    return Broken("truncated", "The file ends in the middle of this part.", place)


def too_large(place: str) -> Broken:
    """A text that no workflow needs."""
    return Broken("too_large", f"The text is larger than {MAX_TEXT // 2**20} MiB.", place)


def counted(place: str) -> Iterator[int]:
    """The numbers of the parts of a file, up to the bound."""
    yield from range(MAX_PARTS)
    raise Broken("too_many_parts", f"The file has more than {MAX_PARTS:,} parts.", place)


def decoded(data: bytes, place: str, encoding: str = "utf-8") -> str:
    """The text of these bytes. What is not in its encoding is read as Latin-1, as old writers wrote it."""
    if len(data) > MAX_TEXT:
        raise too_large(place)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return data.decode("latin-1")
