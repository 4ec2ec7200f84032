"""`comfy-gateway demo`: everything at once, on simulated workers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import connection, output


def demo(
    *,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the pictures.")] = Path("demo-output"),
    workers: Annotated[int, typer.Option(min=1, max=16, help="Simulated workers.")] = 2,
    picture: Annotated[
        Path | None, typer.Option(hidden=True, help="Draw the terminal's last state as an SVG, for the docs.")
    ] = None,
    as_json: connection.Json = False,
) -> None:
    """Run three templates on simulated workers and show what happens.

    A gateway of its own is started for it and ended afterwards: no GPU, no
    model and no port of yours is needed. Pictures of an earlier demo are
    replaced.

    Examples:

        comfy-gateway demo

        comfy-gateway demo --workers 4 -o /tmp/pictures
    """
    from gateway.cli import demonstration

    wish = demonstration.Wish(out=out, workers=workers, picture=picture)
    output.run(lambda screen: demonstration.play(wish, screen), as_json=as_json)
