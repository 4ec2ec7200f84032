"""`comfy-gateway templates`: which there are, what they take, whether files are right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import connection, output, template_commands, template_golden

Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="Look in this folder instead of asking a gateway.", show_default=False),
]
ObjectInfo = Annotated[
    Path | None,
    typer.Option(help="What a ComfyUI answers at /object_info, saved (.json or .json.gz).", show_default=False),
]


def app() -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(help="List, show, check and add templates; name their versions.", no_args_is_help=True)
    group.command("list")(list_templates)
    group.command("show")(show)
    group.command("check")(check)
    group.command("convert")(convert)
    template_golden.register(group)
    template_commands.register(group)
    return group


def list_templates(
    context: typer.Context,
    *,
    folder: Folder = None,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """List the gateway's templates; without one, those on this machine.

    On this machine are those that ship and those in ./workflows.

    Examples:

        comfy-gateway templates list

        comfy-gateway templates list --folder workflows --json
    """
    from gateway.cli import template_tables

    source = template_tables.Source(folder=folder, url=url, api_key=api_key, named=connection.is_named(context))
    output.run(lambda screen: template_tables.listing(source, screen), as_json=as_json)


def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A template's name, or a file that ComfyUI saved.")],
    *,
    write: Annotated[
        bool, typer.Option("--write", help="Write the parameters that were found as NAME.toml beside the workflow.")
    ] = False,
    folder: Folder = None,
    object_info: ObjectInfo = None,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Show what a template takes and makes, and what it needs of a worker.

    Examples:

        comfy-gateway templates show sdxl

        comfy-gateway templates show workflows/mine.json --write

    A workflow without a NAME.toml has the parameters that are found in its
    graph; --write writes them as the file to start from and never overwrites
    one. With --object-info, or --url of a gateway or a ComfyUI, the types of
    custom nodes' inputs are known, too. What the editor saved is converted by
    these, else by the gateway of this machine.
    """
    from gateway.cli import template_files, template_tables

    source = template_tables.Source(folder=folder, url=url, api_key=api_key, named=connection.is_named(context))
    if write or template_files.is_file(name):
        output.run(
            lambda screen: template_files.show(name, source, screen, object_info=object_info, write=write),
            as_json=as_json,
        )
    output.run(lambda screen: template_tables.one(name, source, screen), as_json=as_json)


def check(
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE",
            help="Workflows, pictures that carry one, folders of them, or a gateway's templates; none: ./workflows.",
            show_default=False,
        ),
    ] = None,
    *,
    every_worker: Annotated[
        bool, typer.Option("--every-worker", help="All workers must be able to run them; else one is enough.")
    ] = False,
    object_info: ObjectInfo = None,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    as_json: connection.Json = False,
) -> None:
    """Check template files; with workers or an object_info, whether these could run them.

    Examples:

        comfy-gateway templates check

        comfy-gateway templates check workflows/mine.json --object-info object_info.json

        comfy-gateway templates check --url http://127.0.0.1:8188

        comfy-gateway templates check sdxl --url http://127.0.0.1:8180

    With --url (or COMFY_GATEWAY_URL) of a ComfyUI, or of a gateway, whose
    workers are then all asked, files are checked against what these have: node
    classes, inputs, ranges, choices, links, model files. Without, what the
    editor saved is converted by the gateway of this machine; where none runs
    it is "not checked". Exit status 1 when something is wrong.
    """
    from gateway.cli import template_files

    named = connection.is_named(context)
    place, converter = ((url, api_key), None) if named else (None, (url, api_key))
    wanted = files or [Path("workflows")]
    output.run(
        lambda screen: template_files.check(
            wanted, screen, object_info=object_info, place=place, everywhere=every_worker, converter=converter
        ),
        as_json=as_json,
    )


def convert(
    file: Annotated[Path, typer.Argument(help="A workflow, or a picture, film or sound that carries one.")],
    *,
    object_info: ObjectInfo = None,
    url: connection.Url = connection.DEFAULT_URL,
    api_key: connection.ApiKey = None,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Keep nodes of unknown classes, as far as the file tells.")
    ] = False,
) -> None:
    """Print the graph that ComfyUI would be sent for a saved workflow.

    Examples:

        comfy-gateway templates convert mine.json

        comfy-gateway templates convert mine.json --url http://127.0.0.1:8188

        comfy-gateway templates convert mine.json --object-info object_info.json

    What its node classes are is asked of the gateway's workers, or of the
    ComfyUI that --url names, unless --object-info tells it. A file in API
    format is printed as it is. Exit status 2 when the workflow cannot be
    converted; each reason names the node. A pipeline has no graph of its own.
    """
    from gateway.cli import template_convert

    output.run(
        lambda screen: template_convert.convert(
            file, screen, object_info=object_info, place=(url, api_key), allow_unknown=allow_unknown
        )
    )
