"""Processes that die with their parent, and what is left of them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from gateway.supervisor import child

SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")
#: Starts a child that dies with it, tells its id, and waits.
PARENT = """
import asyncio, os, sys
from gateway.supervisor import child
async def main():
    guard, lifeline = await child.post_guard(sys.argv[1])
    started = await child.spawn(child.Command(
        arguments=(sys.executable, "-c", HELPER), environment={**os.environ, "MARK": sys.argv[1]}))
    print(started.pid, guard.pid, flush=True)
    await asyncio.sleep(600)
HELPER = '''
import subprocess, time
print(subprocess.Popen(["sleep", "600"], start_new_session=True).pid, flush=True)
time.sleep(600)
'''
asyncio.run(main())
"""


def command(*arguments: str, output: Path | None = None) -> child.Command:
    return child.Command(arguments=arguments, environment=dict(os.environ), output=output)


async def gone(*pids: int) -> None:
    """Wait until none of the processes runs."""
    async with asyncio.timeout(30):
        while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
            await asyncio.sleep(0.02)


async def test_a_child_gets_its_input_and_writes_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    started = await child.spawn(
        command(sys.executable, "-c", "print(input())", output=log), stdin=b"hello from its parent\n"
    )
    assert await started.ended() == 0
    assert log.read_text() == "hello from its parent\n"


async def test_what_a_child_leaves_in_its_group_ends_with_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    leave = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"
    started = await child.spawn(command(sys.executable, "-c", leave, output=log))
    assert await started.ended() == 0
    await gone(int(log.read_text()))


async def test_a_child_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    started = await child.spawn(command(sys.executable, "-c", stubborn, output=log))
    async with asyncio.timeout(30):
        while "deaf" not in log.read_text():
            await asyncio.sleep(0.02)
    assert await started.stop(within=0.1) == -signal.SIGKILL


async def test_a_program_that_is_not_there_ends_with_a_sentence(tmp_path: Path) -> None:
    log = tmp_path / "log"
    started = await child.spawn(command("/nowhere/python", output=log))
    assert await started.ended() == 1
    assert "/nowhere/python cannot be started: No such file" in log.read_text()


async def test_nothing_survives_a_parent_that_is_killed(tmp_path: Path) -> None:
    """Not the child, not a helper of the child in a session of its own, not the guard."""
    mark = f"MARK-{tmp_path}"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, mark], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    lines = [parent.stdout.readline(), parent.stdout.readline()]
    pids = [int(number) for line in lines for number in line.split()]
    assert len(pids) == 3
    assert all(psutil.pid_exists(pid) for pid in pids)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    await gone(*pids)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (0, "it ended with status 0"),
        (3, "it ended with status 3"),
        (-9, "killed by SIGKILL; out of memory?"),
        (-11, "SIGSEGV"),
    ],
)
def test_ends_in_words(status: int, said: str) -> None:
    assert said in child.describe_end(status)
