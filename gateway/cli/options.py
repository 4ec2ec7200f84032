"""Flags that several commands share: where the settings come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Settings file; without, gateway.toml of this folder if it is there.", show_default=False
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Database, pictures, logs. (default: ./gateway-data)", show_default=False),
]


def given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were really given."""
    return {name: value for name, value in flags.items() if value is not None and value != []}
