"""The server process as the supervisor keeps it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from gateway import settings
from gateway.supervisor import listening, server


async def test_a_server_that_is_stopped_while_it_is_being_started_ends(tmp_path: Path) -> None:
    sockets = listening.open_sockets("127.0.0.1", 0)
    program = server.Server(
        given=settings.load({"data_dir": tmp_path}),
        sockets=sockets,
        supervisor=tmp_path / "supervisor.sock",
        form="json",
        environment=dict(os.environ),
    )
    try:
        running = asyncio.create_task(program.run())
        await asyncio.sleep(0)  # its start has begun, and there is no process yet
        await program.stop(within=60)
        async with asyncio.timeout(60):
            await running
        assert not program.ready.is_set()
    finally:
        listening.close(sockets)
