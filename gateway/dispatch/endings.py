"""From a verdict to all that its settle writes: when the job may be tried again, and what it needs then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.dispatch import tools
from gateway.domain import model, retrying, verdict
from gateway.domain.states import RETRYABLE, Outcome

_RELEASED_SECONDS: Final = 0.2  #: before a job that was handed back may be claimed again


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When the attempt reached the worker and began there, as far as known."""

    posted_at: float | None
    started_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What came out of the attempt: outputs, or what the next one needs."""

    outputs: tuple[model.NewOutput, ...] = ()
    reused: bool = False
    room: model.Room | None = None
    avoid: bool = True
    at_once: bool = False  #: it may be claimed again at once


NOTHING: Final = Made()


def ending(end: verdict.Verdict, claim: model.Claim, times: Times, made: Made, with_: tools.Tools) -> model.Ending:
    """The attempt's ending, now."""
    now = with_.clock()
    retried = end.outcome in RETRYABLE
    lost = model.JobError(code=retrying.WORKER_LOST, message=end.reason) if retried else None
    return model.Ending(
        outcome=end.outcome,
        reason=end.reason,
        ended_at=now,
        posted_at=times.posted_at,
        started_at=times.started_at,
        error=end.error or lost,
        outputs=made.outputs,
        outputs_reused=made.reused,
        retry_at=now if made.at_once else _retry_at(end.outcome, claim, with_, now),
        avoid=made.avoid,
        room=made.room if end.outcome in RETRYABLE else claim.room,
    )


def _retry_at(outcome: Outcome, claim: model.Claim, with_: tools.Tools, now: float) -> float | None:
    if outcome is Outcome.RELEASED:
        return now + _RELEASED_SECONDS
    if outcome not in RETRYABLE:
        return None
    if outcome is Outcome.LOST and claim.resumed:
        return now  # the gateway went, and its worker with it: who waited behind the job does not go first
    return now + with_.backoff.delay(claim.tries + 1, with_.chance())
