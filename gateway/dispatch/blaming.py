"""What a worker's trouble means for the attempt that it happened to: was it the graph, or did it come at a bad time?"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.dispatch import link
from gateway.domain import model, retrying, verdict
from gateway.domain.states import Outcome


def after_cuda_fault(
    one: link.Link, prompt_id: model.AttemptId, end: verdict.Verdict, error: model.JobError
) -> verdict.Verdict:
    """Nothing runs there until it restarts. Who came after the one that broke it is not to blame."""
    was_broken = one.state is link.LinkState.QUARANTINED
    if not was_broken:
        reason = f"a CUDA fault: {error.message}; nothing runs there until it restarts"
        one.quarantine(reason, marks=(prompt_id,))
    if one.broken_by is not None:
        was_broken = one.broken_by != prompt_id
    if was_broken:
        return verdict.Verdict(outcome=Outcome.RELEASED, reason=f"the worker was broken before: {one.reason}")
    return end


@dataclass(frozen=True, slots=True, kw_only=True)
class Vanished:
    """A prompt that its worker does not have any more, or a worker that is not there any more."""

    reason: str
    refused: bool  #: nobody listens at its address
    forgotten: bool  #: it answers, and does not know the prompt
    posted_as: str | None  #: by us, under this client id
    ran: bool  #: it was seen to run


def after_loss(one: link.Link, prompt_id: model.AttemptId, lost: Vanished) -> verdict.Verdict:
    """Lost; and if the worker's process ended while it ran this, that is told, since a graph can do that."""
    cut = lost.posted_as is not None and lost.posted_as != one.client_id
    ran = lost.ran or (lost.posted_as is not None and one.has_only(prompt_id))
    if not (ran and (lost.refused or (lost.forgotten and cut))):
        return verdict.Verdict(outcome=Outcome.LOST, reason=lost.reason)
    reason = f"the worker's process ended while it ran this: {lost.reason}"
    error = model.JobError(code=retrying.WORKER_DIED, message=reason)
    return verdict.Verdict(outcome=Outcome.LOST, reason=reason, error=error)
