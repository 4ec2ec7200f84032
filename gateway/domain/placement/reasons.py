"""Why a job goes where it goes, or waits, in one plain sentence."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain.placement.seats import Option


def of_start(option: Option, options: Sequence[Option]) -> str:
    """Why it starts there; `options` are all places it could have gone to."""
    seat, cost = option.seat, option.cost
    if seat.id in option.candidate.avoid:
        return f"{seat.id} lost it before, but no other idle worker can run it"
    if not option.known:
        return _by_connections(option)
    if not option.is_warm:
        warm = min((other for other in options if other.is_warm), key=lambda other: other.order, default=None)
        if warm is None:
            return f"{seat.id} is free and no worker holds its models: loading takes {seconds(cost.load)}"
        return of_relief(option, warm)
    if any(not other.is_warm for other in options):
        return f"{seat.id} is free and holds its models"
    return f"{seat.id} is free and would finish it first" if len(options) > 1 else f"{seat.id} is free"


def _by_connections(option: Option) -> str:
    seat = option.seat
    connections = seat.connections + len(seat.line)
    if connections == 0:
        return f"{seat.id} is idle"
    prompts = "prompt" if connections == 1 else "prompts"
    return f"{seat.id} has the fewest prompts among those that can run it: {connections} {prompts}"


def of_relief(option: Option, before: Option) -> str:
    """Why it starts on another worker than the one that it would have waited for."""
    here = f"loading there takes {seconds(option.cost.load)}" if not option.is_warm else "it can start at once"
    if before.is_warm and not option.is_warm:
        return (
            f"{option.seat.id} is free and {here}; {before.seat.id}, which is warm, is free in {seconds(before.starts)}"
        )
    return f"{option.seat.id} is free and {here}; {before.seat.id} is free in {seconds(before.starts)}"


def of_patience(option: Option, waited: float) -> str:
    """Why it starts after others went before it."""
    return f"{option.seat.id} is free, and it has let others go first for {seconds(waited)}"


def of_wait(option: Option, left: Option | None) -> str:
    """Why it waits; `left` is the best place that it could have had at once."""
    worker, ready = option.seat.id, seconds(max(0.0, option.starts))
    if left is None:
        return f"waits for {worker}: free in {ready}"
    if left.missing and option.is_warm:
        return f"waits for {worker}: warm in {ready}, loading elsewhere {seconds(left.cost.load)}"
    if not option.is_warm:
        return (
            f"waits for {worker}: free in {ready}; nobody holds its models, and others can use what is held elsewhere"
        )
    return f"waits for {worker}: done there in {seconds(option.finish)}, on {left.seat.id} in {seconds(left.finish)}"


def seconds(value: float) -> str:
    """A time for people."""
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"
