"""How far a batch is: counted, drawn, told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli import output

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_FRAME_SECONDS = 0.2
_LINE_SECONDS = 15.0  #: between two lines about how far it is, where there is no terminal


@dataclass(slots=True, kw_only=True)
class Tally:
    """How far the batch is."""

    total: int
    before: int = 0  #: done by earlier runs
    done: int = 0
    failed: int = 0
    flying: int = 0  #: ordered, not ended
    images: int = 0  #: files of this run
    simulated: bool = False
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> int:
        """Lines that have not ended."""
        return self.total - self.before - self.done - self.failed

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return max(time.monotonic() - self.began, 1e-6)

    @property
    def per_hour(self) -> float:
        """Files an hour, in this run."""
        return self.images * 3600 / self.spent

    @property
    def remaining(self) -> float | None:
        """Seconds that the rest will take at this pace; None before anything ended."""
        ended = self.done + self.failed
        return self.left * self.spent / ended if ended else None

    @property
    def words(self) -> str:
        """All of it for people."""
        parts = [f"{self.before + self.done} of {self.total} done"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.images:
            parts.append(f"{self.per_hour:,.0f} images an hour")
        if self.left and self.remaining is not None:
            parts.append(f"{output.duration(self.remaining)} left")
        return ", ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """The end of it, for programs."""
        return {
            "total": self.total,
            "done": self.before + self.done,
            "done_before": self.before,
            "failed": self.failed,
            "images": self.images,
            "seconds": round(self.spent, 3),
            "images_per_hour": round(self.per_hour, 1),
            "simulated": self.simulated,
        }


def render(tally: Tally) -> RenderableType:
    """One bar, and what there is to say about it."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    ended = tally.total - tally.left
    grid.add_row(
        ProgressBar(total=tally.total, completed=ended, width=40, complete_style="cyan", finished_style="green"),
        f"{ended / tally.total:.0%}",
        output.plain(f"{tally.flying} in flight" if tally.flying else "", style="dim"),
    )
    return Group(grid, output.plain(tally.words))


def summary(tally: Tally, out: Path) -> str:
    """The end of it in a sentence."""
    made = f"{tally.images} files in {output.duration(tally.spent)} ({tally.per_hour:,.0f} images an hour)"
    parts = [f"{tally.before + tally.done} of {tally.total} done"]
    if tally.before:
        parts.append(f"{tally.before} of them before")
    if tally.failed:
        parts.append(f"{tally.failed} failed")
    if tally.left:
        parts.append(f"{tally.left} not yet")
    return f"{', '.join(parts)}; {made} in {out}" if tally.images else f"{', '.join(parts)}."


@asynccontextmanager
async def shown(tally: Tally, console: Console, *, stays: bool = True) -> AsyncGenerator[None]:
    """How far it is, on the screen, while the block runs: a bar on a terminal, a line now and then elsewhere. `stays`:
    the bar is left there at the end, where nothing else tells the figures."""
    if not console.is_terminal:
        telling = asyncio.create_task(_every(_LINE_SECONDS, lambda: console.print(output.plain(tally.words))))
        try:
            yield
        finally:
            telling.cancel()
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False, get_renderable=lambda: render(tally), transient=not stays) as screen:
        drawing = asyncio.create_task(_every(_FRAME_SECONDS, screen.refresh))
        try:
            yield
        finally:
            drawing.cancel()
            screen.refresh()


async def _every(seconds: float, act: Callable[[], object]) -> None:
    while True:
        await asyncio.sleep(seconds)
        act()
