"""Webhooks as orders ask for them, and what they are told."""

from __future__ import annotations

import dataclasses
from typing import Final
from urllib.parse import urlsplit

import orjson
from fastapi import Request
from pydantic import BaseModel, Field, SecretStr

from gateway.api import auth, body, links, parts, present
from gateway.domain import deliveries, errors, model, targets, webhooks
from gateway.domain.states import JobStatus
from gateway.domain.webhooks import EventType

_EVENTS: Final = ", ".join(f"`{event}`" for event in EventType)


class WebhookOrder(body.RequestBody):
    """Where to tell what happens to the job."""

    url: str = Field(
        max_length=webhooks.LONGEST_URL,
        description="http(s) URL that takes POSTs.",
        examples=["https://app.example/hooks/comfy"],
    )
    events: list[str] | None = Field(
        default=None, max_length=20, description=f"Of {_EVENTS}; all but progress when left out."
    )
    secret: SecretStr | None = Field(
        default=None,
        description="Signs what is sent: `whsec_` and base64 of 16 to 64 bytes, or 16 to 256 bytes of text. "
        "The gateway's own when left out. It is never shown again.",
    )


class HookedRequest(body.RequestBody):
    """Base of orders that may ask for a webhook."""

    webhook: WebhookOrder | None = Field(
        default=None, description="Told about each job. Left out, the key's own; null: none."
    )

    def hook(self, request: Request, known: parts.Parts, caller: auth.Caller) -> webhooks.Webhook | None:
        """The webhook of the order's jobs; InvalidRequest."""
        base = links.of(request, known).absolute("")
        if self.webhook is None:
            inherited = None if "webhook" in self.model_fields_set else caller.webhook
            return None if inherited is None else dataclasses.replace(inherited, base=base)
        secret = None if self.webhook.secret is None else self.webhook.secret.get_secret_value()
        hook = webhooks.ordered(self.webhook.url, self.webhook.events, secret, base=base)
        refuse_address(hook.url, known.targets)
        return hook


def refuse_address(url: str, allowed: targets.Targets) -> None:
    """InvalidRequest for an address that nothing will be sent to. Names are judged when they are connected to."""
    address = targets.literal(urlsplit(url).hostname or "")
    refusal = None if address is None else allowed.refusal(address)
    if refusal is not None:
        message = f"`webhook.url`: {refusal}; the operator may allow it with `webhooks.allow_private`"
        fault = errors.Fault(reason="address_not_allowed", message=message, field="webhook.url")
        raise errors.InvalidRequest(message, faults=[fault])


def event_body(known: parts.Parts, hook: webhooks.Webhook, delivery: deliveries.Delivery, job: model.Job) -> bytes:
    """What a delivery tells: the job as the event left it, or the output. OutputUnavailable when that is gone."""
    presenter = _presenter(known, hook)
    if delivery.type is EventType.OUTPUT:
        made = next((output for output in job.outputs if output.asset.id == delivery.data.get("asset")), None)
        if made is None:
            raise errors.OutputUnavailable("The output that it tells of is not kept any more.")
        return _body(delivery.type, delivery.at, presenter.output(made, job.id))
    if delivery.type is EventType.STARTED:
        job = dataclasses.replace(
            job,
            status=JobStatus.RUNNING,
            worker=delivery.data.get("worker", job.worker),
            started_at=delivery.at,
            completed_at=None,
            execution_ms=None,
            outputs=(),
            outputs_reused=False,
            error=None,
        )
    return _body(delivery.type, delivery.at, presenter.job(job))


def progress_body(known: parts.Parts, hook: webhooks.Webhook, job: model.Job, at: float) -> bytes:
    """How far a job is: the job with its latest progress."""
    return _body(EventType.PROGRESS, at, _presenter(known, hook).job(job))


def _presenter(known: parts.Parts, hook: webhooks.Webhook) -> present.Presenter:
    return present.Presenter(known, links.at(known.public_url or hook.base))


def _body(event: EventType, at: float, data: BaseModel) -> bytes:
    head = orjson.dumps({"type": event, "timestamp": present.time(at)})
    return head[:-1] + b',"data":' + data.model_dump_json(exclude_unset=True).encode() + b"}"
