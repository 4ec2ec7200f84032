"""Sending a job ahead: to a worker whose run is about to end, so that the card does not wait for us in between.

That is only worth it while the queue is deep. Otherwise a job that was sent ahead, behind a run that takes longer than
expected after all, is one that an idle worker could have begun.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.domain import model

Choose = Callable[[Sequence[model.Candidate], Sequence[model.Slot]], Sequence[model.Assignment]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparing:
    """A choice that offers places ahead only while more jobs wait than there are workers that become free next."""

    choose: Choose
    workers: int

    def __call__(
        self, candidates: Sequence[model.Candidate], slots: Sequence[model.Slot]
    ) -> Sequence[model.Assignment]:
        """Assignments, at most one a slot."""
        if len(candidates) < len(slots) + self.workers:
            slots = [slot for slot in slots if not slot.ahead]
        return self.choose(candidates, slots) if slots else ()
