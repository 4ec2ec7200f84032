"""One message as it goes over the wire: Standard Webhooks' three headers over a JSON body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import standardwebhooks

from gateway.domain import webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is posted."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Signs messages with their webhook's secret, or with the gateway's own."""

    secret: str
    agent: str  #: who we are, as `User-Agent`

    def message(self, hook: webhooks.Webhook, *, message_id: str, body: bytes, now: float) -> Message:
        """The message with this body."""
        key = webhooks.key_of(hook.secret or self.secret)
        moment = datetime.fromtimestamp(int(now), tz=UTC)
        signature = standardwebhooks.Webhook(key).sign(message_id, moment, body.decode())
        headers = {
            "content-type": "application/json",
            "user-agent": self.agent,
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now)),
            "webhook-signature": signature,
        }
        return Message(headers=headers, body=body)
