"""The block that greets the person who started the gateway."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import gateway
from gateway.adapters import datadir
from gateway.settings import Settings
from gateway.supervisor import plan

_DEFAULT_URL = "http://127.0.0.1:8180"  #: where commands look that are not told where the gateway is
NO_WORKERS = (
    "none yet, what is submitted waits: add real ones with --comfyui DIR or --worker URL, "
    "or simulated ones with --simulate 2"
)


def block(settings: Settings, data: datadir.DataDir, url: str, specs: Sequence[plan.Spec]) -> str:
    """The whole block."""
    rows: list[tuple[str, str]] = [
        ("URL", f"{url}   (API documentation: {url}/docs)"),
        *_aligned("Workers", _workers(settings, specs)),
        ("Data", str(data.path)),
        ("Submit", _submit(settings, url)),
        ("Stop", f"Ctrl-C; running jobs may finish within {settings.grace:g} s"),
    ]
    return "\n".join([f"comfy-gateway {gateway.__version__}", *(f"  {name:<8} {value}" for name, value in rows), ""])


def _workers(settings: Settings, specs: Sequence[plan.Spec]) -> Iterator[str]:
    widths = [max((len(text) for text in column), default=0) for column in zip(*map(_facts, specs), strict=True)]
    for spec in specs:
        yield "  ".join(text.ljust(width) for text, width in zip(_facts(spec), widths, strict=True)).rstrip()
    yield from settings.workers
    if not specs and not settings.workers:
        yield NO_WORKERS


def _facts(spec: plan.Spec) -> tuple[str, str, str]:
    return spec.id, spec.device, spec.url


def _aligned(name: str, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines):
        yield ("" if number else name), line


def _submit(settings: Settings, url: str) -> str:
    elsewhere = "" if url == _DEFAULT_URL else f"--url {url} "
    example = "sdxl" if not settings.simulate else "sd15"
    return f'comfy-gateway run {elsewhere}{example} prompt="a red fox"   (all templates: comfy-gateway templates list)'
