"""`comfy-gateway templates add | remove | versions | alias | rollback | candidate`: templates of a running gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import connection, output

Name = Annotated[str, typer.Argument(help="The template's name.")]
_VERSION = "A version, its first digits, another alias, or latest."


def register(group: typer.Typer) -> None:
    """Add these commands to the group."""
    group.command("add")(add)
    group.command("remove")(remove)
    group.command("versions")(versions)
    group.command("alias")(alias)
    group.command("rollback")(rollback)
    group.command("candidate")(candidate)


def add(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="What ComfyUI saved (JSON, PNG, WebP, MP4 …), or a NAME.pipeline.toml."),
    ],
    *,
    name: Annotated[
        str | None, typer.Option("--name", help="What to call it; without, as the file.", show_default=False)
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace one of that name.")] = False,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Add templates to a running gateway.

    Examples:

        comfy-gateway templates add fox.json

        comfy-gateway templates add ComfyUI_00042_.png --name fox --replace

        comfy-gateway templates add tint.json poster.pipeline.toml

    NAME.toml beside a file, and the default files that it names, go with it.
    A pipeline goes alone: its steps' templates must be there, or come before it.
    The gateway checks them as it checks files in its workflows folder. What was
    there before can still be ordered as name@version.
    """
    from gateway.cli import template_versions

    output.run(
        lambda screen: template_versions.add(files, (url, api_key), screen, name=name, replace=replace),
        as_json=as_json,
    )


def remove(
    name: Name,
    *,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Remove a template that was added over the API; its versions can still be ordered.

    Examples:

        comfy-gateway templates remove portrait
    """
    from gateway.cli import template_versions

    output.run(lambda screen: template_versions.remove(name, (url, api_key), screen), as_json=as_json)


def versions(
    name: Name,
    *,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """List a template's versions and aliases, newest first.

    Examples:

        comfy-gateway templates versions sdxl

        comfy-gateway run sdxl@3f2a81c0 prompt="a red fox"
    """
    from gateway.cli import template_versions

    output.run(lambda screen: template_versions.listing(name, (url, api_key), screen), as_json=as_json)


def alias(
    name: Name,
    alias: Annotated[str, typer.Argument(help="The alias, such as stable.")],
    version: Annotated[str | None, typer.Argument(help=_VERSION, show_default=False)] = None,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the alias.")] = False,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Point an alias to a version.

    Examples:

        comfy-gateway templates alias sdxl stable latest

        comfy-gateway templates alias sdxl stable 3f2a81c0

    Once `stable` is set, it is what the name alone means.
    """
    from gateway.cli import failures, template_versions

    async def task(screen: output.Screen) -> None:
        if (version is None) != remove:
            raise failures.Wrong("name a version, or use --remove")
        await template_versions.point(name, alias, version, (url, api_key), screen)

    output.run(task, as_json=as_json)


def rollback(
    name: Name,
    alias: Annotated[str, typer.Argument(help="The alias.")] = "stable",
    *,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Take back an alias' last move; several times, to go further back.

    Examples:

        comfy-gateway templates rollback sdxl

    An alias that was never set goes to the version before the latest.
    """
    from gateway.cli import template_versions

    output.run(lambda screen: template_versions.roll_back(name, alias, (url, api_key), screen), as_json=as_json)


def candidate(
    name: Name,
    version: Annotated[str | None, typer.Argument(help=_VERSION, show_default=False)] = None,
    *,
    share: Annotated[str | None, typer.Option("--share", help="Of the orders: 10% or 0.1.", show_default=False)] = None,
    end: Annotated[bool, typer.Option("--end", help="Give the candidate no orders any more.")] = False,
    alias: Annotated[str, typer.Option("--alias", help="Whose orders.")] = "stable",
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Give a version a share of an alias' orders.

    Examples:

        comfy-gateway templates candidate sdxl latest --share 10%

        comfy-gateway templates alias sdxl stable latest

        comfy-gateway templates candidate sdxl --end

    The alias must be set. Jobs tell in template_version what they ran; an order
    with the same Idempotency-Key always gets the same version.
    """
    from gateway.cli import failures, template_versions

    async def task(screen: output.Screen) -> None:
        if end == (version is not None):
            raise failures.Wrong("name a version with its --share, or use --end")
        await template_versions.offer(name, version, share, (url, api_key), screen, alias=alias)

    output.run(task, as_json=as_json)
