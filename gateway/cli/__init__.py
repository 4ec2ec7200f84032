"""`comfy-gateway`: the command line.

One module a group of commands. What a command needs is imported when it runs, so that `--help` answers at once.
Exit statuses: see `failures`.
"""

from __future__ import annotations

import sys

import typer

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


def main() -> None:
    """The installed program."""
    app = build()
    try:
        app()
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
