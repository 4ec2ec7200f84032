"""Progress for those who asked for it: now and then, only the latest, neither stored nor tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from gateway import ports
from gateway.delivery import bounds, metrics, posting
from gateway.domain import deliveries, errors, model, states, webhooks

_log = structlog.get_logger("gateway.delivery")

#: The body that tells how far a job is at this time.
Render = Callable[[webhooks.Webhook, model.Job, float], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower:
    """Follows jobs that run here."""

    jobs: ports.Jobs
    bus: ports.Bus
    post: posting.Post
    render: Render
    metrics: metrics.Metrics
    bounds: bounds.Bounds
    clock: ports.Clock
    new_id: ports.NewId
    interval: float  #: at least so many seconds between two messages about one job

    async def follow(self, heard: deliveries.Heard) -> None:
        """Tell how far a job is until its attempt ends. One message at a time; what comes meanwhile is left out."""
        try:
            with self.bus.subscribe(heard.job_id) as news:  # before it is read, so that no end falls between
                job = await self.jobs.get(heard.tenant, heard.job_id)
                if job.webhook is not None and job.status in states.ACTIVE:
                    await self._tell_all(job, job.webhook, news)
        except errors.GatewayError as error:
            _log.warning("webhook_progress_ended", job=heard.job_id, reason=error.message)
        except Exception:  # noqa: BLE001 - as around any delivery: what breaks one must not stop the others
            _log.exception("webhook_broke", job=heard.job_id)

    async def _tell_all(self, job: model.Job, hook: webhooks.Webhook, news: ports.Subscription) -> None:
        told_at = float("-inf")
        while True:
            match await news.next():
                case model.StatusChanged(status=status) if status not in states.ACTIVE:
                    return
                case model.ProgressMade() if self.clock() - told_at >= self.interval and self.bounds.choose(
                    [hook.host]
                ):
                    await self._tell(job, hook)
                    told_at = self.clock()
                case _:
                    pass

    async def _tell(self, job: model.Job, hook: webhooks.Webhook) -> None:
        body = self.render(hook, job, self.clock())
        self.bounds.take(hook.host)
        try:
            await self.post.send(hook, message_id=f"msg_{self.new_id()}", body=body)
            self.metrics.tried("progress")
        except errors.TargetError as error:
            _log.debug("webhook_progress_failed", job=job.id, host=hook.host, reason=error.message)
        finally:
            self.bounds.leave(hook.host)
