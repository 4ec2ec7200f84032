"""How a bench orders: each job once, whatever becomes of the answers, and no more once Ctrl-C is pressed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.cli import client, failures, interrupts, shapes, workload

MARK = "bench_order"  #: the metadata key under which a job knows its order

_BUSY_SECONDS = 5.0  #: before ordering again when the gateway's queue is full
_AWAY_SECONDS = 1.0  #: before ordering again when the gateway, or its store, is away for a moment
_PATIENCE_SECONDS = 60.0  #: how long such a moment may be
_LATER = frozenset({502, 503, 504})  #: statuses that pass


@dataclass(slots=True, kw_only=True)
class Orders:
    """Orders of one run of a bench."""

    gateway: client.Gateway
    load: workload.Workload
    stop: interrupts.Interrupts
    tell: Callable[[str], None]  #: a remark for whoever waits
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    away: float = _AWAY_SECONDS
    told: bool = False  #: that the queue is full

    async def placed(self, number: int) -> shapes.Job | None:
        """The job of this number, ordered; None when Ctrl-C was pressed first.

        A full queue is waited for. What is tried again carries the same idempotency key, and a job that exists already
        is found by it.
        """
        key = f"{self.run}-{number}"
        until = _now() + _PATIENCE_SECONDS
        while not self.stop.asked.is_set():
            try:
                return await self.load.ordered(number, key, {MARK: key})
            except failures.Unreachable as lost:
                if not lost.sent or _now() > until:
                    raise
                found = await self._found(key)  # waits for the gateway to come back
                if found is not None:
                    return found
                pause = self.away
            except failures.Refused as refused:
                if refused.word == "idempotency_key_reuse" and (found := await self._found(key)) is not None:
                    return found
                pause = refused.retry_after or self.away
                if refused.http_status == 429:
                    self._tell_busy(refused)
                    pause = refused.retry_after or _BUSY_SECONDS
                    until = _now() + pause + _PATIENCE_SECONDS  # that it is full is no moment of being away
                elif refused.http_status not in _LATER or _now() > until:
                    raise
            await self.stop.sleep(pause)
        return None

    async def _found(self, key: str) -> shapes.Job | None:
        """The job that carries this key, if there is one."""
        async for job in self.gateway.jobs({f"metadata[{MARK}]": key}, limit=1):
            return job
        return None

    def _tell_busy(self, refused: failures.Refused) -> None:
        if not self.told:
            self.told = True
            self.tell(f"The gateway takes no more jobs for now ({refused.message}); waiting until it does.")


def _now() -> float:
    return asyncio.get_running_loop().time()
