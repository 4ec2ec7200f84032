"""`comfy-gateway batch`: many orders from a file, with what is left to do always on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import connection


def batch(
    file: Annotated[Path, typer.Argument(help="JSON Lines (.jsonl) or CSV (.csv): one order a line.")],
    *,
    template: Annotated[
        str | None, typer.Option("--template", "-t", help="For lines that name none.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the files and the batch's state.")] = Path("out"),
    in_flight: Annotated[int, typer.Option(min=1, max=200, help="Jobs that are ordered and not done yet.")] = 16,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Order every line of a file and save what comes; run it again to go on where it was interrupted.

    Examples:

        comfy-gateway batch prompts.csv --template sdxl -o out/

        comfy-gateway batch orders.jsonl -o out/ --json

    CSV: the header row names parameters (and perhaps template); cells of file parameters are paths beside the file.
    JSON Lines: {"prompt": "a red fox", "seed": 7}, or {"template": "sdxl", "inputs": {…}, "metadata": {…}}.

    The state is in OUT/FILE.state.jsonl: what is done is not ordered again, what failed is. Lines that failed are
    written to OUT/FILE.failed.jsonl, with the reason in OUT/FILE.state.jsonl. After Ctrl-C the jobs that were ordered
    go on, and the next run fetches what they made.

    Exit status: 0 all done, 1 some failed, 2 the file is wrong, 3 no gateway, 130 Ctrl-C.
    """
    from gateway.cli import batching, output

    wish = batching.Wish(file=file, template=template, out=out, in_flight=in_flight)
    output.run(lambda screen: batching.fulfil(wish, url, api_key, screen), as_json=as_json)
