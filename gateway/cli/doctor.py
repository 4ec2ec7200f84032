"""`comfy-gateway doctor`: what the gateway finds here, what is wrong, and the way out."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import options

if TYPE_CHECKING:
    from gateway.cli.checks import Finding

_SIGNS = {"ok": ("✓", "green"), "note": ("–", "yellow"), "wrong": ("✗", "red")}


def doctor(
    *,
    comfyui: Annotated[Path | None, typer.Option(help="ComfyUI's folder, as for `up`.")] = None,
    comfyui_python: Annotated[Path | None, typer.Option(help="The Python that runs ComfyUI.")] = None,
    gpus: Annotated[str | None, typer.Option(help="all, none, or 0,1,… or UUIDs.")] = None,
    worker: Annotated[list[str] | None, typer.Option(help="URL of a ComfyUI, as for `up`.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    data_dir: options.DataDir = None,
    database: Annotated[str | None, typer.Option(help="postgresql://…")] = None,
    config: options.Config = None,
    json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Look at everything the gateway needs; exit status 1 when something is wrong.

    It reads the same settings as `up` and takes the same flags.

    Examples:

        comfy-gateway doctor

        comfy-gateway doctor --comfyui ~/ComfyUI --gpus 0,1

        comfy-gateway doctor --config gateway.toml --json
    """
    flags = options.given(
        {
            "comfyui": comfyui,
            "comfyui_python": comfyui_python,
            "gpus": gpus,
            "workers": worker,
            "host": host,
            "port": port,
            "data_dir": data_dir,
            "database": database,
        }
    )
    from gateway.cli import output

    async def task(screen: output.Screen) -> int:
        from gateway import logs, settings, settings_reference
        from gateway.cli import checks, failures

        wanted = settings.load(flags, file=config, environment=os.environ)
        logs.configure("console", quiet=True)
        found = await checks.everything(wanted)
        wrong = any(finding.state == "wrong" for finding in found)
        if screen.as_json:
            told = [finding.as_dict() for finding in found]
            screen.json({"ok": not wrong, "checks": told, "settings": settings.redacted(wanted)})
        else:
            _print_table(found, settings_reference.in_effect(wanted))
        return failures.FAILED if wrong else failures.DONE

    output.run(task, as_json=json)


def _print_table(found: list[Finding], settings: Iterable[tuple[str, str]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from gateway.cli import output

    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    for finding in found:
        sign, colour = _SIGNS[finding.state]
        told = Text(finding.found)
        if finding.way_out:
            told.append(f"\n→ {finding.way_out}", style="bold" if finding.state == "wrong" else "dim")
        table.add_row(Text(sign, style=colour), finding.name, told)
    console = output.console(stderr=False)
    console.print(table)
    console.print("Settings", style="bold")
    for name, value in settings:
        console.print(f"  {name} = {value}".rstrip(), markup=False, highlight=False)
