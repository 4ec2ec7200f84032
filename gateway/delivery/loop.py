"""The loop that delivers: claims what is due, sends it, writes what came of it.

Deliveries are claimed by compare-and-set under a lease that outlasts the try, so of several gateways on one database
one sends each. A process that dies leaves its leases behind: its next boot, or any gateway once they ran out, sends
those again under the same id. The store gives out only the first pending delivery of each job, which keeps the order.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from gateway import ports
from gateway.delivery import bounds, messages, metrics, posting, progress
from gateway.domain import deliveries, errors, model, webhooks
from gateway.domain.deliveries import DeliveryStatus

_log = structlog.get_logger("gateway.delivery")
_OUTCOMES = {
    DeliveryStatus.DELIVERED: "delivered",
    DeliveryStatus.PENDING: "failed",
    DeliveryStatus.DEAD: "dead",
}

#: The body that tells an event of a job, as the job is now. OutputUnavailable when what it tells of is gone.
Render = Callable[[webhooks.Webhook, deliveries.Delivery, model.Job], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ties:
    """What delivering works with; the composition root puts it together."""

    deliveries: ports.Deliveries
    jobs: ports.Jobs
    bus: ports.Bus
    outgoing: ports.Outgoing
    signer: messages.Signer
    render: Render
    render_progress: progress.Render
    metrics: metrics.Metrics
    clock: ports.Clock
    new_id: ports.NewId
    chance: Callable[[], float]  #: a random number of 0..1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Bounds and times, in seconds."""

    owner: str  #: the same for all boots of this gateway
    timeout: float = 15.0  #: of one try
    margin: float = 30.0  #: by which a lease outlasts it
    at_once: int = 64
    per_host: int = 8
    look_again: float = 1.0  #: for what became due, and for what others have written
    grace: float = 5.0  #: for what is under way at the end
    keep: float = 7 * 86400.0  #: deliveries that ended
    sweep: float = 300.0  #: between two looks for what is older
    progress_interval: float = 5.0


class Deliverer:
    """Sends what is owed."""

    def __init__(self, ties: Ties, options: Options) -> None:
        self._ties = ties
        self._options = options
        self._bounds = bounds.Bounds(at_once=options.at_once, per_host=options.per_host)
        self._post = posting.Post(
            outgoing=ties.outgoing,
            signer=ties.signer,
            bounds=self._bounds,
            clock=ties.clock,
            timeout=options.timeout,
        )
        self._changed = asyncio.Event()  #: something may be due, or there is room again
        self._swept_at = float("-inf")
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Deliver, for ever. Cancelled, it lets what is under way end within the time of grace."""
        async with asyncio.TaskGroup() as group:
            hearing = group.create_task(self._hear(group))
            try:
                while True:
                    while await self._send_due(group):
                        pass
                    await self._sweep()
                    await self._until_changed()
            finally:
                hearing.cancel()
                if self._sending:
                    await asyncio.wait(self._sending, timeout=self._options.grace)

    async def _until_changed(self) -> None:
        """Wait until there may be something to send; after a while there may be in any case."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.look_again):
                await self._changed.wait()
        self._changed.clear()

    async def _hear(self, group: asyncio.TaskGroup) -> None:
        """Wake the loop for what this process has written, and follow jobs whose progress is wanted."""
        follower = progress.Follower(
            jobs=self._ties.jobs,
            bus=self._ties.bus,
            post=self._post,
            render=self._ties.render_progress,
            metrics=self._ties.metrics,
            bounds=self._bounds,
            clock=self._ties.clock,
            new_id=self._ties.new_id,
            interval=self._options.progress_interval,
        )
        while True:
            for heard in await self._ties.deliveries.rung():
                group.create_task(follower.follow(heard))
            self._changed.set()

    async def _send_due(self, group: asyncio.TaskGroup) -> bool:
        """Begin to send what is due and has room; whether there was anything."""
        if self._bounds.room <= 0:
            return False
        try:
            due = await self._ties.deliveries.claim(
                owner=self._options.owner,
                now=self._ties.clock(),
                seconds=self._options.timeout + self._options.margin,
                full=self._bounds.full,
                choose=self._bounds.choose,
            )
        except errors.StoreUnavailable as error:
            _log.warning("store_unavailable", reason=error.message)
            return False
        for delivery in due:
            self._bounds.take(delivery.host)
            task = group.create_task(self._deliver(delivery))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return bool(due)

    async def _deliver(self, delivery: deliveries.Delivery) -> None:
        """One try of one delivery."""
        try:
            verdict = await self._verdict(delivery)
            now = self._ties.clock()
            written = await self._ties.deliveries.finish(delivery, verdict, now=now)
        except errors.StoreUnavailable as error:  # its lease runs out, and it is sent again
            _log.warning("store_unavailable", delivery=delivery.id, reason=error.message)
            return
        finally:
            self._bounds.leave(delivery.host)
            self._changed.set()
        self._tell(delivery, verdict, written=written)

    def _tell(self, delivery: deliveries.Delivery, verdict: deliveries.Verdict, *, written: bool) -> None:
        outcome = _OUTCOMES[verdict.status]
        self._ties.metrics.tried(outcome)
        about = {"delivery": delivery.id, "job": delivery.job_id, "type": delivery.type, "host": delivery.host}
        if verdict.status is DeliveryStatus.DELIVERED:
            _log.info("webhook_delivered", **about, tries=delivery.tries, written=written)
        else:
            _log.warning(f"webhook_{outcome}", **about, tries=delivery.tries, reason=verdict.error)

    async def _verdict(self, delivery: deliveries.Delivery) -> deliveries.Verdict:
        """Send it, and what that came to."""
        try:
            answer = await self._send(delivery)
        except (errors.NotFound, errors.Conflict) as error:  # what it tells of is gone: no other try would find it
            return deliveries.Verdict(status=DeliveryStatus.DEAD, error=error.message)
        except errors.StoreUnavailable:
            raise
        except errors.GatewayError as error:
            return self._again(delivery, error.message)
        except Exception:  # noqa: BLE001 - around a delivery: what breaks one must not stop the others
            _log.exception("webhook_broke", delivery=delivery.id)
            return self._again(delivery, "The gateway could not send it; its log says why.")
        return deliveries.judge(delivery, answer, now=self._ties.clock(), chance=self._ties.chance())

    def _again(self, delivery: deliveries.Delivery, why: str) -> deliveries.Verdict:
        return deliveries.again(delivery, why, now=self._ties.clock(), chance=self._ties.chance())

    async def _send(self, delivery: deliveries.Delivery) -> deliveries.Answer:
        job = await self._ties.jobs.get(delivery.tenant, delivery.job_id)
        if job.webhook is None:
            raise errors.Conflict("The job has no webhook any more.")
        body = self._ties.render(job.webhook, delivery, job)
        return await self._post.send(job.webhook, message_id=delivery.id, body=body)

    async def _sweep(self) -> None:
        """Forget deliveries that ended long ago."""
        now = self._ties.clock()
        if now - self._swept_at < self._options.sweep:
            return
        self._swept_at = now
        try:
            while await self._ties.deliveries.forget(ended_before=now - self._options.keep):
                pass
        except errors.StoreUnavailable as error:
            _log.warning("store_unavailable", reason=error.message)
