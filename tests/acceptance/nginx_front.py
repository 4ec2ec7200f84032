"""A real nginx over the shipped `nginx/`, and stand-ins for the gateways behind it, for the tests beside this file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

SHIPPED = Path(__file__).parents[2] / "nginx"
#: Where nginx is, if anywhere.
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
PATIENCE_S = 20

#: What a distribution's own nginx.conf does around ours; everything else is nginx's default.
MAIN = """
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log info;
events { worker_connections 256; }
http {
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    gzip on;
    include conf.d/*.conf;
}
"""


@dataclass(slots=True, kw_only=True)
class StandIn:
    """One gateway's place: `answer` says what it does, `seen` what reached it."""

    port: int = 0
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
    seen: list[str] = field(default_factory=list[str])
    headers: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Note the request, then do as told."""
        self.seen.append(f"{request.method} {request.raw_path}")
        self.headers.append(request.headers)
        return await self.answer(request)


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """A running nginx."""

    url: str
    port: int
    tls_port: int
    prefix: Path
    client: aiohttp.ClientSession


async def plain(_: web.Request) -> web.StreamResponse:
    """Answer as a gateway that is well."""
    return web.json_response({"fine": True})


async def hang_up(request: web.Request) -> web.StreamResponse:
    """Read the whole request, then close the connection without a word."""
    await request.read()
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@contextlib.asynccontextmanager
async def stand_in(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]] = plain,
) -> AsyncGenerator[StandIn]:
    """Start a stand-in on a port of its own."""
    place = StandIn(answer=answer)
    app = web.Application(client_max_size=2**40)
    app.router.add_route("*", "/{path:.*}", place.take)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    place.port = runner.addresses[0][1]
    try:
        yield place
    finally:
        await runner.cleanup()


def lay_out(prefix: Path, ports: Sequence[int], changes: Mapping[str, str], *, tls: bool = False) -> None:
    """Copy the shipped files as the documentation says, with the test's values in the places meant for them."""
    shutil.copytree(SHIPPED, prefix, dirs_exist_ok=True)
    if tls:
        (prefix / "tls.conf.example").rename(prefix / "conf.d" / "comfy-gateway-server.conf")
    servers = "\n".join(f"    server 127.0.0.1:{port} max_fails=2 fail_timeout=5s;" for port in ports)
    edits = {
        "    server 127.0.0.1:8180 max_fails=2 fail_timeout=5s;": servers,
        "/var/log/nginx/access.log": "access.log",
        **changes,
    }
    found: set[str] = set()
    for path in [*prefix.glob("conf.d/*.conf"), *prefix.glob("snippets/*.conf")]:
        text = path.read_text()
        found |= {old for old in edits if old in text}
        for old, new in edits.items():
            text = text.replace(old, new)
        path.write_text(text)
    assert found == set(edits), "the shipped files no longer hold what this test replaces"
    (prefix / "nginx.conf").write_text(MAIN)


def nginx_command(prefix: Path) -> list[str]:
    """As root, nginx would drop to a user who cannot enter the test's folder."""
    assert NGINX is not None
    stay = ["-g", "user root;"] if os.geteuid() == 0 else []
    return [NGINX, "-p", str(prefix), "-c", "nginx.conf", "-e", "start.log", *stay]


@contextlib.asynccontextmanager
async def front(
    prefix: Path, ports: Sequence[int], changes: Mapping[str, str] | None = None, *, tls: bool = False
) -> AsyncGenerator[Front]:
    """Run nginx over the shipped files, before gateways on these ports.

    It inherits sockets that listen already, so nothing has to be awaited.
    """
    with socket.create_server(("127.0.0.1", 0)) as plain_socket, socket.create_server(("127.0.0.1", 0)) as tls_socket:
        port, tls_port = plain_socket.getsockname()[1], tls_socket.getsockname()[1]
        edits = {"    listen 80;": f"    listen 127.0.0.1:{port};", **(changes or {})}
        if tls:
            edits["    listen 443 ssl http2;"] = f"    listen 127.0.0.1:{tls_port} ssl http2;"
        lay_out(prefix, ports, edits, tls=tls)
        handed_down = (plain_socket.fileno(), tls_socket.fileno())
        process = subprocess.Popen(
            nginx_command(prefix),
            env={**os.environ, "NGINX": "".join(f"{number};" for number in handed_down)},
            pass_fds=handed_down,
            stderr=subprocess.DEVNULL,
        )
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as client:
            url = f"http://127.0.0.1:{port}"
            yield Front(url=url, port=port, tls_port=tls_port, prefix=prefix, client=client)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, PATIENCE_S)
