"""`python -m benchmarks [CASE …] [--quick]`: measure, print a table, write bench-results/bench.json."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import orjson
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import cases, fleet
from benchmarks import figures as measured
from gateway import __version__

_RESULTS = Path("bench-results/bench.json")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("case", nargs="*", choices=[[], *cases.CASES], help="default: all")
    parser.add_argument("--quick", action="store_true", help="a fraction of the jobs, one round")
    return parser.parse_args()


async def _measure(names: Sequence[str], scale: measured.Scale, console: Console) -> list[measured.Figure]:
    figures: list[measured.Figure] = []
    for name in names:
        with console.status(f"measuring {name} …"):
            figures += await cases.CASES[name](scale)
    return figures


def _table(figures: Sequence[measured.Figure]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=f"comfy-gateway {__version__} on {fleet.cores()} cores, medians")
    for column, justify in (("case", "left"), ("figure", "left"), ("gateway", "right"), ("direct", "right")):
        table.add_column(column, justify=justify)  # pyright: ignore[reportArgumentType]
    table.add_column("ratio", justify="right")
    table.add_column("goal")
    for figure in figures:
        met = {True: "[green]✓[/] ", False: "[red]✗[/] ", None: ""}[figure.met]
        table.add_row(
            figure.case,
            figure.figure,
            _number(figure.gateway, figure.unit),
            _number(figure.direct, figure.unit),
            _number(figure.ratio, ""),
            met + figure.goal,
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
    scale = measured.Scale()
    if arguments.quick:
        scale = measured.Scale(
            zero_cost=300,
            uniform=80,
            lognormal=80,
            latency=100,
            queued=1000,
            checkpoints=200,
            speeds=60,
            depth=5000,
            rounds=1,
        )
    console = Console()
    figures = asyncio.run(_measure(arguments.case or list(cases.CASES), scale, console))
    console.print(_table(figures))
    _RESULTS.parent.mkdir(exist_ok=True)
    report = {
        "version": __version__,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cores": fleet.cores(), "python": platform.python_version(), "system": platform.platform()},
        "figures": [dataclasses.asdict(figure) | {"ratio": figure.ratio} for figure in figures],
    }
    _RESULTS.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    console.print(f"written to {_RESULTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
