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
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Higher goes first; orders of `run` have 0.")] = -10,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Order every line of a file, save what comes, go on where it was interrupted.

    Examples:

        comfy-gateway batch prompts.csv --template sdxl -o out/

        comfy-gateway batch orders.jsonl -o out/ --json

    CSV: the header row names parameters, and perhaps `template`.
    JSON Lines: {"prompt": "a red fox", "seed": 7}, perhaps with "template", or
    {"template": "sdxl", "inputs": {…}, "metadata": {…}, "priority": 5}.
    A line's own priority goes before --priority.
    Paths of file parameters are relative to the file.

    What becomes of each line is written to OUT/FILE.state.jsonl. Run the same
    command again to go on: what is done is not ordered again, what failed is.
    Lines that failed are in OUT/FILE.failed.jsonl, a batch of their own. After Ctrl-C the jobs that
    were ordered go on, and the next run fetches what they made.

    Exit status: 0 all done, 1 some failed, 2 the file is wrong, 3 no gateway,
    130 Ctrl-C.
    """
    from gateway.cli import batching, output

    wish = batching.Wish(file=file, template=template, out=out, in_flight=in_flight, priority=priority)
    output.run(lambda screen: batching.fulfil(wish, url, api_key, screen), as_json=as_json)
