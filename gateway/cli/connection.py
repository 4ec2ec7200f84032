"""Flags of the commands that talk to a running gateway."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_URL = "http://127.0.0.1:8180"
_PANEL = "Gateway"

Url = Annotated[
    str, typer.Option("--url", envvar="COMFY_GATEWAY_URL", help="Where the gateway is.", rich_help_panel=_PANEL)
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="COMFY_GATEWAY_API_KEY",
        help="Key of a gateway that asks for one.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, for programs.")]


def is_named(context: typer.Context) -> bool:
    """Whether somebody said where the gateway is, as a flag or in the environment."""
    source = context.get_parameter_source("url")
    return source is not None and source.name not in {"DEFAULT", "DEFAULT_MAP"}
