"""A ComfyUI stand-in over real HTTP and websockets, for demos, template authors and tests.

It shares no code with the rest of the gateway, so that no misunderstanding cancels out; it reproduces recordings
of real servers. It never stands in silently: `/system_stats` carries `"simulated": true`.

In a test: `async with simulator.running(simulator.Options(card="instant")) as sim: sim.url`.
As a process: `python -m gateway.simulator --port 8188`, or `run(options)`.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from gateway.simulator.options import CARDS, NODE_PACKS, VERSIONS, Card, Options

if TYPE_CHECKING:
    from gateway.simulator.server import Simulator

__all__ = ["CARDS", "NODE_PACKS", "VERSIONS", "Card", "Options", "run", "running"]


def running(options: Options | None = None) -> AbstractAsyncContextManager[Simulator]:
    """Run a simulator inside the current event loop for the length of an `async with`."""
    from gateway.simulator import server

    return server.running(options)


def run(options: Options) -> int:
    """Run a simulator as this process until it is told to stop; return the exit code."""
    import asyncio

    from gateway.simulator import server

    return asyncio.run(server.serve(options))
