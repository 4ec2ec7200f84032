"""What became of each line of a batch: a small file beside the output, so that it goes on where it was interrupted.

JSON Lines, only ever appended to. Every order carries an idempotency key made of the journal's own id, the line's key
and the number of the try; an order whose answer was lost is found again by it, in the job's metadata.
"""

from __future__ import annotations

import contextlib
import fcntl
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from gateway.cli import failures

MARK = "batch_order"  #: the metadata key under which a job knows its order


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The latest that is known of a line."""

    state: str  #: ordering, ordered, done, failed
    number: int = 1  #: of the try
    job: str | None = None
    files: Sequence[str] = ()


@dataclass(slots=True, kw_only=True)
class Journal:
    """The open journal."""

    id: str
    file: IO[bytes]
    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])

    def of(self, key: str) -> Entry | None:
        """What is known of a line."""
        return self.entries.get(key)

    def order_key(self, key: str, number: int) -> str:
        """The idempotency key of a try."""
        return f"{self.id}-{key}-{number}"

    def write(self, key: str, state: str, *, number: int, **more: Any) -> None:
        """Add what happened to a line; it is in the file when this returns."""
        self.entries[key] = Entry(state=state, number=number, job=more.get("job"), files=more.get("files") or ())
        _append(self.file, {"line": key, "state": state, "try": number, **more})


def _append(file: IO[bytes], record: Mapping[str, Any]) -> None:
    file.write(orjson.dumps(record) + b"\n")
    file.flush()


@contextmanager
def opened(path: Path) -> Generator[Journal]:
    """The journal at this path, made if need be; Wrong when another run has it open."""
    try:
        with path.open("a+b") as file:
            _lock(file, path)
            yield _read(file, path)
    except OSError as error:
        raise failures.Wrong(f"{path} cannot be used: {error.strerror or error}") from None


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise failures.Wrong(f"another batch is using {path}", way_out="wait for it, or use another --out") from None


def _read(file: IO[bytes], path: Path) -> Journal:
    file.seek(0)
    data = file.read()
    if data and not data.endswith(b"\n"):
        file.write(b"\n")  # the last record was cut off when the computer went down
    records: list[dict[str, Any]] = []
    for line in data.splitlines():
        with contextlib.suppress(orjson.JSONDecodeError):
            record = orjson.loads(line)
            if isinstance(record, dict):
                records.append(record)
    if data.strip() and not (records and "batch" in records[0]):
        raise failures.Wrong(f"{path} is not the state of a batch", way_out="move it away, or use another --out")
    if not records:
        journal = Journal(id=uuid.uuid4().hex[:16], file=file)
        _append(file, {"batch": journal.id})
        return journal
    journal = Journal(id=str(records[0]["batch"]), file=file)
    for record in records[1:]:
        if "line" in record:
            journal.entries[str(record["line"])] = Entry(
                state=str(record.get("state")),
                number=int(record.get("try") or 1),
                job=record.get("job"),
                files=tuple(record.get("files") or ()),
            )
    return journal
