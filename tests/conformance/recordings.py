"""The trimmed recordings of real servers (`tests/fixtures/wire/`), as steps and expectations."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIRE = Path(__file__).parents[1] / "fixtures" / "wire"
Event = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One scenario as it happened."""

    name: str
    description: str
    events: list[Event]

    def frames(self, conn: str) -> list[Event]:
        """Return what a connection received, in order."""
        return [event for event in self.events if event.get("conn") == conn and event["kind"] in ("text", "binary")]


def load(version: str) -> dict[str, Recording]:
    """Read all recordings of a version, by the number and letter that their names begin with."""
    data = json.loads(gzip.decompress((WIRE / f"{version}.json.gz").read_bytes()))
    return {
        name: Recording(
            name=name,
            description=item["description"],
            events=sorted(item["events"], key=lambda event: event["t"]),
        )
        for name, item in data.items()
    }


def find(version: str, prefix: str) -> Recording:
    """Return the recording whose name begins with a number (and letter)."""
    return next(item for name, item in load(version).items() if name.split("_")[0] == prefix)
