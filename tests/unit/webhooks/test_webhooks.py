"""What may be asked of a webhook, and what an answer means: tables."""

from __future__ import annotations

import base64

import pytest

from gateway.domain import deliveries, errors, model, webhooks
from gateway.domain.deliveries import LONGEST, SCHEDULE, DeliveryStatus
from gateway.domain.states import EDGES, TERMINAL
from gateway.domain.webhooks import EventType

KEY = bytes(range(24))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


def test_every_end_of_a_job_is_an_event() -> None:
    for (_, edge), after in EDGES.items():
        event = webhooks.event_of(edge)
        if after in TERMINAL:
            assert event == f"job.{after}"
    assert EventType.PROGRESS not in webhooks.STORED


def test_what_is_ordered_survives_the_store() -> None:
    for hook in (
        webhooks.ordered("https://a.example/x?y=1", None, None),
        webhooks.ordered("http://a.example:8080", ["succeeded", "job.progress"], SECRET, base="http://here/comfy"),
    ):
        assert webhooks.Webhook.of(hook.as_dict()) == hook
    assert hook.events == {EventType.SUCCEEDED, EventType.PROGRESS}
    assert SECRET not in repr(hook)


@pytest.mark.parametrize(
    ("url", "host"),
    [("https://A.example/x", "a.example:443"), ("http://a.example:81", "a.example:81"), ("http://[::1]/", "::1:80")],
)
def test_hosts_are_counted_with_their_port(url: str, host: str) -> None:
    assert webhooks.host_of(url) == host


@pytest.mark.parametrize(
    "url",
    [
        *("", "example.com", "ftp://example.com/", "http://", "http://:80/", "http://a.example:99999/", "file:///x"),
        *("https://me:pw@a.example/", "https://a.example/#top", "http://a.example/ x", "http://a.example/\n"),
        *("http://[::1", "http://a.example:0/", "javascript:alert(1)", "https://a.example/" + "x" * 2048),
    ],
)
def test_urls_that_cannot_be_posted_to(url: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        webhooks.ordered(url, None, None)
    assert [fault.field for fault in caught.value.faults] == ["webhook.url"]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        webhooks.ordered("nowhere", ["job.ended", "started"], "short")
    assert [fault.field for fault in caught.value.faults] == ["webhook.url", "webhook.events", "webhook.secret"]
    with pytest.raises(errors.InvalidRequest):
        webhooks.ordered("https://a.example", [], None)


@pytest.mark.parametrize("secret", ["whsec_***", "whsec_", "whsec_c2hvcnQ=", "whsec_" + "A" * 200, "x" * 15, "x" * 300])
def test_secrets_that_are_none(secret: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        webhooks.ordered("https://a.example", None, secret)
    assert secret not in str(caught.value.details)


def test_what_a_secret_signs_with() -> None:
    assert webhooks.key_of(SECRET) == KEY
    assert webhooks.key_of(SECRET.rstrip("=")) == KEY
    assert webhooks.key_of("a plain passphrase") == b"a plain passphrase"
    assert webhooks.key_of(webhooks.secret_of(KEY)) == KEY


def owed(*, tries: int = 1, since: float = 0.0) -> deliveries.Delivery:
    return deliveries.Delivery(
        id=deliveries.DeliveryId("msg_1_2"),
        job_id=model.JobId("1"),
        seq=2,
        tenant=model.DEFAULT_TENANT,
        type=EventType.SUCCEEDED,
        at=0.0,
        url="https://a.example",
        host="a.example:443",
        since=since,
        due=since,
        tries=tries,
    )


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_two_hundred_is_delivered(status: int) -> None:
    verdict = deliveries.judge(owed(), deliveries.Answer(status=status), now=1.0, chance=0.5)
    assert (verdict.status, verdict.answer, verdict.error) == (DeliveryStatus.DELIVERED, status, None)


def test_gone_is_the_end() -> None:
    verdict = deliveries.judge(owed(), deliveries.Answer(status=410, retry_after=5.0), now=1.0, chance=0.5)
    assert (verdict.status, verdict.gone, verdict.answer) == (DeliveryStatus.DEAD, True, 410)


@pytest.mark.parametrize("status", [301, 302, 308, 400, 401, 404, 429, 500, 503])
def test_anything_else_is_tried_again(status: int) -> None:
    verdict = deliveries.judge(owed(), deliveries.Answer(status=status), now=100.0, chance=0.5)
    assert (verdict.status, verdict.due, verdict.gone) == (DeliveryStatus.PENDING, 105.0, False)
    assert str(status) in (verdict.error or "")


def test_the_schedule_spans_a_day() -> None:
    for chance in (0.0, 0.5, 1.0):
        now = 0.0
        for tries in range(1, len(SCHEDULE)):
            verdict = deliveries.again(owed(tries=tries), "No answer.", now=now, chance=chance)
            assert verdict.status is DeliveryStatus.PENDING
            assert now < verdict.due
            now = verdict.due
        assert 0.9 * LONGEST <= now <= 1.1 * LONGEST
        last = deliveries.again(owed(tries=len(SCHEDULE)), "No answer.", now=now, chance=chance)
        assert (last.status, last.gone) == (DeliveryStatus.DEAD, False)
        assert last.error == "No answer. Given up after 10 tries."


def test_a_receiver_says_when_to_come_back() -> None:
    def due(retry_after: float) -> float:
        answer = deliveries.Answer(status=503, retry_after=retry_after)
        return deliveries.judge(owed(), answer, now=0.0, chance=0.5).due

    assert due(120.0) == 120.0
    assert due(1.0) == 5.0  # never sooner than the schedule
    assert due(1e9) == LONGEST  # and never later than its end


def test_what_waited_behind_others_for_a_day_still_gets_some_tries() -> None:
    late = LONGEST + 1
    outcomes = [deliveries.again(owed(tries=tries), "No.", now=late, chance=0.5).status for tries in (1, 2, 3)]
    assert outcomes == [DeliveryStatus.PENDING, DeliveryStatus.PENDING, DeliveryStatus.DEAD]
