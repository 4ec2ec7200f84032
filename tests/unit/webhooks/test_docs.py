"""The receivers that docs/how-to/webhooks.md shows take what we sign, and nothing else."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks

from gateway import delivery
from gateway.domain import webhooks

PAGE = Path(__file__).parents[3] / "docs/how-to/webhooks.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"type":"job.succeeded","data":{"prompt":"Füchse 🦊"}}'.encode()

Take = Callable[..., tuple[str, Any]]


@pytest.fixture(params=BLOCKS, ids=["with the package", "without"])
def take(request: pytest.FixtureRequest) -> Take:
    """A receiver of the page."""
    names: dict[str, Any] = {}
    exec(request.param, names)
    return names["take"]


def signed(secret: str = SECRET, *, now: float | None = None) -> Mapping[str, str]:
    signer = delivery.Signer(secret=secret, agent="test")
    hook = webhooks.Webhook(url="https://a.example")
    message = signer.message(hook, message_id="msg_1_2", body=BODY, now=time.time() if now is None else now)
    assert message.body == BODY
    return message.headers


def test_there_are_two() -> None:
    assert len(BLOCKS) == 2


def test_what_is_ours_is_taken(take: Take) -> None:
    assert take(signed(), BODY) == ("job.succeeded", {"prompt": "Füchse 🦊"})


def test_what_is_not_ours_is_refused(take: Take) -> None:
    wrong = (ValueError, standardwebhooks.WebhookVerificationError)
    with pytest.raises(wrong):
        take(signed("whsec_" + "QUJD" * 8), BODY)
    with pytest.raises(wrong):
        take(signed(), BODY.replace(b"succeeded", b"failed"))
    with pytest.raises(wrong):
        take(signed(now=time.time() - 3600), BODY)
    with pytest.raises(wrong):
        take({**signed(), "webhook-id": "msg_1_3"}, BODY)


def test_a_webhooks_own_secret_wins() -> None:
    signer = delivery.Signer(secret=SECRET, agent="test")
    hook = webhooks.Webhook(url="https://a.example", secret="a plain passphrase")
    message = signer.message(hook, message_id="msg_1_2", body=BODY, now=time.time())
    standardwebhooks.Webhook(b"a plain passphrase").verify(message.body, dict(message.headers))
    assert message.headers["content-type"] == "application/json"
