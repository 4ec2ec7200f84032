"""`python -m gateway.simulator`: one simulated ComfyUI as a process."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gateway import simulator
from gateway.simulator.options import CACHES, CARDS, NODE_PACKS, VERSIONS


def parse(arguments: list[str], *, prog: str = "python -m gateway.simulator") -> simulator.Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog=prog, description="One simulated ComfyUI as a process.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8188, help="0 takes a free one")
    parser.add_argument("--dir", type=Path, help="base directory with output, input and temp (default: temporary)")
    parser.add_argument("--name", default="simulator")
    parser.add_argument("--version", choices=VERSIONS, default=VERSIONS[0], help="the ComfyUI to play")
    parser.add_argument("--no-jobs-api", action="store_true", help="answer as if /api/jobs* did not exist")
    parser.add_argument("--card", choices=tuple(CARDS), default="demo")
    parser.add_argument("--step-ms", type=float, help="milliseconds of a sampling step, in place of the card's")
    parser.add_argument("--load-ms", type=float, help="milliseconds of any model load, in place of the card's")
    parser.add_argument("--preview-method", choices=("none", "auto", "latent2rgb", "taesd"), default="none")
    parser.add_argument("--cache", choices=CACHES, default=CACHES[0])
    parser.add_argument("--node-pack", choices=NODE_PACKS, action="append", default=[])
    parser.add_argument("--without-node", action="append", default=[], metavar="CLASS")
    parser.add_argument(
        "--model", action="append", default=[], metavar="FOLDER=FILE", help="replaces the folder's default files"
    )
    parser.add_argument("--start-delay", type=float, default=0, metavar="SECONDS")
    parser.add_argument("--end-delay", type=float, default=0, metavar="SECONDS")
    given = parser.parse_args(arguments)
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
        preview_method=given.preview_method,
        cache=given.cache,
        node_packs=frozenset(given.node_pack),
        without_nodes=frozenset(given.without_node),
        models=_models(parser, given.model),
        start_delay_s=given.start_delay,
        end_delay_s=given.end_delay,
    )


def _models(parser: argparse.ArgumentParser, pairs: list[str]) -> dict[str, tuple[str, ...]]:
    models: dict[str, tuple[str, ...]] = {}
    for pair in pairs:
        folder, _, name = pair.partition("=")
        if not folder or not name:
            parser.error(f"--model takes FOLDER=FILE, not {pair!r}")
        models[folder] = (*models.get(folder, ()), name)
    return models


if __name__ == "__main__":
    sys.exit(simulator.run(parse(sys.argv[1:])))
