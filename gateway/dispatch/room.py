"""Making room on a card, and what becomes of a job that found too little of it.

The way of such a job: the memory of its card is freed and it runs there again with nothing beside it; then it goes to a
larger card, where there is one; then it fails with an error that tells node, sizes and advice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson
import structlog

from gateway.dispatch import link, tools
from gateway.domain import errors, memory, model
from gateway.domain.comfy import graph, sizes
from gateway.domain.states import Outcome

_log = structlog.get_logger("gateway.dispatch")
_LOOK_SECONDS: Final = 0.25
_STEADY: Final = 32 * 2**20  #: bytes; less than this in a look's time is no change


async def make_room(links: Sequence[link.Link], patience: tools.Patience) -> None:
    """Free the memory of all workers of one card. Those that others use right now are left alone."""
    await asyncio.gather(*(_free(one, patience) for one in links if not one.others))


async def _free(one: link.Link, patience: tools.Patience) -> None:
    """Twice, because one that comes right after a prompt can be lost (recording 30), then wait for the memory."""
    try:
        await one.client.free()
        await asyncio.sleep(patience.free_again)
        await one.client.free()
        free = await _settled(one, patience)
    except errors.WorkerError as error:
        _log.info("memory_not_freed", worker=one.worker.id, reason=error.message)
        return
    _log.info("memory_freed", worker=one.worker.id, vram_free=free)


async def _settled(one: link.Link, patience: tools.Patience) -> int | None:
    before: int | None = None
    for _ in range(max(1, round(patience.free_settles / _LOOK_SECONDS))):
        one.facts = await one.client.facts()
        free = one.facts.vram_free
        if free is None or (before is not None and abs(free - before) < _STEADY):
            return free
        before = free
        await asyncio.sleep(min(_LOOK_SECONDS, patience.free_settles))
    return before


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A run that ended because memory was too small."""

    claim: model.Claim
    error: model.JobError
    link: link.Link
    alone: bool  #: it had the card for itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Consequence:
    """What becomes of the job."""

    outcome: Outcome
    error: model.JobError
    room: model.Room | None = None
    avoid: bool = False


def consequence(trouble: Trouble, with_: tools.Tools) -> Consequence:
    """Learn from it, and say what comes next."""
    claim, facts, worker = trouble.claim, trouble.link.facts, trouble.link.worker.id
    vram = facts.vram_total
    if vram is not None:
        with_.learning.memory.ran_out(claim.family, claim.size, vram=vram, alone=trouble.alone)
    where = memory.Where(worker=worker, vram=vram, vram_free=facts.vram_free, alone=trouble.alone)
    error = memory.explained(trouble.error, where, sizes.largest(graph.Graph(orjson.loads(claim.graph))))
    until = with_.clock() + with_.patience.alone
    room = memory.next_room(claim.room, worker=worker, vram=vram, alone=trouble.alone, until=until)
    if trouble.alone and vram is not None and not with_.larger(claim, room.more_than):
        return Consequence(outcome=Outcome.FAILED, error=error)
    return Consequence(outcome=Outcome.BROKEN, error=error, room=room, avoid=trouble.alone)
