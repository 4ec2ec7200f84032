"""What people and programs see: tables and sentences, or JSON. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import asyncio
import io
import os
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

import typer

from gateway.cli import failures
from gateway.domain import errors

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

_TRAILING = re.compile(r" +\n")
_PIPE_WIDTH = 120  #: where there is no terminal to measure
#: What a terminal would obey, or show in another order; half characters; not what joins emoji, or spaces of any script.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Where a command shows things."""

    as_json: bool = False
    out: Console = field(default_factory=lambda: console(stderr=False))
    err: Console = field(default_factory=lambda: console(stderr=True))

    def show(self, human: RenderableType, data: Any) -> None:
        """A result: the one for people, or the other for programs."""
        if self.as_json:
            self.json(data)
        else:
            self.out.print(human)

    def json(self, data: Any, *, lines: bool = False) -> None:
        """JSON on stdout, `lines`: on one line."""
        import orjson

        option = orjson.OPT_NON_STR_KEYS | (0 if lines else orjson.OPT_INDENT_2)
        sys.stdout.write(orjson.dumps(data, default=str, option=option).decode() + "\n")
        sys.stdout.flush()

    def note(self, text: str, *, style: str = "dim") -> None:
        """A remark beside the results."""
        self.err.print(plain(text, style=style))

    def tell(self, error: errors.GatewayError) -> None:
        """Why the command cannot do what it was asked, with everything that is wrong and the way out."""
        faults = failures.faults_in(error)
        ours = error if isinstance(error, failures.CommandFailed) else failures.CommandFailed(error.message)
        if self.as_json:
            code = error.word if isinstance(error, failures.Refused) else error.code
            details = {"faults": [fault.as_dict() for fault in faults], "way_out": ours.way_out, **ours.details}
            self.json({"error": {"code": code, "message": error.message, "details": details}})
            return
        self.err.print(plain(f"comfy-gateway: {error.message}", style="bold red"))
        if faults:
            self.err.print(fault_table(faults, ours.counted))
        if ours.way_out:
            self.err.print(plain(f"  {ours.way_out}"))


def console(*, stderr: bool) -> Console:
    """A console on one of the standard streams. Text is what it is: no markup, no emoji codes."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    file = None if stream.isatty() else cast("TextIO", _Trimmed(stderr=stderr))
    return Console(stderr=stderr, file=file, markup=False, emoji=False, highlight=False, width=width)


class _Trimmed(io.TextIOBase):
    """A standard stream that is piped or redirected, without the spaces that end a table's lines."""

    def __init__(self, *, stderr: bool) -> None:
        self._stderr = stderr

    @property
    def _stream(self) -> TextIO:
        return sys.stderr if self._stderr else sys.stdout

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._stream.encoding

    def write(self, text: str, /) -> int:
        self._stream.write(_TRAILING.sub("\n", text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()


def plain(text: str, *, style: str = "") -> RenderableType:
    """Text that may come from anywhere, without its control characters."""
    from rich.text import Text

    return Text(_CONTROLS.sub("�", text), style=style)


def table(*columns: str, right: Sequence[str] = (), title: str | None = None, keep: Sequence[str] = ()) -> Table:
    """An empty table. Columns of `right` are numbers; those of `keep` are never broken over lines."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, show_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", no_wrap=column in keep, overflow="fold")
    return made


def fault_table(faults: Sequence[errors.Fault], counted: str = "#") -> Table:
    """Everything that is wrong: where, and what. `counted`: what the faults' `index` counts."""
    places = {
        counted: [None if fault.index is None else str(fault.index) for fault in faults],
        "parameter": [fault.parameter for fault in faults],
        "node": [_node(fault) for fault in faults],
        "field": [fault.field for fault in faults],
    }
    used = {name: values for name, values in places.items() if any(values)}
    made = table(*used, "what is wrong")
    for index, fault in enumerate(faults):
        cells = (values[index] or "" for values in used.values())
        made.add_row(*(plain(cell) for cell in (*cells, fault.message or fault.reason)))
    return made


def _node(fault: errors.Fault) -> str | None:
    if fault.node and fault.class_type:
        return f"{fault.node} ({fault.class_type})"
    return fault.node or fault.class_type


def duration(seconds: float | None) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: int) -> str:
    """Bytes for people: `812 B`, `1.8 MB`."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def run(task: Callable[[Screen], Awaitable[int | None]], *, as_json: bool = False) -> NoReturn:
    """Run a command's task and end with its exit status; errors are told."""
    raise typer.Exit(_status(task, Screen(as_json=as_json)))


def _status(task: Callable[[Screen], Awaitable[int | None]], screen: Screen) -> int:
    try:
        return asyncio.run(_awaited(task, screen))
    except errors.GatewayError as error:
        screen.tell(error)
        return failures.status_of(error)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return failures.INTERRUPTED
    except BrokenPipeError:  # `comfy-gateway jobs list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return failures.DONE


async def _awaited(task: Callable[[Screen], Awaitable[int | None]], screen: Screen) -> int:
    return await task(screen) or failures.DONE
