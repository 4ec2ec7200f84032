"""Workers at a distance: a TCP relay that holds everything back for a while, each way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

_CHUNK = 64 * 1024


@asynccontextmanager
async def relayed(urls: Sequence[str], *, seconds: float) -> AsyncGenerator[list[str]]:
    """URLs at which the same workers answer `seconds` later, each way."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(_relay(url, seconds)) for url in urls]


@asynccontextmanager
async def _relay(url: str, seconds: float) -> AsyncGenerator[str]:
    host, port = urlsplit(url).hostname, urlsplit(url).port
    open_ends: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there_reader, there_writer = await asyncio.open_connection(host, port)
            ends = {writer, there_writer}
            open_ends.update(ends)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(_carry(reader, there_writer, seconds))
                    group.create_task(_carry(there_reader, writer, seconds))
            finally:
                open_ends.difference_update(ends)
                for end in ends:
                    end.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for end in tuple(open_ends):
            end.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """What comes in goes out later, in its order."""
    loop = asyncio.get_running_loop()
    on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = await on_the_way.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not data:
                    writer.close()
                    return
                writer.write(data)
                await writer.drain()

    async with asyncio.TaskGroup() as group:
        group.create_task(deliver())
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                on_the_way.put_nowait((loop.time() + seconds, data))
        on_the_way.put_nowait((loop.time() + seconds, b""))
