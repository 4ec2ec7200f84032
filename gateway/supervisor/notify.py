"""Tells systemd how it goes (`Type=notify`), where it asked for that."""

from __future__ import annotations

import socket
from contextlib import suppress


def tell(where: str | None, **facts: str) -> None:
    """Send `READY=1` and the like to the socket named by `NOTIFY_SOCKET`; a silent no-op without one."""
    if not where:
        return
    address = f"\0{where[1:]}" if where.startswith("@") else where
    message = "\n".join(f"{name.upper()}={value}" for name, value in facts.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to, suppress(OSError):
        to.sendto(message.encode(), address)
