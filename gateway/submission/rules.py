"""The bounds of what may be ordered."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Bounds and defaults of new jobs."""

    retention: float = 7 * 86400.0  #: seconds that a job and its outputs are kept
    queue_limit: int | None = 100_000  #: queued jobs of all tenants together
    queue_bytes: int | None = 8 * 2**30  #: their graphs, as they are stored
    batch_jobs: int = 10_000  #: jobs in one batch
    at_once: int = 8  #: single orders that are worked on together: a flood of them must not starve dispatch
    max_tries: int = 3  #: attempts that a job may spend
    image_bytes: int = 64 * 2**20  #: of a picture that a template takes, however it comes
