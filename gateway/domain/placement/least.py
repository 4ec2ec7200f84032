"""Least connections: nothing is learned, connections are counted.

`least_connections` walks the candidates in the fair order they come in and gives each one to the worker that has the
fewest prompts on it (ours and others') among those that can run its graph and have a place left. Ties go to the
worker that has done the fewest jobs, then to the first by name, so that the outcome does not depend on the order in
which workers are listed. A candidate that was lost on a worker goes to another one where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain import model


def least_connections(
    candidates: Sequence[model.Candidate], slots: Sequence[model.Slot]
) -> tuple[model.Assignment, ...]:
    """Assignments of candidates (in fair order) to free slots, at most one each.

    A worker with several free places appears as several slots with growing `connections`.
    """
    free = sorted(slots, key=lambda slot: (slot.connections, slot.jobs_done, slot.worker))
    assignments: list[model.Assignment] = []
    for candidate in candidates:
        if not free:
            break
        slot = _best(candidate, free)
        if slot is not None:
            free.remove(slot)
            assignments.append(
                model.Assignment(job_id=candidate.job_id, worker=slot.worker, reason=_reason(candidate, slot))
            )
    return tuple(assignments)


def _best(candidate: model.Candidate, free: Sequence[model.Slot]) -> model.Slot | None:
    """The first of the sorted slots that can run the candidate, another worker than those it was lost on if any."""
    second: model.Slot | None = None
    for slot in free:
        if candidate.requirements_key in slot.accepts and slot.worker not in candidate.refuses:
            if slot.worker not in candidate.avoid:
                return slot
            second = second or slot
    return second


def _reason(candidate: model.Candidate, slot: model.Slot) -> str:
    if slot.worker in candidate.avoid:
        return f"{slot.worker} lost it before, but no other idle worker can run it"
    if slot.connections == 0:
        return f"{slot.worker} is idle"
    prompts = "prompt" if slot.connections == 1 else "prompts"
    return f"{slot.worker} has the fewest prompts among those that can run it: {slot.connections} {prompts}"
