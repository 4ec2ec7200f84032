"""What the supervisor answers on its unix socket: which local workers there are, and restarting one."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
from aiohttp import web

from gateway.supervisor import worker


@asynccontextmanager
async def answering(path: Path, workers: Sequence[worker.LocalWorker]) -> AsyncGenerator[None]:
    """Answer on `path`. Only our own user can connect: there is no other guard."""
    runner = web.AppRunner(_app(workers), access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.SockSite(runner, _bound(path)).start()
        yield
    finally:
        await runner.cleanup()
        _remove(path)


def _bound(path: Path) -> socket.socket:
    _remove(path)  # of a supervisor that was killed; the data directory is ours alone
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    mask = os.umask(0o177)
    try:
        bound.bind(str(path))
    finally:
        os.umask(mask)
    return bound


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _app(workers: Sequence[worker.LocalWorker]) -> web.Application:
    async def show(_: web.Request) -> web.Response:
        return _json([one.as_dict() for one in workers])

    async def restart(request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        reason = request.query.get("reason", "a person asked for it")
        for one in workers:
            if one.spec.id == wanted:
                one.restart(reason)
                return _json(one.as_dict(), status=202)
        return _json({"error": f"no local worker is called {wanted!r}"}, status=404)

    app = web.Application()
    app.add_routes([web.get("/workers", show), web.post("/workers/{id}/restart", restart)])
    return app


def _json(value: object, *, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")
