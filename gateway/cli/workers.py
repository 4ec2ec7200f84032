"""`comfy-gateway workers`: which there are, adding and removing them, giving them no work for a while."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import connection, output

Watch = Annotated[bool, typer.Option("--watch", "-w", help="Keep showing them; Ctrl-C leaves.")]
WorkerId = Annotated[str, typer.Argument(metavar="ID", help="The worker's id.")]


def app() -> typer.Typer:
    """The group of commands; alone it lists."""
    group = typer.Typer()
    group.callback(invoke_without_command=True)(_alone)
    group.command("list")(list_workers)
    group.command("add")(add)
    group.command("remove")(remove)
    group.command("drain")(drain)
    group.command("resume")(resume)
    group.command("restart")(restart)
    return group


def _alone(
    context: typer.Context,
    *,
    watch: Watch = False,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """List, add, drain and remove workers; alone it lists.

    Examples:

        comfy-gateway workers

        comfy-gateway workers --watch

        comfy-gateway workers add http://10.0.0.7:8188 --id studio

        comfy-gateway workers drain gpu0
    """
    if context.invoked_subcommand is None:
        list_workers(watch=watch, url=url, api_key=api_key, as_json=as_json)


def list_workers(
    *,
    watch: Watch = False,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """List the workers: what each does, what it has loaded, what it has done.

    Examples:

        comfy-gateway workers list --watch
    """
    from gateway.cli import worker_tables

    output.run(lambda screen: worker_tables.listing(url, api_key, screen, watch=watch), as_json=as_json)


def add(
    worker: Annotated[str, typer.Argument(metavar="URL", help="Of a ComfyUI: http://10.0.0.7:8188")],
    *,
    worker_id: Annotated[
        str | None, typer.Option("--id", help="What to call it; else made of host and port.", show_default=False)
    ] = None,
    depth: Annotated[int, typer.Option(min=1, max=16, help="Jobs sent to it at once.")] = 1,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Take a ComfyUI that runs elsewhere into use; it need not answer yet.

    Examples:

        comfy-gateway workers add http://10.0.0.7:8188 --id studio
    """
    from gateway.cli import worker_tables

    new = worker_tables.New(url=worker, id=worker_id, depth=depth)
    output.run(lambda screen: worker_tables.add(new, url, api_key, screen), as_json=as_json)


def remove(
    worker: WorkerId,
    *,
    now: Annotated[bool, typer.Option("--now", help="Hand back what it runs instead of letting it finish.")] = False,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Remove a worker; it finishes what it runs first.

    Examples:

        comfy-gateway workers remove studio --now
    """
    from gateway.cli import worker_tables

    output.run(lambda screen: worker_tables.remove(worker, url, api_key, screen, drain=not now), as_json=as_json)


def drain(
    worker: WorkerId,
    *,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Give a worker no new jobs, and wait until it has finished what it runs. Ctrl-C leaves; it stays paused.

    The same as `comfy-gateway queue drain --worker ID`.

    Examples:

        comfy-gateway workers drain gpu0
    """
    from gateway.cli import pausing

    output.run(lambda screen: pausing.drain({"worker": worker}, url, api_key, screen), as_json=as_json)


def resume(
    worker: WorkerId,
    *,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Give a worker jobs again, after `drain` or a pause.

    Examples:

        comfy-gateway workers resume gpu0
    """
    from gateway.cli import pausing

    output.run(lambda screen: pausing.resume({"worker": worker}, url, api_key, screen), as_json=as_json)


def restart(
    worker: WorkerId,
    *,
    data_dir: Annotated[Path, typer.Option(help="The data directory of the gateway that runs it.")] = Path(
        "gateway-data"
    ),
    as_json: connection.Json = False,
) -> None:
    """Restart a local worker's process, on the machine it runs on.

    A job that it runs is tried again.

    Examples:

        comfy-gateway workers restart gpu0
    """
    from gateway.cli import worker_tables

    output.run(lambda screen: worker_tables.restart(worker, data_dir, screen), as_json=as_json)
