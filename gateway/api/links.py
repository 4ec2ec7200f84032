"""Where clients find things: links are host-relative with the mount prefix, content URLs absolute."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from gateway.api import parts as parts_module

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """`origin` is scheme and authority as the client sees them, `prefix` the path we are mounted under."""

    origin: str
    prefix: str

    def path(self, path: str) -> str:
        """A host-relative link to one of our paths."""
        return self.prefix + path

    def absolute(self, path: str) -> str:
        """An absolute link to one of our paths."""
        return self.origin + self.prefix + path


def of(request: Request, parts: parts_module.Parts) -> Links:
    """The links for answers to this request: from the public URL, else from how the request reached us."""
    if parts.public_url is not None:
        return at(parts.public_url)
    return Links(origin=f"{request.scope['scheme']}://{_authority(request)}", prefix=request.scope.get("root_path", ""))


def at(url: str) -> Links:
    """The links of a gateway that clients reach at this URL."""
    scheme, _, rest = url.rstrip("/").partition("://")
    authority, slash, path = rest.partition("/")
    return Links(origin=f"{scheme}://{authority}", prefix=slash + path)


def _authority(request: Request) -> str:
    """The Host header, or our own address when it is absent or could not stand in a URL."""
    host = request.headers.get("host", "")
    if _HOST.fullmatch(host):
        return host
    server: tuple[str, int | None] = request.scope.get("server") or ("127.0.0.1", None)
    name = f"[{server[0]}]" if ":" in server[0] else server[0]
    return name if server[1] is None else f"{name}:{server[1]}"


async def _links(request: Request) -> Links:
    return of(request, parts_module.of(request))


LinksDep = Annotated[Links, Depends(_links)]
