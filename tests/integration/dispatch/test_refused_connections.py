"""What is said of a worker that cannot be reached."""

from __future__ import annotations

import socket

import pytest

from gateway.adapters import comfyui
from gateway.domain import errors


async def test_a_port_that_nobody_listens_on_is_told_without_numbers() -> None:
    with socket.socket() as held:  # bound, so that nobody else gets the port, and not listening
        held.bind(("127.0.0.1", 0))
        client = comfyui.ComfyClient(f"http://127.0.0.1:{held.getsockname()[1]}")
        with pytest.raises(errors.WorkerUnreachable) as told:
            await client.facts()
        await client.close()
    assert told.value.refused
    assert told.value.message == f"{client.url} refused the connection"
