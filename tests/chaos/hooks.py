"""A receiver of webhooks that now and then is away: what it was told is evidence, too."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from aiohttp import web

_ENDS: Final = frozenset({"job.succeeded", "job.failed", "job.canceled", "job.expired"})
_FAIL_EVERY: Final = 12  #: one message of so many is answered 503 the first time


@dataclass(slots=True)
class Receiver:
    """What came, by job: the ids of messages that told an end, with what they told."""

    url: str = ""
    ends: defaultdict[str, dict[str, str]] = field(default_factory=lambda: defaultdict[str, dict[str, str]](dict))
    came: Counter[str] = field(default_factory=Counter[str])  #: how often, by message id
    after_end: list[str] = field(default_factory=list[str])  #: jobs that something else was told of after their end

    async def take(self, request: web.Request) -> web.Response:
        """Take one message."""
        try:
            message, told = request.headers["webhook-id"], orjson.loads(await request.read())
        except ConnectionResetError:  # the gateway died while it told us
            return web.Response(status=400)
        self.came[message] += 1
        if self.came[message] == 1 and zlib.crc32(message.encode()) % _FAIL_EVERY == 0:
            return web.Response(status=503)
        self._note(message, told["type"], told["data"])
        return web.Response(status=204)

    def _note(self, message: str, kind: str, data: dict[str, Any]) -> None:
        job_id = data["job_id"] if kind == "job.output" else data["id"]
        if kind in _ENDS:
            self.ends[job_id][message] = kind.removeprefix("job.")
        elif self.came[message] == 1 and job_id in self.ends:
            self.after_end.append(f"{job_id}: {kind} after {next(iter(self.ends[job_id].values()))}")


@asynccontextmanager
async def receiving() -> AsyncGenerator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver()
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    receiver.url = f"http://{host}:{port}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()
