"""`python -m gateway.simulator`: one simulated ComfyUI as a process."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from gateway import simulator
from gateway.simulator.options import CACHES, CARDS, NODE_PACKS, VERSIONS

EXAMPLES = """\
examples:
  {prog} --port 8188
  {prog} --port 0 --card rtx4090 --preview-method auto
  {prog} --version 0.3.64 --without-node ImageScale --model checkpoints=mine.safetensors
"""


def parse(arguments: list[str], *, prog: str = "python -m gateway.simulator") -> simulator.Options:
    """Read the command line."""
    given = _parser(prog).parse_args(arguments)
    return simulator.Options(
        host=given.host,
        port=given.port,
        directory=given.dir,
        name=given.name,
        version=given.version,
        jobs_api=False if given.no_jobs_api else None,
        card=given.card,
        step_ms=given.step_ms,
        load_ms=given.load_ms,
        slowness=given.slowness,
        preview_method=given.preview_method,
        cache=given.cache,
        models_held=given.models_held,
        node_packs=frozenset(given.node_pack),
        without_nodes=frozenset(given.without_node),
        models=_models(given.model),
        start_delay_s=given.start_delay,
        end_delay_s=given.end_delay,
    )


class _Telling(argparse.ArgumentParser):
    """Raises what is wrong instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def complaint(arguments: list[str]) -> str | None:
    """What is wrong with this command line; None when it would start."""
    try:
        _with_options(_Telling(add_help=False)).parse_args(arguments)
    except ValueError as error:
        return str(error)
    return None


def _parser(prog: str) -> argparse.ArgumentParser:
    return _with_options(
        argparse.ArgumentParser(
            prog=prog,
            description="One simulated ComfyUI as a process.",
            epilog=EXAMPLES.format(prog=prog),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )


def _with_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8188, help="port to listen on; 0 takes a free one (default: 8188)")
    parser.add_argument("--dir", type=Path, help="base directory with output, input and temp (default: temporary)")
    parser.add_argument("--name", default="simulator", help="what it calls itself (default: simulator)")
    parser.add_argument(
        "--version", choices=VERSIONS, default=VERSIONS[0], help=f"the ComfyUI to play (default: {VERSIONS[0]})"
    )
    parser.add_argument("--no-jobs-api", action="store_true", help="answer as if /api/jobs* did not exist")
    parser.add_argument(
        "--card", choices=tuple(CARDS), default="demo", help="how fast it is, and its memory (default: demo)"
    )
    parser.add_argument("--step-ms", type=float, help="milliseconds of a sampling step, in place of the card's")
    parser.add_argument("--load-ms", type=float, help="milliseconds of any model load, in place of the card's")
    parser.add_argument(
        "--slowness",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="how many times longer all of that takes (default: 1)",
    )
    parser.add_argument(
        "--preview-method",
        choices=("none", "auto", "latent2rgb", "taesd"),
        default="none",
        help="send previews while it samples (default: none)",
    )
    parser.add_argument(
        "--cache", choices=CACHES, default=CACHES[0], help=f"which results it keeps between jobs (default: {CACHES[0]})"
    )
    parser.add_argument(
        "--models-held", type=int, default=1, metavar="N", help="loaded models that stay in memory (default: 1)"
    )
    _add_nodes_and_models(parser)
    parser.add_argument(
        "--start-delay", type=float, default=0, metavar="SECONDS", help="wait before the port opens, as a slow start"
    )
    parser.add_argument(
        "--end-delay", type=float, default=0, metavar="SECONDS", help="wait between a job's end and its history entry"
    )
    return parser


def _add_nodes_and_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--node-pack", choices=NODE_PACKS, action="append", default=[], help="a custom node pack it has; repeatable"
    )
    parser.add_argument(
        "--without-node", action="append", default=[], metavar="CLASS", help="a node class it lacks; repeatable"
    )
    parser.add_argument(
        "--model",
        type=_model,
        action="append",
        default=[],
        metavar="FOLDER=FILE",
        help="a model file it has, in place of the folder's default ones; repeatable",
    )


def _model(pair: str) -> tuple[str, str]:
    folder, _, name = pair.partition("=")
    if not folder or not name:
        raise argparse.ArgumentTypeError(f"takes FOLDER=FILE, not {pair!r}")
    return folder, name


def _models(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    models: dict[str, tuple[str, ...]] = {}
    for folder, name in pairs:
        models[folder] = (*models.get(folder, ()), name)
    return models


if __name__ == "__main__":
    sys.exit(simulator.run(parse(sys.argv[1:])))
