"""`comfy-gateway webhooks`: what was told to whom, what is still owed, telling it again."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import connection, output


def app() -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(help="List, show and repeat webhook deliveries.", no_args_is_help=True)
    group.command("list")(list_deliveries)
    group.command("show")(show)
    group.command("redeliver")(redeliver)
    return group


def list_deliveries(
    *,
    status: Annotated[
        str | None, typer.Option(help="pending, delivered, dead; several with commas.", show_default=False)
    ] = None,
    job: Annotated[
        str | None, typer.Option(metavar="ID", help="Only those about this job.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 20,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """List webhook deliveries, newest first.

    Examples:

        comfy-gateway webhooks list --status pending,dead

        comfy-gateway webhooks list --job 5f9d20c1
    """
    from gateway.cli import webhook_tables

    wish = webhook_tables.Wish(status=status, job=job, limit=limit)
    output.run(lambda screen: webhook_tables.listing(wish, url, api_key, screen), as_json=as_json)


def show(
    delivery: Annotated[
        str, typer.Argument(metavar="ID", help="The delivery's id, which is its webhook-id, or its end.")
    ],
    *,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Show a delivery: tries, the latest answer, the next try.

    Examples:

        comfy-gateway webhooks show 1b0c4e11_3

        comfy-gateway webhooks show msg_0198c3b2-7d1e-7c3a-9a55-2f6d1b0c4e11_3
    """
    from gateway.cli import webhook_tables

    output.run(lambda screen: webhook_tables.one(delivery, url, api_key, screen), as_json=as_json)


def redeliver(
    deliveries: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Ids of deliveries, or their ends.", show_default=False)
    ] = None,
    *,
    dead: Annotated[bool, typer.Option("--dead", help="All that were given up.")] = False,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Tell it again, under the same webhook-id; one that is pending is tried at once.

    Examples:

        comfy-gateway webhooks redeliver 1b0c4e11_3

        comfy-gateway webhooks redeliver --dead
    """
    from gateway.cli import webhook_tables

    output.run(
        lambda screen: webhook_tables.redeliver(deliveries or [], url, api_key, screen, dead=dead), as_json=as_json
    )
