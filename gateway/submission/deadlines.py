"""Deadlines: one that would be missed is refused at once, with the estimate; one that is taken is kept with the job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway import ports
from gateway.domain import errors, model
from gateway.domain.comfy import graph as graphs
from gateway.domain.costs import eta, sketch


class Expect(Protocol):
    """Foretells when a job would be done."""

    def __call__(self, wanted: graphs.Requirements, sketch: sketch.Sketch, *, position: int) -> eta.Eta | None:
        """Seconds from now, were it ordered now at that place of the queue; None: nobody can tell."""
        ...


async def refuse_missed(
    store: ports.Jobs, expect: Expect | None, jobs: Sequence[model.NewJob], deadline: float | None
) -> None:
    """DeadlineTooSoon when the last of these jobs would as likely as not be done after `deadline` seconds.

    While nothing was learned of such jobs, any deadline is taken."""
    if deadline is None or expect is None or not jobs:
        return
    last = jobs[-1]
    place = await store.place_of_new(last.tenant, priority=last.priority, n=len(jobs))
    done = expect(last.requirements, last.sketch, position=place)
    if done is None or done.p50 <= deadline:
        return
    what = "the job" if len(jobs) == 1 else f"the last of the {len(jobs)} jobs"
    message = (
        f"The deadline of {_shown(deadline)} would be missed: {what} would be number {place} of the queue and done in "
        f"about {_shown(done.p50)} (nine in ten such by {_shown(done.p90)})."
    )
    fault = errors.Fault(reason="deadline_too_soon", message=message, field="deadline_ms")
    details = {
        "deadline_ms": round(deadline * 1000),
        "eta_ms": {"p50": round(done.p50 * 1000), "p90": round(done.p90 * 1000)},
        "queue_position": place,
    }
    raise errors.DeadlineTooSoon(message, faults=[fault], details=details)


def _shown(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 100 else f"{seconds:.3g} s"
