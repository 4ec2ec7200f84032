"""A server that kills itself at one point of a job's path: `python -m tests.acceptance.crashing POINT < settings`.

A point is a call of a port, as in `before queue.settle`, or a frame from a worker, as in `at frame Progress`. The
composition root's ports are wrapped for it; nothing inside the gateway knows. It prints its URL when it is up and ends
by SIGKILL: nothing is flushed, closed or handed back.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from gateway import app, building, logs
from gateway.adapters import datadir
from gateway.settings import from_json

When = Literal["before", "after", "at"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Where to die."""

    when: When
    port: str  #: `jobs`, `queue`, `deliveries`, `blobs`, `outgoing`, `worker` …, or `frame`
    name: str  #: a method, or the class of a frame

    @classmethod
    def parse(cls, text: str) -> Point:
        """Read `after queue.claim` or `at frame Progress`."""
        when, _, place = text.partition(" ")
        port, name = place.replace(" ", ".").split(".")
        if when not in {"before", "after", "at"} or (when == "at") != (port == "frame"):
            raise ValueError(text)
        return cls(when=when, port=port, name=name)  # pyright: ignore[reportArgumentType]


def die() -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


class Mined:
    """A port that ends the process at one call of one method; everything else goes through."""

    def __init__(self, port: Any, name: str, point: Point) -> None:
        self._port = port
        self._point = point
        if point.port == name:
            getattr(port, point.name)  # a point that does not exist would never be reached

    def __getattr__(self, name: str) -> Any:
        """The port's own method, or the one that kills."""
        method = getattr(self._port, name)
        if name != self._point.name:
            return method
        return _streamed(method, self._point) if inspect.isasyncgenfunction(method) else _called(method, self._point)


def _called(method: Any, point: Point) -> Any:
    @functools.wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        if point.when == "before":
            die()
        result = await method(*args, **kwargs)
        if not _is_idle(result):
            die()
        return result

    return call


def _is_idle(result: Any) -> bool:
    """Whether a call found nothing to do, such as a claim of an empty queue."""
    return result in ((), [], {}) or getattr(result, "claims", None) == ()


def _streamed(method: Any, point: Point) -> Any:
    @functools.wraps(method)
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any]:
        if point.when == "before":
            die()
        async for chunk in method(*args, **kwargs):
            yield chunk
        die()

    return call


class MinedClient(Mined):
    """A worker's client that also knows frames."""

    def __getattr__(self, name: str) -> Any:
        """The socket's frames pass by the point, too."""
        if name == "listen" and self._point.port == "frame":
            return self._listen
        return super().__getattr__(name)

    @asynccontextmanager
    async def _listen(self, client_id: str) -> AsyncGenerator[Any]:
        async with self._port.listen(client_id) as frames:
            yield self._watched(frames)

    async def _watched(self, frames: AsyncIterator[Any]) -> AsyncGenerator[Any]:
        async for frame in frames:
            if type(frame).__name__ == self._point.name:
                die()
            yield frame


def around(point: Point) -> building.Fit:
    """Put the point around the adapters."""

    def fit(adapters: building.Adapters) -> building.Adapters:
        changed: dict[str, Any] = {}
        if point.port in {"worker", "frame"}:
            connect = adapters.connect
            changed["connect"] = lambda url: MinedClient(connect(url), "worker", point)
        elif hasattr(adapters.store, point.port):
            mined = Mined(getattr(adapters.store, point.port), point.port, point)
            changed["store"] = dataclasses.replace(adapters.store, **{point.port: mined})
        else:
            changed[point.port] = Mined(getattr(adapters, point.port), point.port, point)
        return dataclasses.replace(adapters, **changed)

    return fit


async def main(text: str) -> None:
    """Serve until the point is reached."""
    settings = from_json(sys.stdin.buffer.read())
    stop = app.Stop()
    with datadir.locked(datadir.at(settings.data_dir)) as data:
        sockets = [socket.create_server((settings.host, 0))]

        def tell(gateway: app.Gateway) -> None:
            sys.stdout.write(f"{gateway.url}\n")
            sys.stdout.flush()

        await app.serve(settings, data=data, sockets=sockets, stop=stop, on_ready=tell, fit=around(Point.parse(text)))


if __name__ == "__main__":
    logs.configure("json")
    asyncio.run(main(sys.argv[1]))
