"""`comfy-gateway templates test`: examples are run, and what they make is held to stored pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import connection, output


def register(group: typer.Typer) -> None:
    """Add the command to the group."""
    group.command("test")(run_examples)


def run_examples(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Templates; none: all that have examples.", show_default=False),
    ] = None,
    *,
    update: Annotated[bool, typer.Option("--update", help="Store what is made as what is right.")] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="How far a picture may be from the stored one. (default: 3)"),
    ] = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Start a gateway with simulated workers for it, and end it.")
    ] = False,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for pictures of what differs.")] = Path(
        "golden-diff"
    ),
    folder: Annotated[
        Path | None,
        typer.Option("--folder", help="Where the template files are; else ./workflows, over those that ship."),
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that all of it may take.")] = 3600.0,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Run templates' examples and compare the pictures with stored ones.

    Examples:

        comfy-gateway templates test --simulate

        comfy-gateway templates test edit compose --url http://127.0.0.1:8180

        comfy-gateway templates test fox --update

    Examples stand in NAME.toml or NAME.pipeline.toml as [[examples]]; without
    any there is one, the defaults with seed 1. The stored pictures are
    golden/NAME/EXAMPLE-01.png beside the template. The distance is in steps of
    CIE-Lab where the picture differs most: 2 can be seen, 10 at a glance.
    Expected, made and difference are drawn side by side for what is too far.
    Exit status 1 for a picture that differs, one that is not stored yet, and a
    job that failed.
    """
    from gateway.cli import golden_runs

    wish = golden_runs.Wish(
        names=tuple(names or ()),
        update=update,
        tolerance=tolerance,
        simulate=simulate,
        out=out,
        folder=folder,
        timeout=timeout,
    )
    output.run(lambda screen: golden_runs.play(wish, (url, api_key), screen), as_json=as_json)
