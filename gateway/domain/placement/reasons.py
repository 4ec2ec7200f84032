"""Why a job goes where it goes, or waits, in one plain sentence."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain import model
from gateway.domain.placement.seats import Fit, Option, best_of


def of_start(candidate: model.Candidate, fit: Fit, fits: Sequence[Fit]) -> str:
    """Why it starts there; `fits` are all places it could have gone to."""
    seat = fit.seat
    if seat.id in candidate.avoid:
        return f"{seat.id} lost it before, but no other idle worker can run it"
    if not fit.known:
        return _by_connections(fit)
    if not fit.is_warm:
        warm = best_of(other for other in fits if other.is_warm)
        if warm is None:
            return f"{seat.id} is free and no worker holds its models: loading takes {seconds(fit.cost.load)}"
        return of_relief(fit, warm, warm.seat.ready)
    if any(not other.is_warm for other in fits):
        return f"{seat.id} is free and holds its models"
    return f"{seat.id} is free and would finish it first" if len(fits) > 1 else f"{seat.id} is free"


def _by_connections(fit: Fit) -> str:
    connections = fit.seat.connections + len(fit.seat.line)
    if connections == 0:
        return f"{fit.seat.id} is idle"
    prompts = "prompt" if connections == 1 else "prompts"
    return f"{fit.seat.id} has the fewest prompts among those that can run it: {connections} {prompts}"


def of_relief(fit: Fit, before: Fit, starts: float) -> str:
    """Why it starts on another worker than the one where it would have waited, to start there later."""
    here = "it can start at once" if fit.is_warm else f"loading there takes {seconds(fit.cost.load)}"
    warm = ", which is warm," if before.is_warm and not fit.is_warm else ""
    return f"{fit.seat.id} is free and {here}; {before.seat.id}{warm} is free in {seconds(starts)}"


def of_patience(fit: Fit, waited: float) -> str:
    """Why it starts after others went before it."""
    return f"{fit.seat.id} is free, and it has let others go first for {seconds(waited)}"


def of_wait(option: Option, left: Fit | None) -> str:
    """Why it waits; `left` is the best place that it could have had at once."""
    if not option.fit.known:
        return "waits for a free worker: those that can run it are busy"
    worker, ready = option.seat.id, seconds(max(0.0, option.starts))
    if left is None:
        return f"waits for {worker}: free in {ready}"
    if left.missing and option.fit.is_warm:
        return f"waits for {worker}: warm in {ready}, loading elsewhere {seconds(left.cost.load)}"
    if not option.fit.is_warm:
        return f"waits for {worker}: free in {ready}; others can use at once what {left.seat.id} holds"
    there = seconds(left.seat.ready + left.seconds)
    return f"waits for {worker}: done there in {seconds(option.finish)}, on {left.seat.id} in {there}"


def seconds(value: float) -> str:
    """A time for people."""
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"
