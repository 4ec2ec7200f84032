"""Webhook deliveries: what was told, what is still owed, what was given up, and telling it again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from gateway.api import auth, links, parts, present, schemas
from gateway.api import errors as api_errors
from gateway.domain import deliveries, errors, model
from gateway.domain.deliveries import DeliveryStatus
from gateway.domain.webhooks import EventType

router = APIRouter(tags=["webhooks"])

_ID = "msg_0198c3b2-7d1e-7c3a-9a55-2f6d1b0c4e11_3"


class DeliveryUrls(BaseModel):
    """Follow-up links, host-relative with any mount prefix."""

    self: schemas.UriReference
    job: schemas.UriReference
    redeliver: schemas.UriReference


class Delivery(BaseModel):
    """One POST that is owed to a webhook, or was."""

    id: str = Field(description="Its `webhook-id`, the same for every try.", examples=[_ID])
    job_id: str
    type: EventType
    status: DeliveryStatus
    url: str
    created_at: schemas.Time
    tries: int
    tried_at: schemas.Time | None
    next_try_at: schemas.Time | None = Field(description="Not before this; null once it has ended.")
    response_status: int | None = Field(description="HTTP status of the latest answer; null when there was none.")
    error: str | None = Field(description="Why the latest try failed, or why it was given up.")
    ended_at: schemas.Time | None
    urls: DeliveryUrls


class DeliveryList(BaseModel):
    """One page of deliveries, newest first; `next_cursor` is absent on the last one."""

    deliveries: list[Delivery]
    next_cursor: str | None = None


DeliveryId = Annotated[str, Path(description="The delivery's id.", max_length=200, examples=[_ID])]


def _present(delivery: deliveries.Delivery, links_: links.Links) -> Delivery:
    link = links_.path(f"/v1/webhooks/deliveries/{delivery.id}")
    pending = delivery.status is DeliveryStatus.PENDING
    return Delivery(
        id=delivery.id,
        job_id=delivery.job_id,
        type=delivery.type,
        status=delivery.status,
        url=delivery.url,
        created_at=present.time(delivery.at),
        tries=delivery.tries,
        tried_at=present.time_or_none(delivery.tried_at),
        next_try_at=present.time(delivery.due) if pending else None,
        response_status=delivery.answer,
        error=delivery.error,
        ended_at=present.time_or_none(delivery.ended_at),
        urls=DeliveryUrls(self=link, job=links_.path(f"/api/v2/jobs/{delivery.job_id}"), redeliver=f"{link}/redeliver"),
    )


@router.get(
    "/v1/webhooks/deliveries",
    operation_id="listWebhookDeliveries",
    summary="Webhook deliveries, newest first",
    response_model=DeliveryList,
    responses=api_errors.documented(),
)
async def list_deliveries(
    *,
    known: parts.PartsDep,
    caller: auth.CallerDep,
    links: links.LinksDep,
    job: Annotated[str | None, Query(description="Only those about this job.", max_length=100)] = None,
    status: Annotated[str | None, Query(description="`pending`, `delivered`, `dead`; several with commas.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: Annotated[
        str | None, Query(description="`next_cursor` of the page before.", json_schema_extra={"minLength": 1})
    ] = None,
) -> Response:
    """One page of the caller's; follow `next_cursor` until it is absent. `status=dead` shows what was given up."""
    want = deliveries.DeliveryFilter(
        job_id=None if job is None else model.JobId(job.lower()), statuses=_statuses_of(status)
    )
    page = await known.store.deliveries.page(caller.tenant, want, limit=limit, cursor=cursor)
    shape = DeliveryList(deliveries=[_present(each, links) for each in page.deliveries])
    if page.next_cursor is not None:
        shape.next_cursor = page.next_cursor
    return present.answer(shape)


def _statuses_of(text: str | None) -> frozenset[DeliveryStatus]:
    words = [word.strip() for word in (text or "").split(",") if word.strip()]
    known = list(DeliveryStatus)
    faults = [
        errors.Fault(reason="unknown_status", message=f"{word[:40]!r} is none of {', '.join(known)}", field="status")
        for word in words
        if word not in known
    ]
    if faults:
        raise errors.InvalidRequest("; ".join(fault.message for fault in faults), faults=faults)
    return frozenset(map(DeliveryStatus, words))


@router.get(
    "/v1/webhooks/deliveries/{id}",
    operation_id="getWebhookDelivery",
    summary="One webhook delivery",
    response_model=Delivery,
    responses=api_errors.documented(404),
)
async def get_delivery(
    known: parts.PartsDep,
    caller: auth.CallerDep,
    links: links.LinksDep,
    id: DeliveryId,  # noqa: A002
) -> Response:
    """How it stands: tries, the latest answer, the next try."""
    return present.answer(_present(await known.store.deliveries.get(caller.tenant, id), links))


@router.post(
    "/v1/webhooks/deliveries/{id}/redeliver",
    operation_id="redeliverWebhook",
    summary="Tell it again",
    status_code=202,
    response_model=Delivery,
    responses=api_errors.documented(404, 409),
)
async def redeliver(
    known: parts.PartsDep,
    caller: auth.CallerDep,
    links: links.LinksDep,
    id: DeliveryId,  # noqa: A002
) -> Response:
    """Owes it anew, under the same id and with a fresh schedule of tries; one that is pending is tried at once.

    409 when its job is past its retention.
    """
    delivery = await known.store.deliveries.redeliver(caller.tenant, id, now=known.clock())
    return present.answer(_present(delivery, links), 202)
