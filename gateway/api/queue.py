"""The queue as a whole: emptying it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from gateway.api import auth, body, parts, present
from gateway.api import errors as api_errors
from gateway.domain import errors, model
from gateway.domain.states import JobStatus

router = APIRouter(tags=["queue"])


class QueueCancel(body.RequestBody):
    """Whose queue ends, and whether what runs ends with it."""

    tenant: Annotated[str, Field(max_length=100)] | None = Field(
        default=None, description="Another tenant's queue; needs an admin's key. Default: the caller's own."
    )
    all_tenants: bool = Field(default=False, description="Everybody's queue; needs an admin's key.")
    running: bool = Field(default=False, description="Ask what runs to stop, too.")


class QueueCanceled(BaseModel):
    """How many jobs this met."""

    canceled: int = Field(description="Queued jobs that ended at once.")
    canceling: int = Field(description="Running jobs that were asked to stop.")


@router.post(
    "/v1/queue/cancel",
    operation_id="cancelQueue",
    summary="Cancel everything that is queued",
    response_model=QueueCanceled,
    responses=api_errors.documented(413),
    openapi_extra=body.documented(QueueCancel, example={}, required=False),
)
async def cancel_queue(request: Request, known: parts.PartsDep, caller: auth.CallerDep) -> Response:
    """Ends every job that is queued at this moment: the caller's, another tenant's, or everybody's. A job that a worker
    takes meanwhile is asked to stop. An empty body means the caller's own queue."""
    order = await body.read_object_if_any(request, QueueCancel, limit=known.limits.json_body)
    tenant = _whose(order, caller)
    canceled = asked = 0
    async for chunk in known.store.jobs.cancel_queued(tenant, now=known.clock(), running=order.running):
        announce(known, chunk)
        stopped = sum(1 for each in chunk if each.status is JobStatus.CANCELED)
        canceled += stopped
        asked += len(chunk) - stopped
    return present.answer(QueueCanceled(canceled=canceled, canceling=asked))


def _whose(order: QueueCancel, caller: auth.Caller) -> model.TenantId | None:
    """The tenant whose queue is meant, None for all; Forbidden, InvalidRequest."""
    if order.all_tenants:
        caller.must_be_admin("cancel other tenants' jobs")
        if order.tenant is not None:
            fault = errors.Fault(
                reason="invalid_value", message="`tenant` and `all_tenants` exclude each other", field="tenant"
            )
            raise errors.InvalidRequest(fault.message, faults=[fault])
        return None
    if order.tenant is None or order.tenant == caller.tenant:
        return caller.tenant
    caller.must_be_admin("cancel other tenants' jobs")
    return model.TenantId(order.tenant)


def announce(known: parts.Parts, canceled: Sequence[model.Canceled]) -> None:
    """Tell followers, and dispatch what it has to stop."""
    for each in canceled:
        known.bus.publish(each.job_id, model.StatusChanged(status=each.status))
        if each.status is JobStatus.CANCELING:
            known.bus.signal(model.CancelAsked(job_id=each.job_id, attempt_id=each.attempt_id))
