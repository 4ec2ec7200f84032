"""`comfy-gateway`: the command line.

One module a group of commands. What a command needs is imported when it runs, so that `--help` answers at once.
Exit statuses: see `failures`.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import typer
from typer.main import get_command

import gateway
from gateway.cli import (
    batch,
    bench,
    demo,
    doctor,
    failures,
    jobs,
    queue,
    run,
    simulate,
    templates,
    up,
    webhooks,
    workers,
)
from gateway.domain import errors


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"comfy-gateway {gateway.__version__}")
        raise typer.Exit


def _program(
    _version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """One endpoint in front of all your ComfyUI GPUs."""


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(name="comfy-gateway", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
    app.callback()(_program)
    app.command("up")(up.up)
    app.command("run")(run.run)
    app.command("batch")(batch.batch)
    app.command("bench")(bench.bench)
    app.add_typer(jobs.app(), name="jobs")
    app.add_typer(queue.app(), name="queue")
    app.add_typer(workers.app(), name="workers")
    app.add_typer(templates.app(), name="templates")
    app.add_typer(webhooks.app(), name="webhooks")
    app.command("demo")(demo.demo)
    app.command("simulate", context_settings=simulate.SETTINGS)(simulate.simulate)
    app.command("doctor")(doctor.doctor)
    return app


def command() -> Any:
    """The whole command line as it is run; its help says types as people do."""
    whole: Any = get_command(build())
    _say_types(whole, typer.Context(whole))
    return whole


def _say_types(command: Any, context: typer.Context) -> None:
    """A flag takes nothing; what is repeated, or has bounds, which stand beside it, is `<str>` or `<int>`."""
    for each in command.get_params(context):
        if each.param_type_name == "option" and each.metavar is None:
            shown = re.sub(r" range|list\[(.*)\]", r"\1", each.display_type(context))
            each.metavar = "" if each.is_flag else shown.lower()
    for inner in getattr(command, "commands", {}).values():
        _say_types(inner, context)


def main() -> None:
    """The installed program."""
    whole = command()
    try:
        whole()
    except errors.GatewayError as error:
        _tell(error)
        sys.exit(failures.status_of(error))


def _tell(error: errors.GatewayError) -> None:
    typer.echo(f"comfy-gateway: {error.message}", err=True)
    for fault in error.faults if isinstance(error, errors.InvalidRequest | errors.TemplateError) else ():
        place = ", ".join(
            f"{name} {value}" for name, value in fault.as_dict().items() if name not in {"reason", "message"}
        )
        typer.echo(f"  - {fault.message}" + (f" ({place})" if place else ""), err=True)
