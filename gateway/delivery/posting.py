"""Posting one message: signed, bounded in time, and its receiver judged by how long it took."""

from __future__ import annotations

from dataclasses import dataclass

from gateway import ports
from gateway.delivery import bounds, messages
from gateway.domain import deliveries, errors, webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """Sends messages; whoever calls has taken a place of `bounds`."""

    outgoing: ports.Outgoing
    signer: messages.Signer
    bounds: bounds.Bounds
    clock: ports.Clock
    timeout: float

    async def send(self, hook: webhooks.Webhook, *, message_id: str, body: bytes) -> deliveries.Answer:
        """Sign it and POST it; TargetRefused, TargetUnreachable."""
        began = self.clock()
        message = self.signer.message(hook, message_id=message_id, body=body, now=began)
        try:
            answer = await self.outgoing.post(
                hook.url, headers=message.headers, body=message.body, seconds=self.timeout
            )
        except errors.TargetUnreachable:
            self.bounds.was_slow(hook.host)
            raise
        if self.clock() - began > bounds.SLOW_SECONDS:
            self.bounds.was_slow(hook.host)
        else:
            self.bounds.was_quick(hook.host)
        return answer
