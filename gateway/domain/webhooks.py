"""Webhooks: what a client asks to be told about its job, and what may be asked. Pure.

The wire is Standard Webhooks (https://www.standardwebhooks.com): three headers and an HMAC over id, time and body.
"""

from __future__ import annotations

import base64
import binascii
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.domain import errors
from gateway.domain.states import Edge

LONGEST_URL: Final = 2048
SECRET_BYTES: Final = (16, 64)  #: of a `whsec_` secret once it is decoded
SECRET_CHARACTERS: Final = (16, 256)  #: of any other
_PREFIX: Final = "whsec_"
_NO_URL: Final = "is no http(s) URL, as in https://example.com/hooks/comfy"


class EventType(StrEnum):
    """What a webhook can tell about a job."""

    STARTED = "job.started"  #: a worker took it; again for each try
    OUTPUT = "job.output"  #: one of its outputs is there
    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELED = "job.canceled"
    EXPIRED = "job.expired"  #: it waited in the queue for too long
    PROGRESS = "job.progress"  #: only when asked for; neither stored nor tried again


#: What is told when nobody says what to tell.
STORED: Final = frozenset(EventType) - {EventType.PROGRESS}

_OF_EDGE: Final[Mapping[Edge, EventType]] = types.MappingProxyType(
    {
        Edge.CLAIM: EventType.STARTED,
        Edge.SUCCEED: EventType.SUCCEEDED,
        Edge.FAIL: EventType.FAILED,
        Edge.REFUSE: EventType.FAILED,
        Edge.CANCEL: EventType.CANCELED,
        Edge.CONFIRM_CANCEL: EventType.CANCELED,
        Edge.EXPIRE: EventType.EXPIRED,
    }
)


def event_of(edge: Edge) -> EventType | None:
    """What a webhook is told when a job follows this edge; None: nothing."""
    return _OF_EDGE.get(edge)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where to tell what about a job. `secret` None: the gateway's own signs."""

    url: str
    events: frozenset[EventType] = STORED
    secret: str | None = field(default=None, repr=False)
    base: str = ""  #: the gateway as the client reached it, for links in what is told

    @property
    def host(self) -> str:
        """Who is told, as bounds per host count."""
        return host_of(self.url)

    def as_dict(self) -> dict[str, Any]:
        """As it is stored."""
        return {"url": self.url, "events": sorted(self.events), "secret": self.secret, "base": self.base}

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Webhook:
        """What `as_dict` wrote."""
        events = frozenset(EventType(event) for event in value["events"])
        return cls(url=value["url"], events=events, secret=value["secret"], base=value["base"])


def host_of(url: str) -> str:
    """`host:port` of an http(s) URL."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{(parts.hostname or '').lower()}:{port}"


def ordered(
    url: str, events: Iterable[str] | None, secret: str | None, *, base: str = "", field_name: str = "webhook"
) -> Webhook:
    """The webhook that these words ask for; InvalidRequest with everything that is wrong with them."""
    faults: list[errors.Fault] = []
    if wrong := _url_fault(url):
        faults.append(_fault(f"{field_name}.url", wrong))
    known: set[EventType] = set()
    for word in events if events is not None else STORED:
        event = _event(word)
        if event is None:
            faults.append(_fault(f"{field_name}.events", f"{word[:40]!r} is none of {', '.join(EventType)}"))
        else:
            known.add(event)
    if events is not None and not known and not faults:
        faults.append(_fault(f"{field_name}.events", "name at least one event, or leave it out for all"))
    if secret is not None and (wrong := secret_fault(secret)):
        faults.append(_fault(f"{field_name}.secret", wrong))
    if faults:
        raise errors.InvalidRequest("; ".join(fault.message for fault in faults), faults=faults)
    return Webhook(url=url, events=frozenset(known), secret=secret, base=base)


def _fault(place: str, message: str) -> errors.Fault:
    return errors.Fault(reason="invalid_value", message=f"`{place}`: {message}", field=place)


def _event(word: str) -> EventType | None:
    """The event of this name; `job.` may be left out."""
    name = word if word.startswith("job.") else f"job.{word}"
    return EventType(name) if name in list(EventType) else None


def _url_fault(url: str) -> str | None:
    """What is wrong with a URL to POST to. Whether its address may be reached is seen when it is."""
    if len(url) > LONGEST_URL:
        return f"has more than {LONGEST_URL} characters"
    if not url.isprintable() or " " in url:
        return "holds spaces or control characters"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return _NO_URL
    if not usable:
        return _NO_URL
    if parts.username is not None or parts.password is not None:
        return "holds a user name; the signature tells who sends it"
    if parts.fragment:
        return "has a fragment (#…), which no server sees"
    return None


def secret_fault(secret: str) -> str | None:
    """What is wrong with a secret; None when it can sign."""
    try:
        key = key_of(secret)
    except ValueError:
        return f"is no base64 after `{_PREFIX}`"
    least, most = SECRET_BYTES if secret.startswith(_PREFIX) else SECRET_CHARACTERS
    if not least <= len(key) <= most:
        unit = "bytes after decoding" if secret.startswith(_PREFIX) else "bytes"
        return f"has {len(key)} {unit}; {least} to {most} are taken"
    return None


def key_of(secret: str) -> bytes:
    """The bytes that sign: what follows `whsec_` decoded, any other secret as it is; ValueError."""
    if not secret.startswith(_PREFIX):
        return secret.encode()
    encoded = secret.removeprefix(_PREFIX)
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError("this is no base64") from error


def secret_of(key: bytes) -> str:
    """A secret in the form that `key_of` reads."""
    return _PREFIX + base64.b64encode(key).decode()
