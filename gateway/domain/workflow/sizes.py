"""What a file may cost before it is read as JSON."""

from __future__ import annotations

from gateway.domain import errors

MAX_BYTES = 24 * 2**20
#: Commas and opening brackets. A JSON value costs up to 120 bytes of memory for each, whatever its length in the file.
MAX_MARKS = 1_200_000


def check(data: bytes) -> None:
    """Refuse a workflow that would take too much memory as JSON; cheap, and before anything is parsed."""
    if len(data) > MAX_BYTES:
        size = f"{len(data) / 2**20:.0f} MiB"
        raise _too_large(f"The workflow has {size}; {MAX_BYTES // 2**20} MiB is the most.")
    marks = data.count(b",") + data.count(b"[") + data.count(b"{")
    if marks > MAX_MARKS:
        raise _too_large(f"The workflow has some {marks} values; {MAX_MARKS} is the most.")


def _too_large(message: str) -> errors.InvalidWorkflow:
    return errors.InvalidWorkflow(message, faults=[errors.Fault(reason="workflow_too_large", message=message)])
