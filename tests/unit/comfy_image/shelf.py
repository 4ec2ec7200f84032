"""A file server over real HTTP that misbehaves as told, one scripted answer a request."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

Answer = Callable[["Exchange"], None]


class Exchange(http.server.BaseHTTPRequestHandler):
    """One request, and the means to answer it."""

    protocol_version = "HTTP/1.1"
    shelf: Shelf

    def do_GET(self) -> None:
        """Answer as the next scripted answer says, else as a good server."""
        with self.shelf.lock:
            self.shelf.requests.append(
                {"path": self.path, **{name.lower(): value for name, value in self.headers.items()}}
            )
            scripted = self.shelf.script.pop(0) if self.shelf.script else serve
        scripted(self)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the parent's name
        """Be quiet."""

    def head(self, status: int, **headers: str | int) -> None:
        """Send a status and headers, `content_length=5` as Content-Length."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


@dataclass(slots=True, kw_only=True)
class Shelf:
    """What the server holds, what it was asked, and what it will do."""

    content: bytes
    url: str = ""
    script: list[Answer] = field(default_factory=list[Answer])
    requests: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextlib.contextmanager
def shelf(content: bytes, *script: Answer) -> Generator[Shelf]:
    """Serve `content` under every path."""
    held = Shelf(content=content, script=list(script))
    handler = type("Bound", (Exchange,), {"shelf": held})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        held.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield held
        finally:
            server.shutdown()
            thread.join()


def serve(exchange: Exchange) -> None:
    """Answer as a good server does, ranges included."""
    content, wanted = exchange.shelf.content, exchange.headers.get("Range")
    if wanted is None:
        exchange.head(200, Content_Length=len(content))
        exchange.wfile.write(content)
        return
    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
    if start >= len(content):
        exchange.head(416, Content_Length=0, Content_Range=f"bytes */{len(content)}")
        return
    exchange.head(
        206, Content_Length=len(content) - start, Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}"
    )
    exchange.wfile.write(content[start:])


def say(status: int, **headers: str | int) -> Answer:
    """Answer with a bare status."""

    def answer(exchange: Exchange) -> None:
        exchange.head(status, **{"Content_Length": 0, **headers})

    return answer


def cut_after(count: int) -> Answer:
    """Promise the rest of the content, send `count` bytes of it, hang up."""

    def answer(exchange: Exchange) -> None:
        content, wanted = exchange.shelf.content, exchange.headers.get("Range", "bytes=0-")
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        facts: dict[str, str | int] = {"Content_Length": len(content) - start}
        if start:
            facts["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        exchange.head(206 if start else 200, **facts)
        exchange.wfile.write(content[start : start + count])
        exchange.wfile.flush()
        exchange.close_connection = True

    return answer


def whole(content: bytes, **headers: str | int) -> Answer:
    """Answer 200 with this content, whatever range was asked for."""

    def answer(exchange: Exchange) -> None:
        exchange.head(200, **{"Content_Length": len(content), **headers})
        exchange.wfile.write(content)

    return answer


def hold(reached: threading.Event, go_on: threading.Event, count: int) -> Answer:
    """Send `count` bytes, say so, and send the rest when allowed to."""

    def answer(exchange: Exchange) -> None:
        content = exchange.shelf.content
        exchange.head(200, Content_Length=len(content))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            exchange.wfile.write(content[:count])
            exchange.wfile.flush()
            reached.set()
            go_on.wait(20)
            exchange.wfile.write(content[count:])

    return answer


def drip(reached: threading.Event, count: int) -> Answer:
    """Send `count` bytes, say so, and go on byte by byte until the other side has had enough."""

    def answer(exchange: Exchange) -> None:
        content = exchange.shelf.content
        exchange.head(200, Content_Length=len(content))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            exchange.wfile.write(content[:count])
            reached.set()
            for place in range(count, len(content)):
                exchange.wfile.write(content[place : place + 1])
                threading.Event().wait(0.005)

    return answer
