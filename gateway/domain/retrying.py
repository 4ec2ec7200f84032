"""When a job is tried again, and when it is not: pure, chance comes in as an argument.

What may be tried again is said where an attempt ends (`verdict`, and the outcomes of `states`): never an error of the
graph itself. Here is how long to wait, and which jobs must stop going round: one that took down two different workers
would take down the third.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.domain import model

WORKER_LOST: Final = "worker_lost"  #: it went away, or does not know the prompt any more
WORKER_DIED: Final = "worker_died"  #: its process ended while it ran the graph
THREAD_DEAD: Final = "execution_thread_dead"
CUDA_FAULT: Final = "cuda_fault"
OUT_OF_MEMORY: Final = "out_of_memory"
TIMEOUT: Final = "timeout"
WORKER_KILLER: Final = "worker_killer"

#: What a graph can do to a worker so that nothing runs there any more.
TAKES_DOWN: Final = frozenset({WORKER_DIED, THREAD_DEAD, CUDA_FAULT})
_MOST_WORKERS: Final = 2  #: a graph that took down this many has to stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Seconds to wait before a job is tried again."""

    first: float = 1.0  #: after the first loss; doubles with each
    most: float = 60.0

    def delay(self, tries: int, chance: float) -> float:
        """After `tries` attempts were spent: half as long to half as long again by `chance` (0..1), so that what was
        lost together does not come back together."""
        doubled = min(self.first * 2 ** min(max(tries - 1, 0), 30), self.most)
        return doubled * (0.5 + chance)


def takes_down(error: model.JobError | None) -> bool:
    """Whether this error means that the graph took its worker down."""
    return error is not None and error.code in TAKES_DOWN


def killer(downed: Iterable[tuple[model.WorkerId, model.JobError | None]]) -> model.JobError | None:
    """The error of a job whose attempts (worker and error, oldest first) took down two different workers, or None."""
    last: dict[model.WorkerId, model.JobError] = {
        worker: error for worker, error in downed if error is not None and takes_down(error)
    }
    if len(last) < _MOST_WORKERS:
        return None
    names = " and ".join(last)
    message = f"It took down {len(last)} different workers ({names}), so it is not tried on another."
    newest = list(last.values())[-1]
    return model.JobError(
        code=WORKER_KILLER,
        message=f"{message} The last time: {newest.message}",
        node_id=newest.node_id,
        class_type=newest.class_type,
        traceback=newest.traceback,
        details={"workers": {worker: {"code": error.code, "message": error.message} for worker, error in last.items()}},
    )
