"""`python -m benchmarks [CASE …] [--quick]`: measure, print a table, write bench-results/bench.json.

Every figure stands beside its goal, met or not. Results are written after each case, so that an interrupted run keeps
what it has. A case that fails is told with its error, the others go on, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import catalog, figures, fleet
from gateway import __version__

_RESULTS = Path("bench-results/bench.json")
_WIDTH = 170  #: where there is no terminal to measure


@dataclass(slots=True, kw_only=True)
class Run:
    """What was measured so far."""

    quick: bool
    path: Path = _RESULTS
    figures: list[figures.Figure] = field(default_factory=list[figures.Figure])
    seconds: dict[str, float] = field(default_factory=dict[str, float])  #: by case
    failed: dict[str, str] = field(default_factory=dict[str, str])  #: by case, why

    def write(self) -> None:
        """The results as they are now."""
        self.path.parent.mkdir(exist_ok=True)
        report = {
            "version": __version__,
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": {"cores": fleet.cores(), "python": platform.python_version(), "system": platform.platform()},
            "quick": self.quick,
            "seconds": {name: round(seconds, 1) for name, seconds in self.seconds.items()},
            "failed": self.failed,
            "figures": [figure.as_dict() for figure in self.figures],
        }
        self.path.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))


def _arguments() -> argparse.Namespace:
    lines = "\n".join(f"  {name:<12} about {case.seconds:.0f} s" for name, case in catalog.CASES.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"cases, and how long they take whole on two cores:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("case", nargs="*", choices=[[], *catalog.CASES], metavar="CASE", help="default: all")
    parser.add_argument("--quick", action="store_true", help="a fraction of the jobs, one round: does it work?")
    return parser.parse_args()


async def measure(cases: Mapping[str, catalog.Case], run: Run, console: Console) -> None:
    """Measure these cases one after the other; one that fails is written down and the next one begins."""
    scale = figures.QUICK if run.quick else figures.Scale()
    for number, (name, case) in enumerate(cases.items(), start=1):
        about = "" if run.quick else f", about {case.seconds:.0f} s"
        console.print(f"[{number}/{len(cases)}] {name}{about}")
        begin = time.monotonic()
        try:
            with console.status(f"measuring {name} …"):
                run.figures += await case.measure(scale)
        except Exception as error:  # noqa: BLE001  -- whatever it is, half an hour of other cases is not lost with it
            traceback.print_exc()
            run.failed[name] = f"{type(error).__name__}: {error}"
        run.seconds[name] = time.monotonic() - begin
        outcome = f"[red]failed[/] ({escape(run.failed[name])})" if name in run.failed else "done"
        console.print(f"{' ' * 8}{outcome} after {run.seconds[name]:.0f} s")
        run.write()


def _table(run: Run) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=f"comfy-gateway {__version__} on {fleet.cores()} cores, medians")
    for column in ("case", "figure"):
        table.add_column(column, overflow="fold")
    table.add_column("gateway", justify="right", no_wrap=True)
    table.add_column("beside", justify="right", no_wrap=True)
    table.add_column("which is")
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("goal")
    table.add_column("met", no_wrap=True)
    for figure in run.figures:
        table.add_row(
            figure.case,
            figure.figure,
            _number(figure.gateway, figure.unit),
            _number(figure.beside, figure.unit),
            "" if figure.beside is None else figure.beside_is,
            _number(figure.ratio, ""),
            figure.goal_words,
            {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[figure.met],
        )
    return table


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3f}" if value < 2 and not unit else f"{value:.1f}"
    return f"{text} {unit}".strip()


def main() -> int:
    """Run the cases that were asked for."""
    arguments = _arguments()
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    names: Sequence[str] = arguments.case or list(catalog.CASES)
    run = Run(quick=arguments.quick)
    if not run.quick:
        whole = sum(catalog.CASES[name].seconds for name in names)
        console.print(f"{len(names)} cases, about {whole / 60:.0f} minutes on two cores that do nothing else")
    begin = time.monotonic()
    asyncio.run(measure({name: catalog.CASES[name] for name in names}, run, console))
    console.print(_table(run))
    with_goal = [figure.met for figure in run.figures if figure.met is not None]
    console.print(f"{sum(with_goal)} of {len(with_goal)} goals met; {(time.monotonic() - begin) / 60:.1f} minutes")
    console.print(f"written to {run.path}")
    for name, why in run.failed.items():
        console.print(f"[red]{name} failed:[/] {escape(why)}")
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
