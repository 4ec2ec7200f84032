"""Deliveries: the POSTs that are owed for the events of jobs, and when to try again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NewType

from gateway.domain import model
from gateway.domain.webhooks import EventType

DeliveryId = NewType("DeliveryId", str)  #: `msg_<job>_<event>`: the `webhook-id`, the same for every try

#: Standard Webhooks' example schedule: seconds from the first try to each of the ten.
SCHEDULE: Final = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
LONGEST: Final = float(SCHEDULE[-1])
LEAST_TRIES: Final = 3  #: also of what had to wait behind others for longer than the whole schedule
SPREAD: Final = 0.2  #: of each wait, so that what failed together does not come back together


class DeliveryStatus(StrEnum):
    """How a delivery stands."""

    PENDING = "pending"  #: owed: waiting for its turn, for its next try, or under way
    DELIVERED = "delivered"
    DEAD = "dead"  #: given up; it can be delivered again by hand


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One webhook POST owed for one stored event."""

    id: DeliveryId
    job_id: model.JobId
    seq: int  #: of the event; deliveries of a job go in this order
    tenant: model.TenantId
    type: EventType
    at: float  #: when it happened
    url: str
    host: str
    status: DeliveryStatus = DeliveryStatus.PENDING
    since: float  #: when the schedule began: `at`, or when it was asked for again
    due: float  #: the next try, not before this
    tries: int = 0
    tried_at: float | None = None
    answer: int | None = None  #: HTTP status of the latest answer
    error: str | None = None  #: why the latest try failed, in plain words
    ended_at: float | None = None
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])  #: of the event


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """What a listing asks for; None means no restriction."""

    job_id: model.JobId | None = None
    statuses: frozenset[DeliveryStatus] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPage:
    """One page of a listing, newest first; `next_cursor` is None on the last."""

    deliveries: tuple[Delivery, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How deliveries stand, for metrics."""

    pending: int = 0
    dead: int = 0
    oldest: float | None = None  #: when what the oldest pending one tells happened


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a POST was answered. `retry_after` in seconds, where the receiver said when to come back."""

    status: int
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one try means. `due` is the next try's time of a pending one."""

    status: DeliveryStatus
    due: float = 0.0
    answer: int | None = None
    error: str | None = None
    gone: bool = False  #: the receiver wants nothing more about this job


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A job that began to run here and whose webhook wants its progress."""

    job_id: model.JobId
    tenant: model.TenantId


def judge(delivery: Delivery, answer: Answer, *, now: float, chance: float) -> Verdict:
    """What an answer means: 2xx is delivered, 410 ends it, anything else (redirects, too) is tried again."""
    if 200 <= answer.status < 300:
        return Verdict(status=DeliveryStatus.DELIVERED, answer=answer.status)
    if answer.status == 410:
        why = "The receiver answered 410 Gone: it wants nothing more."
        return Verdict(status=DeliveryStatus.DEAD, answer=410, error=why, gone=True)
    why = f"The receiver answered {answer.status}."
    if 300 <= answer.status < 400:
        why = f"The receiver answered {answer.status}; redirects are not followed."
    return again(delivery, why, now=now, chance=chance, answer=answer)


def again(delivery: Delivery, why: str, *, now: float, chance: float, answer: Answer | None = None) -> Verdict:
    """What a failed try means: the next one by the schedule, or the end of it. `chance` is 0..1."""
    status = answer.status if answer else None
    late = now - delivery.since >= LONGEST and delivery.tries >= LEAST_TRIES
    if late or delivery.tries >= len(SCHEDULE):
        return Verdict(status=DeliveryStatus.DEAD, answer=status, error=f"{why} Given up after {delivery.tries} tries.")
    gap = SCHEDULE[delivery.tries] - SCHEDULE[delivery.tries - 1]
    wait = gap * (1 - SPREAD / 2 + SPREAD * chance)
    if answer is not None and answer.retry_after is not None:
        wait = max(wait, min(answer.retry_after, LONGEST))
    return Verdict(status=DeliveryStatus.PENDING, due=now + wait, answer=status, error=why)
