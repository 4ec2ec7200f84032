"""The installed program as a user runs it, and waiting for what it does."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

COMMAND = str(Path(sys.executable).parent / "comfy-gateway")
DEADLINE = 60.0

T = TypeVar("T")


def until(look: Callable[[], T | None], what: str, *, deadline: float = DEADLINE) -> T:
    """Look again and again until there is something; fail after a generous while."""
    end = time.monotonic() + deadline
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline:g} s in vain for {what}")
        time.sleep(0.05)


@dataclass(slots=True)
class Running:
    """A started `comfy-gateway up`."""

    process: subprocess.Popen[bytes]
    log: Path
    data: Path

    @property
    def output(self) -> str:
        """What it printed until now."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def says(self, pattern: str, *, deadline: float = DEADLINE) -> re.Match[str]:
        """Wait for something in its output."""

        def look() -> re.Match[str] | None:
            found = re.search(pattern, self.output)
            if found is None and self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode} before {pattern!r}:\n{self.output}")
            return found

        return until(look, f"{pattern!r} in:\n{self.output}", deadline=deadline)

    @property
    def url(self) -> str:
        """Its address, once it is ready."""
        return json.loads(self.says(r'\{[^\n]*"event":"gateway_ready"[^\n]*\}')[0])["url"]

    def get(self, path: str) -> Any:
        """A JSON answer; None when there is none, or it is not a 200."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return json.loads(answer.read())
        except (OSError, urllib.error.HTTPError):
            return None

    def ready(self) -> Any:
        """Wait until it takes work."""
        return until(lambda: self.get("/readyz"), "/readyz")

    def workers(self, state: str, count: int) -> list[dict[str, Any]]:
        """Wait until so many workers are in that state; returns all of them."""

        def look() -> list[dict[str, Any]] | None:
            found = (self.get("/v1/workers") or {}).get("workers", [])
            return found if sum(worker["state"] == state for worker in found) >= count else None

        return until(look, f"{count} workers to be {state}")

    def children(self) -> dict[int, str]:
        """All processes under it, with their command lines."""
        try:
            family = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return {}
        return {one.pid: " ".join(_command(one)) for one in family}

    def server(self) -> int | None:
        """The server's process id."""
        return next((pid for pid, line in self.children().items() if "gateway.server" in line), None)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and wait for that."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def alive(pids: Sequence[int]) -> list[int]:
    """Those of the processes that still run (a zombie does not)."""
    found: list[int] = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def environment(**more: str) -> dict[str, str]:
    """Ours, without settings that a person may have set here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COMFY_GATEWAY_")}
    return {**kept, "COMFY_GATEWAY_LOOK_FOR": "", **more}


@contextmanager
def up(
    folder: Path, *arguments: str, data: str = "data", form: str = "json", more: Mapping[str, str] | None = None
) -> Generator[Running]:
    """`comfy-gateway up` on a free port with a data directory in `folder`, killed at the end if it still runs."""
    log = folder / f"output-{len(list(folder.glob('output-*')))}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [COMMAND, "up", "--port", "0", "--data-dir", str(folder / data), "--log", form, *arguments],
            cwd=folder,
            env=environment(**(more or {})),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    running = Running(process=process, log=log, data=folder / data)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def call(folder: Path, *arguments: str, more: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env=environment(**(more or {})),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
