"""`comfy-gateway queue`: what takes nothing new, and since when."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import connection, output

Template = Annotated[str | None, typer.Option(metavar="NAME", help="The jobs of this template.", show_default=False)]
Tenant = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The jobs of this tenant (another's: an admin's key).", show_default=False),
]
Worker = Annotated[str | None, typer.Option(metavar="ID", help="This worker.", show_default=False)]


def app() -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(
        help="Pause, drain and resume the queue, a template, a tenant or a worker.", no_args_is_help=True
    )
    group.command("show")(show)
    group.command("pause")(pause)
    group.command("drain")(drain)
    group.command("resume")(resume)
    return group


def show(
    *,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Show what is paused, and how much of it runs still.

    Examples:

        comfy-gateway queue show
    """
    from gateway.cli import pausing

    output.run(lambda screen: pausing.show(url, api_key, screen), as_json=as_json)


def pause(
    *,
    template: Template = None,
    tenant: Tenant = None,
    worker: Worker = None,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Start nothing new of it, until it is resumed; what runs goes on, orders are still taken. Without an option: the
    whole queue. It outlasts restarts.

    Examples:

        comfy-gateway queue pause

        comfy-gateway queue pause --worker gpu1
    """
    from gateway.cli import pausing

    async def task(screen: output.Screen) -> None:
        target = pausing.target(template=template, tenant=tenant, worker=worker)
        await pausing.pause(target, url, api_key, screen)

    output.run(task, as_json=as_json)


def drain(
    *,
    template: Template = None,
    tenant: Tenant = None,
    worker: Worker = None,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Pause it, and wait until nothing of it runs any more. Ctrl-C leaves; it stays paused.

    Examples:

        comfy-gateway queue drain --worker gpu1
    """
    from gateway.cli import pausing

    async def task(screen: output.Screen) -> None:
        target = pausing.target(template=template, tenant=tenant, worker=worker)
        await pausing.drain(target, url, api_key, screen)

    output.run(task, as_json=as_json)


def resume(
    *,
    template: Template = None,
    tenant: Tenant = None,
    worker: Worker = None,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """End a pause or a drain. Jobs that waited for it stand where they would had they been ordered now.

    Examples:

        comfy-gateway queue resume

        comfy-gateway queue resume --worker gpu1
    """
    from gateway.cli import pausing

    async def task(screen: output.Screen) -> None:
        target = pausing.target(template=template, tenant=tenant, worker=worker)
        await pausing.resume(target, url, api_key, screen)

    output.run(task, as_json=as_json)
