"""Routes that are called with every job, without what the framework does around an endpoint.

Resolving parameters as dependencies, exit stacks and the check of the answer cost more than the gateway's own work on
such a request. A plain route is documented like any other one; its endpoint takes the request alone, reads from it what
it needs, and answers with a Response. Its errors are answered where all are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]


class Route(APIRoute):
    """`APIRouter(route_class=Route)`: endpoints of the form `async def name(request) -> Response`."""

    def __init__(self, path: str, endpoint: Endpoint, **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.app = _app(endpoint)


def _app(endpoint: Endpoint) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)

    return app
