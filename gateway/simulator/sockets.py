"""Websockets: who is registered under which client id, and the one loop that publishes to all of them.

Two defects of a real server are here on purpose. One loop sends everything, so a socket that nobody reads
stops the frames of all. And when a socket closes, whoever is registered under its client id *now* is
forgotten, be it another socket (the orphaning of a re-used client id).

Frames are written to the transport directly and several at a time; that is what makes a zero-cost job cheap.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from gateway.simulator import wire

#: Unsent bytes from which a socket counts as unread, and everybody waits for it.
_HIGH_WATER = 1 << 20
_DRAIN_POLL_S = 0.01


@dataclass(slots=True, kw_only=True, eq=False)
class Socket:
    """One connection. `mute` swallows what is sent; `half_open` also stops reading."""

    sid: str
    response: web.WebSocketResponse
    transport: asyncio.Transport
    flags: dict[str, Any] = field(default_factory=dict[str, Any])
    mute: bool = False

    def write(self, data: bytes) -> None:
        """Write whole frames, unless the connection is gone or muted."""
        if not self.mute and not self.transport.is_closing():
            self.transport.write(data)

    @property
    def is_clogged(self) -> bool:
        """Whether the client does not read what it is sent."""
        return not self.transport.is_closing() and self.transport.get_write_buffer_size() > _HIGH_WATER


@dataclass(frozen=True, slots=True)
class _Message:
    sid: Any
    frame: bytes


class Sockets:
    """The registry of sockets and the queue of frames to be published."""

    def __init__(self, *, features: dict[str, Any], on_poison: Callable[[], None]) -> None:
        self._features = features
        self._on_poison = on_poison
        self._outbox: deque[_Message] = deque()
        self._filled = asyncio.Event()
        self.by_sid: dict[str, Socket] = {}
        self.open: set[Socket] = set()

    def has_listener(self, sid: Any) -> bool:
        """Whether anybody would get a frame for `sid` (None: everybody) just now."""
        if sid is None:
            return bool(self.by_sid)
        return not isinstance(sid, str) or sid in self.by_sid

    def send(self, kind: str, data: Any, sid: Any = None) -> None:
        """Queue a JSON frame for the socket of `sid`, or for all."""
        self.send_json(wire.dumps({"type": kind, "data": data}), sid)

    def send_json(self, payload: bytes, sid: Any = None) -> None:
        """Queue a text frame that is JSON already."""
        self._put(_Message(sid, wire.frame(payload)))

    def send_binary(self, payload: bytes, sid: Any = None) -> None:
        """Queue a binary frame."""
        self._put(_Message(sid, wire.frame(payload, binary=True)))

    def _put(self, message: _Message) -> None:
        self._outbox.append(message)
        self._filled.set()

    async def publish(self) -> None:
        """Send what is queued, for ever, in order."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            clogged = self._flush()
            while clogged:
                await asyncio.sleep(_DRAIN_POLL_S)
                clogged = [socket for socket in clogged if socket.is_clogged]

    def _flush(self) -> list[Socket]:
        batches: dict[Socket, list[bytes]] = {}
        while self._outbox:
            message = self._outbox.popleft()
            try:
                targets = self._targets(message.sid)
            except TypeError:  # an unhashable client id: a real server's publish loop dies of it
                self._on_poison()
                continue
            for socket in targets:
                batches.setdefault(socket, []).append(message.frame)
        for socket, frames in batches.items():
            socket.write(b"".join(frames))
        return [socket for socket in batches if socket.is_clogged]

    def _targets(self, sid: Any) -> list[Socket]:
        if sid is None:
            return list(self.by_sid.values())
        socket = self.by_sid.get(sid)
        return [] if socket is None else [socket]

    async def serve(self, request: web.BaseRequest, greeting: Callable[[Socket], None]) -> web.StreamResponse:
        """Accept a websocket, greet it, and read it until it closes."""
        response = web.WebSocketResponse()
        await response.prepare(request)
        transport = request.transport
        if transport is None:
            return response
        sid = request.query.get("clientId", "") or uuid.uuid4().hex
        socket = Socket(sid=sid, response=response, transport=transport)
        self.by_sid[sid] = socket
        self.open.add(socket)
        try:
            greeting(socket)
            await self._read(socket)
        finally:
            self.by_sid.pop(sid, None)
            self.open.discard(socket)
        return response

    async def _read(self, socket: Socket) -> None:
        first = True
        async for message in socket.response:
            if message.type is not WSMsgType.TEXT:
                continue
            try:
                data, _ = wire.loads(str(message.data).encode())
            except ValueError:
                continue
            if not isinstance(data, dict):
                continue
            if first and data.get("type") == "feature_flags":
                socket.flags = data.get("data") or {}
                self.send("feature_flags", self._features, socket.sid)
            first = False

    def close_all(self) -> None:
        """Cut every connection."""
        for socket in list(self.open):
            socket.transport.abort()
