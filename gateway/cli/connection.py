"""Flags of the commands that talk to a running gateway, and what they say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

import typer

from gateway.cli import failures

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


def base(url: str) -> str:
    """The URL of a gateway, as requests begin with it."""
    try:
        found = urlsplit(url)
        usable = found.scheme in {"http", "https"} and bool(found.hostname) and found.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise failures.Wrong(f"{url!r} is not the URL of a gateway", way_out="write it like http://127.0.0.1:8180")
    return url.rstrip("/")


def authorization(url: str, api_key: str) -> Mapping[str, str]:
    """The header that brings the key."""
    if not (api_key.isascii() and api_key.isprintable()):
        raise failures.Wrong("the API key has characters that no key has", way_out="check --api-key")
    if "@" in urlsplit(url).netloc:
        raise failures.Wrong(
            "the URL has a name and password, so that no API key can be sent", way_out="give one of them"
        )
    return {"Authorization": f"Bearer {api_key}"}
