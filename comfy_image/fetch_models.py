"""Fetch the models of a manifest: `python -m comfy_image.fetch_models --into /models --group sdxl`.

Exit status: 0 every required model is there; 1 some are not; 2 a mistake in the manifest or the command;
3 no room on the disk; 130 stopped (what was fetched is kept).
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import os
import shutil
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from comfy_image import download, manifest, progress

OK, INCOMPLETE, USAGE, DISK_FULL, STOPPED = 0, 1, 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    asked = _parser().parse_args(arguments)
    report = progress.JsonLines(out=sys.stdout) if asked.json else progress.Text(out=sys.stdout)
    try:
        models = manifest.read_manifest(asked.manifest)
        if asked.list:
            return _print_list(models)
        chosen = manifest.choose(models, asked.names or ["all"])
    except manifest.ManifestError as error:
        print(error, file=sys.stderr)
        return USAGE
    with _stopping() as stop:
        return _work([_fetch(model, asked, report, stop) for model in chosen], asked)


@contextlib.contextmanager
def _stopping() -> Generator[threading.Event]:
    """An event that SIGINT and SIGTERM set, for as long as there is something to stop."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _work(fetches: Sequence[download.Fetch], asked: argparse.Namespace) -> int:
    if asked.check:
        return _check(fetches)
    shortage = _shortage(fetches, asked.keep_free_mb * 1_000_000)
    if shortage:
        print(shortage, file=sys.stderr)
        return DISK_FULL
    return _fetch_all(fetches, asked.parallel)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fetch_models", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME", help="groups or paths of the manifest; without: everything")
    parser.add_argument("--manifest", type=Path, default=Path(__file__).with_name("models.toml"))
    parser.add_argument("--into", type=Path, default=Path("/models"), help="the models folder (default: /models)")
    parser.add_argument("--parallel", type=int, default=2, help="files at a time (default: 2)")
    parser.add_argument("--retries", type=int, default=6, help="failures in a row without a new byte (default: 6)")
    parser.add_argument("--backoff", type=float, default=1.0, help="seconds before the first retry, then doubled")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds of silence that end a connection")
    parser.add_argument("--keep-free-mb", type=int, default=1000, help="room to leave on the disk (default: 1000)")
    parser.add_argument("--allow-unverified", action="store_true", help="take files without a sha256 on trust")
    parser.add_argument("--check", action="store_true", help="tell what is missing or differs, fetch nothing")
    parser.add_argument("--list", action="store_true", help="print the manifest and end")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


def _fetch(
    model: manifest.Model, asked: argparse.Namespace, report: progress.Report, stop: threading.Event
) -> download.Fetch:
    manner = download.Manner(
        retries=asked.retries,
        backoff_s=asked.backoff,
        timeout_s=asked.timeout,
        allow_unverified=asked.allow_unverified,
    )
    token = os.environ.get(model.token) if model.token else None
    return download.Fetch(model=model, root=asked.into, manner=manner, report=report, stop=stop, token=token)


def _print_list(models: Sequence[manifest.Model]) -> int:
    try:
        for model in models:
            print(_line(model))
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough; Python would complain once more when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OK


def _line(model: manifest.Model) -> str:
    size = progress.size_text(model.size) if model.size else "size unknown"
    checked = "" if model.sha256 else ", NO SHA256"
    groups = f" [{', '.join(model.groups)}]" if model.groups else ""
    return f"{model.path}  {size}{checked}{groups}  {model.license or 'licence: see its page'}"


def _check(fetches: Sequence[download.Fetch]) -> int:
    status = OK
    for fetch in fetches:
        try:
            there = fetch.is_there()
        except download.Stopped:
            return STOPPED
        except OSError as error:
            fetch.report.event("failed", str(fetch.model.path), message=f"cannot be read: {error.strerror}")
            there = False
        else:
            fetch.report.event("present" if there else "missing", str(fetch.model.path))
        if not there and not fetch.model.optional:
            status = INCOMPLETE
    return status


def _shortage(fetches: Sequence[download.Fetch], keep_free: int) -> str | None:
    """What is missing on each file system for everything that has yet to come; None when there is room."""
    needed: dict[int, int] = {}
    folders: dict[int, Path] = {}
    for fetch in fetches:
        have = _size(fetch.part) if _size(fetch.target) != fetch.model.size else fetch.model.size or 0
        folder = next(parent for parent in fetch.target.parents if parent.exists())
        device = folder.stat().st_dev
        folders.setdefault(device, folder)
        needed[device] = needed.get(device, 0) + max((fetch.model.size or 0) - have, 0)
    lines = [
        f"Not enough room in {folders[device]}: {progress.size_text(need)} to fetch, "
        f"{progress.size_text(free)} free, {progress.size_text(keep_free)} to be kept free. "
        "Make room, name fewer models, or lower --keep-free-mb."
        for device, need in needed.items()
        if need and (free := shutil.disk_usage(folders[device]).free) < need + keep_free
    ]
    return "\n".join(lines) or None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _fetch_all(fetches: Sequence[download.Fetch], parallel: int) -> int:
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(parallel, 1)) as pool:
        statuses = list(pool.map(_one, fetches))
    for status in (STOPPED, DISK_FULL, INCOMPLETE):
        if status in statuses:
            return status
    return OK


def _one(fetch: download.Fetch) -> int:
    """Fetch one and tell how it ended."""
    path = str(fetch.model.path)
    try:
        if fetch.stop.is_set():
            return STOPPED
        outcome = fetch.run()
    except download.Stopped as error:
        fetch.report.event("stopped", path, message=str(error))
        return STOPPED
    except download.FetchError as error:
        kind = "warned" if fetch.model.optional else "failed"
        fetch.report.event(kind, path, message=str(error))
        full = isinstance(error, download.DiskFull)
        return OK if fetch.model.optional else DISK_FULL if full else INCOMPLETE
    facts: dict[str, Any] = {} if fetch.model.sha256 else {"message": "NOT VERIFIED: the manifest has no sha256"}
    fetch.report.event(outcome, path, **facts)
    return OK


if __name__ == "__main__":
    sys.exit(main())
