"""What every request passes first: strangers' web pages are refused, HEAD works wherever GET does.

A page on another site can make a browser send requests to a gateway on the same machine or network. Requests that
change something are refused when their Origin is neither ours nor allowed. A gateway on loopback without keys also
refuses host names that a stranger's DNS could have pointed at it; IP addresses, `localhost` and names without a dot
cannot be that.
"""

from __future__ import annotations

import functools
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api import auth
from gateway.api import errors as api_errors
from gateway.domain import errors

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_HEAD_ONLY = "/api/v2/assets/by-hash/"


class Guard:
    """Lets requests of our own pages and of programs through, and evens out HEAD and trailing slashes."""

    def __init__(self, app: ASGIApp, *, access: auth.Access, public_url: str | None) -> None:
        self._app = app
        self._access = access
        self._public = urlsplit(public_url or "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope["method"], Headers(scope=scope))
        except errors.Forbidden as error:
            await api_errors.answer_for(error)(scope, receive, send)
            return
        path = scope["path"]
        if len(path) > 1 and path.endswith("/"):
            scope = {**scope, "path": path[:-1]}
        if scope["method"] == "HEAD" and not path.startswith(_HEAD_ONLY):
            await _head(self._app, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check(self, method: str, headers: Headers) -> None:
        host = headers.get("host", "")
        if self._access.guard_hosts and not self._is_local(_name(host)):
            raise errors.Forbidden(
                f"the host name {_name(host)[:80]!r} is not one of this gateway's; set its public URL to allow it"
            )
        origin = headers.get("origin")
        if origin is None or method in _SAFE or origin in self._access.origins:
            return
        if urlsplit(origin).netloc not in {host, self._public.netloc} - {""}:
            raise errors.Forbidden(f"web pages of {origin[:80]!r} may not change anything here")

    def _is_local(self, name: str) -> bool:
        if not name or "." not in name or name.endswith(".localhost") or name == self._public.hostname:
            return True
        return _is_address(name)


@functools.lru_cache(maxsize=64)
def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _name(host: str) -> str:
    """The host name of a Host header, without port and brackets."""
    if host.startswith("["):
        return "127.0.0.1"  # an IPv6 address: no name at all
    return host.partition(":")[0].lower()


class _Enough(Exception):
    """The headers of an answer to HEAD are out; its body is not wanted."""


async def _head(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer HEAD with the headers that GET would have; whatever makes the body is stopped."""

    async def headers_only(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            raise _Enough

    try:
        await app({**scope, "method": "GET"}, receive, headers_only)
    except _Enough:
        pass
    except BaseExceptionGroup as group:
        if group.split(_Enough)[1] is not None:
            raise
