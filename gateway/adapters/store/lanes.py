"""Threads that run units of work, each in a transaction of its own.

Threads own their connections, so that a whole unit costs one hop. PostgreSQL groups the commits of several threads by
itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading

from gateway.adapters.store import engines, seats
from gateway.domain import errors


class Lane:
    """Threads that take units from one queue; a None in it ends the thread that takes it."""

    def __init__(self, name: str, backend: engines.Backend, *, threads: int, begin: str) -> None:
        self._queue: queue.SimpleQueue[seats.Task | None] = queue.SimpleQueue()
        self._closed = False
        self._threads = [
            threading.Thread(
                target=self._work, args=(seats.Seat(backend, begin),), name=f"{name}-{number}", daemon=True
            )
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, unit: seats.Unit[seats.T], *, quick: bool = False) -> seats.T:
        """Run a unit when a thread is free; all are alike here, quick or not."""
        if self._closed:
            raise errors.StoreUnavailable("The store is closed.")
        task = seats.task(unit, quick=quick)
        self._queue.put(task)
        return await task.future

    async def close(self) -> None:
        """Finish what is waiting, and end the threads."""
        self._closed = True
        for _ in self._threads:
            self._queue.put(None)
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _work(self, seat: seats.Seat) -> None:
        while (task := self._queue.get()) is not None:
            for done in seat.run([task]):
                with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                    task.loop.call_soon_threadsafe(done.tell)
        seat.close()
