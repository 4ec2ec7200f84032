"""The server process: `gateway.app` under a supervisor.

Settings come as JSON on stdin (so that secrets are neither in the arguments nor in the environment), listening sockets
are inherited, and a line on the `--ready` pipe tells that it is up.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog
import uvloop

from gateway import app, logs
from gateway.adapters import datadir, processes
from gateway.domain import errors
from gateway.settings import Settings, from_json

_log = structlog.get_logger("gateway")


def main() -> int:
    """Serve until asked to stop; the exit status is 2 for settings that a person must mend."""
    given = _arguments()
    logs.configure(given.log)
    settings = from_json(sys.stdin.buffer.read())
    sockets = [socket.socket(fileno=number) for number in given.socket]
    try:
        uvloop.run(_serve(settings, sockets, given.ready, given.supervisor))
    except errors.GatewayError as error:
        sys.stderr.write(f"comfy-gateway: {error.message}\n")
        return 2 if isinstance(error, errors.ConfigError) else 1
    except ExceptionGroup:
        _log.exception("gateway_died")
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gateway.server", description="Started by `comfy-gateway up`.")
    parser.add_argument("--socket", type=int, action="append", required=True)
    parser.add_argument("--ready", type=int, required=True)
    parser.add_argument("--supervisor", type=Path, required=True)
    parser.add_argument("--log", choices=("console", "json"), required=True)
    return parser.parse_args()


async def _serve(settings: Settings, sockets: Sequence[socket.socket], ready: int, supervisor: Path) -> None:
    stop = app.Stop()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, stop.ask)  # how the supervisor asks: it stops itself
    for number in (signal.SIGTERM, signal.SIGINT):  # somebody else does: the supervisor will start the next one
        loop.add_signal_handler(number, stop.leave)
    client = processes.Supervisor(supervisor)

    def tell(_: app.Gateway) -> None:
        os.write(ready, b"ready\n")
        os.close(ready)

    try:
        data = datadir.at(settings.data_dir)
        await app.serve(settings, data=data, sockets=sockets, stop=stop, on_ready=tell, supervisor=client)
    finally:
        await client.close()
