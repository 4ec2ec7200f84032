"""What `comfy-gateway demo` does: a real gateway with simulated workers, as processes, and jobs ordered over HTTP."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.adapters import templates as folders
from gateway.cli import board, client, failures, files, interrupts, ordering, output, own_gateway, placing
from gateway.domain.templates import binding

if TYPE_CHECKING:
    from rich.console import Console

_PROMPT = "a red fox in the snow"
_SEED = 7
_SIMULATED = (
    "Simulated: no model drew them. Those of sdxl are stand-ins made from prompt and seed; edit and contact-sheet "
    "compute what ComfyUI would."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for."""

    out: Path
    workers: int
    picture: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """Jobs of one template."""

    template: str
    told_by: str
    words: tuple[str, ...]
    n: int = 1


async def play(wish: Wish, screen: output.Screen) -> int:
    """The whole demo. Returns the exit status."""
    files.usable_folder(wish.out)
    began = time.monotonic()
    screen.note("Starting a gateway with simulated workers: real processes, no GPU, no models.", style="")
    own = ("--simulate", str(wish.workers))
    async with (
        interrupts.watched() as stop,
        own_gateway.running(own, screen, name="demo") as url,
        client.connect(url) as gateway,
    ):
        stop.gentle = True
        await own_gateway.workers_ready(gateway, wish.workers)
        screen.note(f"Ready at {url} after {output.duration(time.monotonic() - began)}.\n", style="")
        async with board.shown(screen.err) as lines:
            results = await _jobs(ordering.desk(gateway, stop, screen), wish, lines, stop)
        rows = lines
    if stop.asked.is_set():
        return failures.INTERRUPTED
    good = all(result.job.succeeded and result.saved for result in results)
    _report(wish, screen, results)
    if wish.picture is not None:
        _draw(wish.picture, rows, results, wish)
    return failures.DONE if good else failures.FAILED


async def _jobs(at: placing.Desk, wish: Wish, lines: board.Board, stop: interrupts.Interrupts) -> list[ordering.Result]:
    """Three templates; the contact sheet shows what the first two made."""
    saving = ordering.Saving(folder=wish.out, replace=True)
    photo = folders.builtin_folder() / "assets" / "harbour.png"
    steps = (
        _Step(template="sdxl", told_by="seed", words=(f"prompt={_PROMPT}", f"seed={_SEED}", "steps=15"), n=3),
        _Step(template="edit", told_by="tone", words=(f"image={photo}", "tone=soft_light", "amount=0.8")),
        _Step(template="edit", told_by="tone", words=(f"image={photo}", "tone=multiply", "amount=0.9")),
    )
    orders = [await _placed(at, wish, step, stop) for step in steps]
    made = await ordering.watch(at.gateway, orders, lines, stop, saving)
    pictures = [output.id for result in made for output in result.job.outputs]
    if len(pictures) < 4 or stop.asked.is_set():
        return made
    chosen = {f"image_{number}": binding.reference(asset) for number, asset in enumerate(pictures[1:5], 1)}
    job = await at.one(lambda about, key: at.gateway.order_template("contact-sheet", chosen, about, key=key), {})
    sheet = ordering.Order(name="contact-sheet", told_by=None, job_ids=() if job is None else (job.id,), alone=True)
    return [*made, *await ordering.watch(at.gateway, [sheet], lines, stop, saving)]


async def _placed(at: placing.Desk, wish: Wish, step: _Step, stop: interrupts.Interrupts) -> ordering.Order:
    wanted = ordering.Wish(what=step.template, words=step.words, n=step.n, out=wish.out)
    return dataclasses.replace(await ordering.place(at, wanted, stop), told_by=step.told_by)


# What is left to see.


def _report(wish: Wish, screen: output.Screen, results: Sequence[ordering.Result]) -> None:
    if screen.as_json:
        screen.json({"jobs": [result.as_dict() for result in results]})
        return
    screen.out.print()
    _say(screen.out, wish, results)


def _say(console: Console, wish: Wish, results: Sequence[ordering.Result]) -> None:
    console.print(ordering.result_table(results))
    console.print()
    for text, style in _words(wish):
        console.print(output.plain(text, style=style))


def _words(wish: Wish) -> tuple[tuple[str, str], ...]:
    program = _program()
    commands = (
        (f"{program} up --simulate 2", "this gateway, to stay"),
        (f"{program} up --comfyui ~/ComfyUI", "the same on your GPUs"),
        (f'{program} run sdxl prompt="a red fox"', "from another terminal"),
    )
    width = max(len(command) for command, _ in commands)
    return (
        (f"The pictures are in {wish.out}{os.sep}.", ""),
        (
            _SIMULATED,
            "yellow",
        ),
        ("", ""),
        ("What next:", "bold"),
        *((f"  {command.ljust(width)}    {about}", "") for command, about in commands),
    )


def _program() -> str:
    """How to call us: `make demo` puts nothing on the PATH."""
    return "comfy-gateway" if shutil.which("comfy-gateway") else os.path.relpath(sys.argv[0])


def _draw(path: Path, rows: board.Board, results: Sequence[ordering.Result], wish: Wish) -> None:
    """What the terminal showed at the end, as an SVG for the README."""
    import io

    from rich.console import Console

    console = Console(record=True, width=92, height=40, force_terminal=True, file=io.StringIO(), markup=False)
    console.print("$ make demo", style="bold")
    console.print(board.render(list(rows.rows.values()), width=92, height=40, now=time.monotonic()))
    console.print()
    _say(console, wish, results)
    console.print()
    path.write_text(console.export_svg(title="make demo", code_format=_SVG), encoding="utf-8")


#: As rich draws it, without the font that it would fetch from elsewhere.
_SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
 font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-family: sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""
