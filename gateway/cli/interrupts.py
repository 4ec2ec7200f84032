"""Ctrl-C, so that it first ends things in order, and the second time at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Interrupts:
    """How often Ctrl-C was pressed. Until `gentle`, the first one leaves at once."""

    task: asyncio.Task[object]
    gentle: bool = False
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def strike(self) -> None:
        """Ctrl-C was pressed."""
        if self.asked.is_set() or not self.gentle:
            self.task.cancel()
        self.asked.set()

    async def sleep(self, seconds: float) -> None:
        """So long, or until Ctrl-C is pressed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.asked.wait()


@asynccontextmanager
async def watched() -> AsyncGenerator[Interrupts]:
    """Ctrl-C is told to the `Interrupts` while the block runs."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("Ctrl-C is watched for by a task")
    watch = Interrupts(task=task)
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread: a test's own matter
            loop.add_signal_handler(number, watch.strike)
    try:
        yield watch
    finally:
        for number in signals:
            with contextlib.suppress(ValueError, RuntimeError):
                loop.remove_signal_handler(number)
