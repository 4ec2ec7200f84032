"""`comfy-gateway run`: order a template or a workflow, watch it, save what it makes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import connection


def run(
    what: Annotated[
        str,
        typer.Argument(
            metavar="TEMPLATE",
            help="A template's name, or a workflow.json that ComfyUI saved, or a picture, film or sound that carries "
            "one; - for one from stdin.",
        ),
    ],
    values: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="Values of its parameters.", show_default=False)
    ] = None,
    *,
    n: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many, with the seeds seed, seed + 1, …")] = 1,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the files.")] = Path("out"),
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Higher goes first.")] = 0,
    deadline: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Seconds from now by which it has to be done; refused when it would not.",
            show_default=False,
        ),
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A note on the job; may be repeated.", show_default=False),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for the end and save the files, or only order.")
    ] = True,
    timeout: Annotated[
        float | None,
        typer.Option(min=0, help="Stop waiting after so many seconds; the jobs go on.", show_default=False),
    ] = None,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Order a template, watch it run, save the files.

    Ctrl-C cancels the jobs and waits for that; a second Ctrl-C leaves at once.

    Examples:

        comfy-gateway run sdxl prompt="a red fox" seed=7 -n 4 -o out/

        comfy-gateway run edit image=photo.png tone=overlay

        comfy-gateway run sd15 prompt=@prompt.txt --json

        comfy-gateway run workflow.json seed=3

    A file parameter takes a path (the file is uploaded), asset:NAME, or an
    asset's id. Any parameter takes - for stdin, and @FILE for the text of a
    file. `comfy-gateway templates show NAME` lists the parameters.

    Exit status: 0 done, 1 a job failed, 2 something is wrong with the order,
    3 no gateway, 130 Ctrl-C.
    """
    from gateway.cli import ordering, output

    wish = ordering.Wish(
        what=what,
        words=tuple(values or ()),
        n=n,
        out=out,
        priority=priority,
        deadline=deadline,
        metadata=tuple(metadata or ()),
        wait=wait,
        timeout=timeout,
    )
    output.run(lambda screen: ordering.fulfil(wish, url, api_key, screen), as_json=as_json)
