"""Partner API keys of jobs that have not ended: in this process' memory and nowhere else.

A job whose key was lost in a restart fails with a typed error; its row says that it needs one (`needs_secret`).
"""

from __future__ import annotations

from gateway import ports
from gateway.domain import model

_SWEEP_EVERY = 1000  #: new keys between two looks for those of jobs past retention


class Secrets:
    """Keys by job."""

    def __init__(self, clock: ports.Clock) -> None:
        self._clock = clock
        self._keys: dict[str, tuple[str, float]] = {}
        self._added = 0

    def __repr__(self) -> str:
        return f"<Secrets of {len(self._keys)} jobs>"

    def keep(self, job_id: model.JobId, key: str, *, until: float) -> None:
        """Remember the key of a job that is gone by `until` at the latest."""
        self._keys[job_id] = (key, until)
        self._added += 1
        if self._added % _SWEEP_EVERY == 0:
            now = self._clock()
            self._keys = {job: kept for job, kept in self._keys.items() if kept[1] > now}

    def of(self, job_id: model.JobId) -> str | None:
        """The job's key; None when it has none, or it was lost."""
        kept = self._keys.get(job_id)
        return None if kept is None else kept[0]

    def forget(self, job_id: model.JobId) -> None:
        """The job has ended."""
        self._keys.pop(job_id, None)
