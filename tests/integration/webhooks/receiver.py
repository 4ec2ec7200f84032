"""A receiver of webhooks over a real socket: it answers as it is told, and keeps what it got."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """A request that came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)

    @property
    def type(self) -> str:
        """The event that it tells."""
        return str(self.json["type"])

    @property
    def id(self) -> str:
        """Its `webhook-id`."""
        return self.headers["webhook-id"]


@dataclass(slots=True, kw_only=True)
class Receiver:
    """What came, and how it is answered."""

    url: str
    got: list[Got] = field(default_factory=list[Got])
    answers: list[int | Mapping[str, Any]] = field(default_factory=list[int | Mapping[str, Any]])  #: then 204
    hold: asyncio.Event = field(default_factory=asyncio.Event)  #: cleared: nothing is answered
    at_once: int = 0
    most_at_once: int = 0
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self.hold.set()

    @property
    def types(self) -> list[str]:
        """The events in the order in which they came."""
        return [each.type for each in self.got]

    async def until(self, enough: Callable[[Sequence[Got]], bool], *, seconds: float = 20.0) -> Sequence[Got]:
        """Wait until what came is enough."""
        async with asyncio.timeout(seconds), self._came:
            await self._came.wait_for(lambda: enough(self.got))
        return self.got

    async def count(self, number: int) -> Sequence[Got]:
        """Wait until so many came."""
        return await self.until(lambda got: len(got) >= number)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Take a request."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        async with self._came:
            self.got.append(Got(path=request.path_qs, headers=headers, body=body))
            self._came.notify_all()
        try:
            await self.hold.wait()
        finally:
            self.at_once -= 1
        told = self.answers.pop(0) if self.answers else 204
        return web.Response(status=told) if isinstance(told, int) else web.Response(**told)


@contextlib.asynccontextmanager
async def receiving(host: str = "127.0.0.1", *, port: int = 0) -> AsyncGenerator[Receiver]:
    """A receiver on a free port of an address of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        at = listener.getsockname()[1]
        receiver = Receiver(url=f"http://[{host}]:{at}/hook" if ":" in host else f"http://{host}:{at}/hook")
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", receiver.answer)
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.SockSite(runner, listener).start()
            yield receiver
        finally:
            receiver.hold.set()
            await runner.cleanup()
