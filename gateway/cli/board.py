"""A line for each job while it runs: bars that move on a terminal, lines as things happen elsewhere."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.cli import output, shapes

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_FRAME_SECONDS = 0.1
_WORDS: Mapping[str, str] = {"succeeded": "done"}
_LABEL, _BAR, _WORDS_WIDTH, _WORKER, _TOOK = 32, 24, 18, 16, 8  #: widths of the columns, at most
_OTHERS = 4 + _WORDS_WIDTH + _TOOK + 6 * 2  #: what label, bar and worker leave


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is known of one job."""

    label: str
    status: str = "queued"
    position: int | None = None
    value: float = 0.0
    node: str = ""
    worker: str = ""
    seconds: float | None = None  #: how long it ran, once it ended
    began: float | None = None  #: by our own clock
    files: int = 0
    complaint: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in shapes.ENDED

    @property
    def words(self) -> str:
        """Its state for people."""
        if self.status == "queued":
            return "queued" if self.position is None else f"queued, position {self.position}"
        if self.status == "running":
            return self.node or "running"
        return _WORDS.get(self.status, self.status)

    def seeing(self, name: str, data: Mapping[str, Any], now: float) -> Row:
        """The row after this news of its job."""
        match name:
            case "job":
                return self._seeing_job(shapes.Job.of(data), now)
            case "status":
                status = str(data.get("status"))  # of an end, the job itself comes next and tells all
                return self if status in shapes.ENDED else self._at(status, now, position=data.get("queue_position"))
            case "progress":
                known = shapes.Progress.of(data)
                return dataclasses.replace(self._at("running", now), value=known.value, node=known.words)
            case "output":
                return dataclasses.replace(self, files=self.files + 1)
            case _:
                return self

    def _seeing_job(self, job: shapes.Job, now: float) -> Row:
        row = dataclasses.replace(
            self._at(job.status, now, position=job.raw.get("queue_position")),
            worker=job.worker or "",
            files=len(job.outputs),
            complaint=job.complaint or "",
        )
        if job.ended:
            return dataclasses.replace(row, seconds=job.seconds)
        known = job.progress
        return row if known is None else dataclasses.replace(row, value=known.value, node=known.words)

    def _at(self, status: str, now: float, *, position: int | None = None) -> Row:
        if self.ended or (self.status == "canceling" and status == "running"):
            return self
        if status == "queued":  # anew, perhaps: what an attempt brought before counts no more
            return dataclasses.replace(self, status=status, position=position, value=0.0, node="", began=None)
        began = self.began if self.began is not None else now
        value = 1.0 if status == "succeeded" else self.value
        return dataclasses.replace(self, status=status, position=None, began=began, value=value)


def change(before: Row, after: Row) -> str | None:
    """What to say of this change where lines are all there is; None: nothing worth a line."""
    quarter = int(after.value * 4)
    if (before.status, before.worker) == (after.status, after.worker):
        if before.status == "queued" and before.position is None and after.position is not None:
            return f"{after.label}: {after.words}"
        if after.status != "running" or quarter <= int(before.value * 4):
            return None
        return f"{after.label}: {after.value:.0%}" + (f", {after.node}" if after.node else "")
    if after.status == "running":
        return f"{after.label}: running on {after.worker}" if after.worker else None
    if not after.ended:
        return f"{after.label}: {after.words}"
    took = f" after {output.duration(after.seconds)}" if after.seconds is not None else ""
    where = f" on {after.worker}" if after.worker else ""
    why = f": {after.complaint}" if after.complaint else ""
    return f"{after.label}: {after.words}{took}{where}{why}"


@dataclass(slots=True, kw_only=True)
class Board:
    """The rows of all jobs that a command follows."""

    console: Console
    live: bool
    rows: dict[str, Row] = field(default_factory=dict[str, Row])

    def add(self, job_id: str, label: str) -> None:
        """A row for a job that was ordered."""
        self.rows[job_id] = Row(label=label)

    def rename(self, job_id: str, label: str) -> None:
        """Call a job otherwise, now that more is known of it."""
        self.rows[job_id] = dataclasses.replace(self.rows[job_id], label=label)

    def tell(self, job_id: str, name: str, data: Mapping[str, Any]) -> None:
        """News of a job."""
        before = self.rows[job_id]
        after = self.rows[job_id] = before.seeing(name, data, time.monotonic())
        line = None if self.live else change(before, after)
        if line is not None:
            self.console.print(output.plain(line))

    def say(self, text: str) -> None:
        """A remark above the rows."""
        self.console.print(output.plain(text))

    def render(self) -> RenderableType:
        """The rows as they are now."""
        size = self.console.size
        return render(list(self.rows.values()), width=size.width, height=size.height, now=time.monotonic())


@asynccontextmanager
async def shown(console: Console) -> AsyncGenerator[Board]:
    """A board that is on the screen while the block runs, and stays there."""
    if not console.is_terminal:
        yield Board(console=console, live=False)
        return
    from rich.live import Live

    board = Board(console=console, live=True)
    with Live(console=console, auto_refresh=False, get_renderable=board.render) as screen:

        async def draw() -> None:
            while True:
                screen.refresh()
                await asyncio.sleep(_FRAME_SECONDS)

        drawing = asyncio.create_task(draw())
        try:
            yield board
        finally:
            drawing.cancel()
            screen.refresh()


def render(rows: Sequence[Row], *, width: int, height: int, now: float) -> RenderableType:
    """A bar a job; what does not fit the terminal is counted: those that wait at the end, those that ended first."""
    from rich.console import Group
    from rich.table import Table

    room = max(3, height - 4)
    drawn = list(rows) if len(rows) <= room else _most_telling(rows, room)
    label = min(_LABEL, max((len(row.label) for row in rows), default=0))
    worker = min(_WORKER, max((len(row.worker) for row in rows), default=0))
    bar = max(4, min(_BAR, width - label - worker - _OTHERS))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, overflow="ellipsis", width=label)
    grid.add_column(width=bar)
    grid.add_column(no_wrap=True, justify="right", width=4)
    grid.add_column(no_wrap=True, overflow="ellipsis", width=_WORDS_WIDTH)
    grid.add_column(no_wrap=True, overflow="ellipsis", width=worker, style="dim")
    grid.add_column(no_wrap=True, justify="right", width=_TOOK, style="dim")
    for row in drawn:
        grid.add_row(*_cells(row, bar, now))
    if len(drawn) == len(rows):
        return grid
    counts = Counter(_WORDS.get(row.status, row.status) for row in rows)
    return Group(grid, output.plain(", ".join(f"{count} {word}" for word, count in counts.items()), style="dim"))


def _most_telling(rows: Sequence[Row], room: int) -> list[Row]:
    running = [row for row in rows if not row.ended and row.status != "queued"][:room]
    ended = [row for row in rows if row.ended]
    waiting = [row for row in rows if row.status == "queued"]
    left = room - len(running)
    kept = ended[max(0, len(ended) - max(left // 2, left - len(waiting))) :]
    return [*kept, *running, *waiting[: left - len(kept)]]


def _cells(row: Row, width: int, now: float) -> tuple[RenderableType, ...]:
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    style = shapes.STYLES.get(row.status, "dim")
    bar = ProgressBar(total=1.0, completed=row.value, width=width, complete_style=style, finished_style=style)
    spent = row.seconds if row.ended else None if row.began is None else now - row.began
    return (
        Text(row.label),
        bar,
        "" if row.status == "queued" else f"{row.value:.0%}",
        Text(row.words, style=style),
        Text(row.worker),
        output.duration(spent),
    )
