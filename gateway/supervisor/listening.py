"""The sockets that the gateway listens on. The supervisor keeps them, so that they outlive any one server."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from gateway.domain import errors

_BACKLOG = 2048
_NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def open_sockets(host: str, port: int) -> tuple[socket.socket, ...]:
    """Listening sockets for every address of `host`; ConfigError with the way out."""
    name = host.strip("[]")
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise errors.ConfigError(f"{host} is not an address of this machine: {error.strerror}") from None
    except UnicodeError:  # two dots in a row, or too long between them
        raise errors.ConfigError(f"{host} is not an address of this machine: it is no name of a host") from None
    opened: list[socket.socket] = []
    for family, address in dict.fromkeys((item[0], str(item[4][0])) for item in found):
        at = opened[0].getsockname()[1] if opened else port  # port 0: the same one on each address
        try:
            opened.append(_listen(family, address, at))
        except OSError as error:
            if name == "localhost" and error.errno in _NOT_HERE:  # its IPv6 name on a machine without IPv6
                continue
            close(opened)
            raise errors.ConfigError(_way_out(host, port, error)) from None
    if not opened:
        raise errors.ConfigError(f"{host} is not an address of this machine")
    return tuple(opened)


def _listen(family: int, address: str, port: int) -> socket.socket:
    return socket.create_server(
        (address, port),
        family=family,
        backlog=_BACKLOG,
        dualstack_ipv6=family == socket.AF_INET6 and address == "::" and socket.has_dualstack_ipv6(),
    )


def _way_out(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken by another program (another gateway?): choose one with --port"
    if error.errno == errno.EACCES:
        return f"port {port} of {host} is not allowed to us: choose one of 1024 or more with --port"
    return f"port {port} of {host} cannot be listened on: {error.strerror}"


def close(sockets: Sequence[socket.socket]) -> None:
    """Close them all."""
    for opened in sockets:
        opened.close()


def url(host: str, sockets: Sequence[socket.socket]) -> str:
    """The address to give to a person on this machine."""
    port = sockets[0].getsockname()[1]
    name = host.strip("[]")
    shown = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(name, name)  # noqa: S104
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
