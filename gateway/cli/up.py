"""`comfy-gateway up`: the gateway with its local workers."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli import options
from gateway.domain import errors

if TYPE_CHECKING:
    from gateway.settings import Settings

_NETWORK = "Network"
_WORKERS = "Workers"
_RUNNING = "Running"
_OF_LOCAL_WORKERS: Final = ("comfyui_python", "comfyui_args", "gpus", "workers_per_gpu")


def up(
    *,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on; `::` for IPv6 and IPv4. A public one needs an API key. (default: 127.0.0.1)",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen on; 0 takes a free one. (default: 8180)", rich_help_panel=_NETWORK),
    ] = None,
    public_url: Annotated[
        str | None, typer.Option(help="How clients reach the gateway through a proxy.", rich_help_panel=_NETWORK)
    ] = None,
    api_keys_file: Annotated[
        Path | None, typer.Option(help="Who may use it: a file of name:key lines.", rich_help_panel=_NETWORK)
    ] = None,
    comfyui: Annotated[
        Path | None, typer.Option(help="ComfyUI's folder: run local workers from it.", rich_help_panel=_WORKERS)
    ] = None,
    comfyui_python: Annotated[
        Path | None,
        typer.Option(
            help="The Python that runs ComfyUI. (default: the environment in its folder)", rich_help_panel=_WORKERS
        ),
    ] = None,
    comfyui_args: Annotated[
        str | None, typer.Option(help='More arguments for ComfyUI: "--fast --lowvram".', rich_help_panel=_WORKERS)
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(help="all, none (run on the CPU), or 0,1,… or UUIDs. (default: all)", rich_help_panel=_WORKERS),
    ] = None,
    workers_per_gpu: Annotated[
        int | None, typer.Option(help="ComfyUI processes a GPU. (default: 1)", rich_help_panel=_WORKERS)
    ] = None,
    worker: Annotated[
        list[str] | None,
        typer.Option(help="URL of a ComfyUI that runs elsewhere; give it once a worker.", rich_help_panel=_WORKERS),
    ] = None,
    simulate: Annotated[
        int | None, typer.Option(help="Start so many simulators instead of real workers.", rich_help_panel=_WORKERS)
    ] = None,
    simulate_args: Annotated[
        str | None,
        typer.Option(
            help="Arguments of the simulators. (default: --card demo --node-pack ipadapter)", rich_help_panel=_WORKERS
        ),
    ] = None,
    data_dir: options.DataDir = None,
    database: Annotated[str | None, typer.Option(help="postgresql://… (default: SQLite in the data directory)")] = None,
    blobs: Annotated[str | None, typer.Option(help="Folder of pictures. (default: in the data directory)")] = None,
    workflows: Annotated[
        list[Path] | None, typer.Option(help="Folder of templates, may be repeated. (default: ./workflows)")
    ] = None,
    webhooks_allow_private: Annotated[
        str | None,
        typer.Option(
            metavar="NETWORKS",
            help="Private addresses that webhooks may have: none, all, or 192.168.1.0/24,… (default: none)",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    grace: Annotated[
        str | None,
        typer.Option(
            help="How long running jobs may take to finish at the end. (default: 30s)", rich_help_panel=_RUNNING
        ),
    ] = None,
    log: Annotated[
        str | None, typer.Option(help="auto, console or json. (default: auto)", rich_help_panel=_RUNNING)
    ] = None,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="The same as --log json.", rich_help_panel=_RUNNING)
    ] = False,
    config: options.Config = None,
) -> None:
    """Start the gateway and its workers; stop with Ctrl-C.

    The server listens on http://127.0.0.1:8180. Without workers, it uses a ComfyUI on 127.0.0.1:8188 if one is there.

    Examples:

        comfy-gateway up --comfyui ~/ComfyUI

        comfy-gateway up --comfyui ~/ComfyUI --gpus 0,1 --workers-per-gpu 2

        comfy-gateway up --worker http://gpu1:8188 --worker http://gpu2:8188

        comfy-gateway up --simulate 2
    """
    flags = options.given(
        {
            "host": host,
            "port": port,
            "public_url": public_url,
            "api_keys_file": api_keys_file,
            "comfyui": comfyui,
            "comfyui_python": comfyui_python,
            "comfyui_args": comfyui_args,
            "gpus": gpus,
            "workers_per_gpu": workers_per_gpu,
            "workers": worker,
            "simulate": simulate,
            "simulate_args": simulate_args,
            "data_dir": data_dir,
            "database": database,
            "blobs": blobs,
            "workflows": workflows,
            "webhooks": options.given({"allow_private": webhooks_allow_private}) or None,
            "grace": grace,
            "log": "json" if log_json else log,
        }
    )
    import structlog

    from gateway import logs, settings
    from gateway.supervisor import run

    wanted = settings.load(flags, file=config, environment=os.environ)
    _check_local_workers(flags, wanted)
    _check_simulators(wanted)
    form = logs.format_of(wanted.log)
    logs.configure(form)
    for stranger in settings.strangers(os.environ):
        structlog.get_logger("gateway").warning("setting_unknown", variable=stranger)
    raise typer.Exit(asyncio.run(run.supervise(wanted, form=form)))


def _check_local_workers(flags: Mapping[str, object], wanted: Settings) -> None:
    """Options that describe local workers mean nothing without a ComfyUI to run; they must not be ignored silently."""
    idle = [name for name in _OF_LOCAL_WORKERS if flags.get(name) is not None]
    if idle and wanted.comfyui is None:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        raise errors.ConfigError(f"{options}: which ComfyUI? Say where its folder is with --comfyui DIR")


def _check_simulators(wanted: Settings) -> None:
    """What the simulators would not take is told now, not by each of them again and again; ConfigError."""
    if not wanted.simulate:
        return
    from gateway.simulator import __main__ as program

    try:
        words = shlex.split(wanted.simulate_args)
    except ValueError:
        return  # the plan tells it
    complaint = program.complaint(words)
    if complaint:
        raise errors.ConfigError(f"--simulate-args: {complaint} (see comfy-gateway simulate --help)")
