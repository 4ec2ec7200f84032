"""`comfy-gateway bench`: many jobs at once or at a rate, and what became of them in figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import connection

MODEL_FREE = "contact-sheet"


def bench(
    what: Annotated[
        str,
        typer.Argument(
            metavar="TEMPLATE",
            help="A template's name, or a workflow.json that ComfyUI saved; without one: needs no model.",
        ),
    ] = MODEL_FREE,
    values: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="Values of its parameters.", show_default=False)
    ] = None,
    *,
    n: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many jobs are measured.")] = 100,
    inputs: Annotated[
        Path | None,
        typer.Option(
            help="A .jsonl or .csv file as `batch` takes it; its lines are ordered in turn, over and over.",
            show_default=False,
        ),
    ] = None,
    vary: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The whole number that counts up from job to job, from its value or its default; else the seed.",
            show_default=False,
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Jobs that are ordered and not done yet; else all.", show_default=False),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Orders a second, at random moments; else at once.", show_default=False),
    ] = None,
    warm_up: Annotated[
        int | None,
        typer.Option(
            min=0, max=1000, help="Jobs before those, not measured; else two for each worker.", show_default=False
        ),
    ] = None,
    priority: Annotated[
        int, typer.Option(min=-100, max=100, help="Higher goes first; a line's own goes before this.")
    ] = 0,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Order many jobs of a running gateway and show how fast they were, and how good its estimates.

    Examples:

        comfy-gateway bench

        comfy-gateway bench sdxl prompt="a red fox" steps=20 -n 40

        comfy-gateway bench sdxl --inputs orders.csv --rate 0.5 -n 200 --json

        comfy-gateway bench edit width=512 --vary width --width 4

    Shown are jobs a second; how long they waited, ran and took in all (p50,
    p90, p99); the share that was done by the p50 and p90 of the first `eta`
    that each got; and what each worker did. Times are the gateway's own.

    Every job differs, so that no worker answers from its cache: the seed counts
    up from a random number, or the parameter named by --vary from the value it
    has. Nothing is downloaded, and the gateway may forget the jobs after a day.
    They are real work: on a gateway in use, --priority -100 lets everybody else
    go first. Ctrl-C cancels them, and so does what ends the command early.

    Exit status: 0 all done, 1 some failed, 2 something is wrong with the order,
    3 no gateway, 130 Ctrl-C.
    """
    from gateway.cli import benching, output, workload

    wish = benching.Wish(
        load=workload.Wish(what=what, words=tuple(values or ()), file=inputs, vary=vary, priority=priority),
        n=n,
        width=width,
        rate=rate,
        warm_up=warm_up,
    )
    output.run(lambda screen: benching.fulfil(wish, url, api_key, screen), as_json=as_json)
