"""`comfy-gateway simulate`: one simulated ComfyUI."""

from __future__ import annotations

from typing import Annotated

import typer

#: Everything after the command is the simulator's, `--help` included: one program reads it, so the two never differ.
SETTINGS = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def simulate(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="OPTION", help="See simulate --help.")] = None,
) -> None:
    """Run one simulated ComfyUI.

    Its own help lists its options: `comfy-gateway simulate --help`.

    Examples:

        comfy-gateway simulate --port 8188

        comfy-gateway simulate --port 0 --card rtx4090 --preview-method auto
    """
    from gateway import simulator
    from gateway.simulator import __main__ as program

    raise typer.Exit(simulator.run(program.parse(arguments or [], prog="comfy-gateway simulate")))
