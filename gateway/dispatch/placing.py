"""Placing: free places are offered to queued jobs, in rounds after signals and to orders as they are queued.

A round claims until every place is taken or nothing is left that fits. An order that comes while a worker is idle is
claimed for in the transaction that queues it. What a round leaves over may make idle workers take jobs back from busy
ones (`balancing`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway import ports
from gateway.assets import space
from gateway.dispatch import balancing, fleet, foresight, learning, offering
from gateway.domain import fitting, model, pauses
from gateway.domain.comfy.graph import Requirements
from gateway.domain.placement import ahead


class Start(Protocol):
    """Begins an attempt; `alone`: it has the card for itself."""

    def __call__(self, claim: model.Claim, *, alone: bool = False) -> None: ...


@dataclass(slots=True, kw_only=True, eq=False)
class Placing:
    """Gives free places away. `policy`: None: where a job is expected to finish first."""

    queue: ports.Queue
    bus: ports.Bus
    space: space.Space
    fleet: fleet.Fleet
    foresight: foresight.Foresight
    learning: learning.Learning
    policy: ports.Choose | None
    clock: ports.Clock
    new_id: ports.NewId
    start: Start
    requirements: Mapping[str, Requirements] = field(default_factory=dict[str, Requirements])
    paused: pauses.Pauses = field(default_factory=pauses.Pauses)
    _balance: balancing.Balance = field(init=False)
    _turn: offering.Turn = field(default_factory=offering.Turn)
    _goes_on: bool = True
    _waiting: bool = True  #: whether jobs may wait that an idle worker could take
    _open: bool = False  #: whether orders may be claimed for: by what the latest round found
    _failed: Exception | None = None  #: what went wrong while an order was given its place

    def __post_init__(self) -> None:
        """The balance looks after each round."""
        self._balance = balancing.Balance(
            fleet=self.fleet,
            foresight=self.foresight,
            learning=self.learning,
            clock=self.clock,
            look_again=self.wake,
        )

    async def stop(self) -> None:
        """Give nothing away any more; whoever claims at this moment is done when this returns."""
        self._goes_on = False
        async with self._turn.held():
            pass

    def wake(self) -> None:
        """Have a round soon."""
        self.bus.signal(model.WorkQueued())

    def freed(self) -> None:
        """A worker has a place again: have a round, if there is anything for it."""
        if self._waiting or self._balance.is_uneven():
            self.wake()

    async def round(self) -> None:
        """Claim until every place is taken or nothing is left that fits."""
        if self._failed is not None:
            raise self._failed
        self._waiting = True  # a place that becomes free meanwhile calls for another round
        self._open = False
        if not await self.space.is_open():
            return  # what was made could not be kept; the next tick looks again
        if await self._is_paused():
            return
        self._open = True
        while self._goes_on and any(member.takes_work for member in self.fleet.members.values()):
            async with self._turn.held():
                self.requirements = await self.queue.requirements()
                self.foresight.learn_needs(self.requirements)
                offer = self._free_places(self.requirements)
                if offer is None:
                    return
                claimed = await self.queue.claim(offer.slots, offer.choose, now=offer.now, new_id=offer.new_id)
                offer.given(claimed)
            if not claimed.claims or not claimed.waiting:
                self._waiting = claimed.waiting
                self._balance.look(self.requirements, self.paused)
                return

    def offer(self, needed: Mapping[str, Requirements]) -> ports.Offer | None:
        """Free places, for an order of jobs with these needs that is being queued right now. None: there are none, or
        somebody claims at this moment; then a signal has the loop claim for it."""
        if not self._goes_on or not self._open or not self._turn.is_free:
            return None
        known = {**self.requirements, **needed}  # nothing that is queued or runs may need the same
        self.foresight.learn_needs(known)
        places = self._free_places(known)
        if places is None or not any(not slot.ahead and slot.accepts & needed.keys() for slot in places.slots):
            return None
        self._turn.take()

        def given(claimed: model.Claimed) -> None:
            self._turn.release()
            try:
                places.given(claimed)
            except Exception as error:  # noqa: BLE001 - the loop raises it: that ends the program, and the next one adopts
                self._failed = error
            self._waiting = claimed.waiting
            if claimed.waiting or self._failed is not None:
                self.wake()

        return dataclasses.replace(places, given=given)

    def _free_places(self, requirements: Mapping[str, Requirements]) -> ports.Offer | None:
        """All free places, and how jobs for them are chosen."""
        slots = self.foresight.warm(self.fleet.slots(requirements))
        if not slots:
            return None
        now = self.clock()
        asked = self.foresight.choosing(lambda: self.fleet.standings(requirements))
        choose = self._choosing(asked, requirements, now)

        def given(claimed: model.Claimed) -> None:
            self.foresight.chosen(asked, claimed)
            for claim in claimed.claims:
                self.begin(claim, alone=claim.job_id in choose.alone)

        return ports.Offer(slots=slots, choose=choose, now=now, new_id=self.new_id, given=given)

    async def _is_paused(self) -> bool:
        """Whether the queue is; workers that are, take no work from now on."""
        self.paused = await self.queue.pauses()
        self.fleet.pause(self.paused.workers)
        return self.paused.queue is not None

    def _choosing(
        self, asked: foresight.Choosing, requirements: Mapping[str, Requirements], now: float
    ) -> fitting.Fitting:
        return fitting.Fitting(
            choose=ahead.Sparing(choose=self.policy or asked, workers=len(self.fleet.members)),
            places=lambda: self.fleet.places(requirements),
            demand=self.learning.memory.demand if self.learning.memory else None,
            now=now,
        )

    def begin(self, claim: model.Claim, *, alone: bool = False) -> None:
        """Begin a claimed attempt, or take up one that was found open."""
        self._balance.claimed(claim.job_id)
        self.start(claim, alone=alone)
