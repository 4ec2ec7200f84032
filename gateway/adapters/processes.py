"""The supervisor of this gateway, as the server sees it: a unix socket that tells of local workers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import aiohttp
import orjson

from gateway.domain import errors, model

_TIMEOUT = aiohttp.ClientTimeout(total=10)


class Supervisor:
    """Asks the supervisor. Everything raises Unavailable when it does not answer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._session: aiohttp.ClientSession | None = None

    async def workers(self) -> tuple[model.WorkerProcess, ...]:
        """The local workers' processes as they are now."""
        return tuple(_process(entry) for entry in cast(Sequence[dict[str, Any]], await self._call("GET", "/workers")))

    async def restart(self, worker: model.WorkerId, reason: str) -> None:
        """Start a worker's process anew; NotFound."""
        await self._call("POST", f"/workers/{worker}/restart", reason=reason)

    async def close(self) -> None:
        """Drop the connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _call(self, method: str, path: str, **query: str) -> object:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                "http://supervisor", connector=aiohttp.UnixConnector(str(self._path)), timeout=_TIMEOUT
            )
        try:
            async with self._session.request(method, path, params=query) as answer:
                body: object = orjson.loads(await answer.read())
                status = answer.status
        except (TimeoutError, aiohttp.ClientError, OSError, orjson.JSONDecodeError) as error:
            raise errors.Unavailable(f"the supervisor does not answer: {error}") from None
        if status == 404:
            raise errors.NotFound(str(cast(dict[str, Any], body).get("error", "not found")))
        return body


def _process(entry: dict[str, Any]) -> model.WorkerProcess:
    return model.WorkerProcess(
        id=model.WorkerId(entry["id"]),
        url=entry["url"],
        kind=model.WorkerKind(entry["kind"]),
        gpu=entry["gpu"],
        pid=entry["pid"],
        restarts=entry["restarts"],
        idle_seconds=entry["idle_seconds"],
        gpu_idle_seconds=entry["gpu_idle_seconds"],
        memory_bytes=entry["memory_bytes"],
        restart_asked_at=entry["restart_asked_at"],
        failure=entry["failure"],
        log_tail=entry["log_tail"],
    )
