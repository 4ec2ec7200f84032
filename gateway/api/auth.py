"""Who calls: static API keys, `Authorization: Bearer`.

Without keys everyone is the default tenant and an admin; the composition root refuses a public bind then. Keys are kept
as their SHA-256 only and compared in constant time, all of them each time.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from gateway.domain import errors, model, webhooks

_SCHEME = "bearer "


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever sent the request. An admin may change workers and touch what other tenants have queued."""

    tenant: model.TenantId
    admin: bool = False
    webhook: webhooks.Webhook | None = None  #: told about jobs that name none themselves

    def must_be_admin(self, what: str) -> None:
        """Forbidden unless this is an admin's key; `what` says what only an admin may do."""
        if not self.admin:
            raise errors.Forbidden(f"only an admin's key may {what}; `admin = true` in the settings makes one")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key that is allowed in, and whose it is."""

    digest: bytes
    tenant: model.TenantId
    admin: bool = False
    webhook: webhooks.Webhook | None = None

    @classmethod
    def of(
        cls,
        secret: str,
        *,
        tenant: model.TenantId = model.DEFAULT_TENANT,
        admin: bool = False,
        webhook: webhooks.Webhook | None = None,
    ) -> ApiKey:
        """The key with this secret."""
        digest = hashlib.sha256(secret.encode()).digest()
        return cls(digest=digest, tenant=tenant, admin=admin, webhook=webhook)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Which callers, browsers and host names are let in."""

    keys: tuple[ApiKey, ...] = ()
    #: Web origins (`https://app.example`) whose pages may call us, next to our own.
    origins: tuple[str, ...] = ()
    #: Refuse Host names that a stranger's DNS could have pointed here: for a gateway on loopback without keys.
    guard_hosts: bool = False

    def caller(self, authorization: str | None) -> Caller:
        """Who presents this Authorization header; Unauthorized."""
        if not self.keys:
            return Caller(tenant=model.DEFAULT_TENANT, admin=True)
        if authorization is None:
            raise errors.Unauthorized("this gateway needs an API key: send `Authorization: Bearer <key>`")
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise errors.Unauthorized("the Authorization header must be `Bearer <key>`")
        key = _matching(self.keys, authorization[len(_SCHEME) :].strip())
        if key is None:
            raise errors.Unauthorized("this API key is not known here")
        return Caller(tenant=key.tenant, admin=key.admin, webhook=key.webhook)

    def caller_if_any(self, authorization: str | None) -> Caller | None:
        """As `caller`, or None without an Authorization header where keys are needed: for signed URLs."""
        return None if self.keys and authorization is None else self.caller(authorization)


def _matching(keys: Iterable[ApiKey], secret: str) -> ApiKey | None:
    """The key with this secret; looks at every key, so that time tells nothing."""
    digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
    found: ApiKey | None = None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


def _access(request: Request) -> Access:
    return cast(Access, request.app.state.parts.access)


async def caller(request: Request) -> Caller:
    """The caller; Unauthorized when keys are configured and none of them is presented."""
    return _access(request).caller(request.headers.get("authorization"))


CallerDep = Annotated[Caller, Depends(caller)]
