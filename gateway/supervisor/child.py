"""A process that dies with us."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gateway.domain import errors

_HERE = Path(__file__).parent
_ASK = signal.SIGTERM  #: how a process is asked to end, unless it wants to hear something else


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run. `environment` is the whole of it, `output` takes stdout and stderr (None: our own)."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path | None = None
    output: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Child:
    """A started process, leader of its own group."""

    process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        """Its process id, which is its group's id too."""
        return self.process.pid

    async def ended(self) -> int:
        """Wait for its end, kill what it left in its group, return its exit status (negative: a signal)."""
        status = await self.process.wait()
        self.signal_group(signal.SIGKILL)
        return status

    def signal(self, number: signal.Signals) -> None:
        """Signal the process alone."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the process with all that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def stop(self, *, within: float, by: signal.Signals = _ASK) -> int:
        """Ask it to end; kill it when it has not within that many seconds."""
        self.signal(by)
        try:
            async with asyncio.timeout(within):
                return await self.ended()
        except TimeoutError:
            self.signal_group(signal.SIGKILL)
            return await self.ended()


async def spawn(command: Command, *, stdin: bytes | None = None, pass_fds: Sequence[int] = ()) -> Child:
    """Start a process that dies with this one. Call it in the main thread only. ConfigError when it cannot start."""
    output: IO[bytes] | None = None
    try:
        output = _opened(command.output)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(_HERE / "tether.py"), str(os.getpid()), *command.arguments),
            stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=command.folder,
            env=dict(command.environment),
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
    except OSError as error:
        raise errors.ConfigError(f"{command.arguments[0]} cannot be started: {error}") from None
    finally:
        if output is not None:
            output.close()
    if process.stdin is not None and stdin is not None:
        process.stdin.write(stdin)
        process.stdin.close()
    return Child(process)


def _opened(path: Path | None) -> IO[bytes] | None:
    return None if path is None else path.open("ab", buffering=0)


async def post_guard(mark: str) -> tuple[Child, int]:
    """Start the guard; returns it with our end of its pipe, to be kept open and never given to another child."""
    reader, writer = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(_HERE / "guard.py"), mark),
            stdin=reader,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(reader)
    return Child(process), writer


def describe_end(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"it ended with status {status}"
    name = signal.Signals(-status).name if -status in {item.value for item in signal.Signals} else f"signal {-status}"
    hint = "; out of memory?" if -status == signal.SIGKILL else ""
    return f"it was killed by {name}{hint}"
