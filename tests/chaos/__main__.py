"""`python -m tests.chaos`: many jobs while everything dies. Prints what became of them; status 1 if a promise broke."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.chaos import judge, running

_SHOWN: Final = 20  #: cases of one kind


def _arguments() -> argparse.Namespace:
    size = running.Size()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed; the same seed, the same plan (default: 1)")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, one after the other (default: 1)")
    parser.add_argument("--jobs", type=int, default=size.jobs, help=f"jobs a seed (default: {size.jobs})")
    parser.add_argument("--faults", type=int, default=None, help="faults a seed (default: one for 20 jobs)")
    parser.add_argument("--json", action="store_true", help="print JSON, one line a seed")
    parser.add_argument("--keep", type=Path, help="keep data and logs of every seed in this folder")
    return parser.parse_args()


def main() -> int:
    """Run the seeds that were asked for."""
    given = _arguments()
    size = dataclasses.replace(
        running.Size(), jobs=given.jobs, faults=given.jobs // 20 if given.faults is None else given.faults
    )
    console = Console(stderr=given.json)
    found: list[judge.Findings] = []
    interrupted = False
    for seed in range(given.seed, given.seed + given.seeds):
        try:
            found.append(_one(seed, size, given.keep, console))
        except KeyboardInterrupt:
            console.print(f"seed {seed} was interrupted")
            interrupted = True
            break
        if given.json:
            sys.stdout.write(orjson.dumps(dataclasses.asdict(found[-1])).decode() + "\n")
            sys.stdout.flush()
        elif given.seeds > 1:
            console.print(_line(found[-1]), highlight=False)
    if not given.json and found:
        console.print(table(found))
        for one in found:
            _show_cases(one, console)
    return 1 if interrupted or not all(one.good for one in found) else 0


def _line(one: judge.Findings) -> str:
    """A seed in one line, so that those that are done are told whatever becomes of the others."""
    counts = f"lost {len(one.lost)}, ended twice {len(one.ended_twice)}, otherwise wrong {len(one.wrong)}"
    return f"seed {one.seed}: {one.jobs} jobs, {sum(one.faults.values())} faults, {counts}, {one.seconds:.0f} s"


def _one(seed: int, size: running.Size, keep: Path | None, console: Console) -> judge.Findings:
    folder = Path(tempfile.mkdtemp(prefix="chaos-")) if keep is None else keep.resolve() / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"seed {seed}", total=size.jobs)

        def watch(glance: running.Glance) -> None:
            bar.update(task, completed=glance.ended, description=f"seed {seed}: {glance.faults} faults, jobs ended")

        found = asyncio.run(running.run(seed, size, folder, watch))
    if keep is None and found.good:
        shutil.rmtree(folder, ignore_errors=True)
    elif not found.good:
        console.print(f"seed {seed}: its data and logs are in {folder}", soft_wrap=True)
    return found


def table(found: Sequence[judge.Findings]) -> Table:
    """What became of the jobs, a column a seed."""
    shown = Table(box=box.SIMPLE_HEAD, title="Jobs while everything dies")
    shown.add_column("")
    for one in found:
        shown.add_column(f"seed {one.seed}", justify="right")
    rows = {
        "jobs answered 201": [str(one.jobs) for one in found],
        "lost": [_verdict(len(one.lost)) for one in found],
        "ended twice": [_verdict(len(one.ended_twice)) for one in found],
        "otherwise wrong": [_verdict(len(one.wrong)) for one in found],
        "ends told by webhook": [str(one.hooked) for one in found],
        "  messages more than once": [str(one.hooks_again) for one in found],
        "run again": [str(one.run_again) for one in found],
        "  although adoption was possible": [str(len(one.needlessly)) for one in found],
        "GPU time": [f"{one.gpu_seconds:.0f} s" for one in found],
        "  wasted": [f"{one.gpu_wasted:.1f} s" for one in found],
        "longest recovery": [f"{one.longest_recovery:.1f} s" for one in found],
        "  after": [one.slowest for one in found],
        "took": [f"{one.seconds:.0f} s" for one in found],
    }
    for name, cells in rows.items():
        shown.add_row(name, *cells)
    for title, counts in (("ended", [one.ends for one in found]), ("faults", [one.faults for one in found])):
        shown.add_section()
        shown.add_row(f"[bold]{title}[/]", *(str(sum(count.values())) for count in counts))
        for name in sorted({name for count in counts for name in count}):
            shown.add_row(f"  {name}", *(str(count.get(name, 0)) for count in counts))
    return shown


def _verdict(count: int) -> str:
    return f"[green]{count}[/]" if count == 0 else f"[red]{count}[/]"


def _show_cases(one: judge.Findings, console: Console) -> None:
    kinds = {"lost": one.lost, "ended twice": one.ended_twice, "wrong": one.wrong, "run needlessly": one.needlessly}
    for title, cases in kinds.items():
        for case in cases[:_SHOWN]:
            console.print(f"seed {one.seed}, {title}: {case}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
