"""A local worker's life, and asking about it through the supervisor's socket."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.adapters import processes
from gateway.domain import errors, model
from gateway.settings import Restart
from gateway.supervisor import child, control, plan, worker

QUICK = Restart(first_delay=0.01, most_delay=0.02, steady_after=600, give_up_after=3)
PATIENT = Restart(first_delay=600, most_delay=600, steady_after=600, give_up_after=3)
SLEEP = "import time; time.sleep(600)"


def spec(folder: Path, code: str, *, port: int | None = None) -> plan.Spec:
    log = folder / "w.log"
    return plan.Spec(
        id=model.WorkerId("w"),
        kind=model.WorkerKind.SIMULATED,
        port=port or next(plan.free_ports(folder)),
        log=log,
        command=child.Command(
            arguments=(sys.executable, "-c", code, "--port", str(port or 0)), environment=dict(os.environ), output=log
        ),
    )


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def living(one: worker.LocalWorker) -> AsyncGenerator[asyncio.Task[None]]:
    task = asyncio.create_task(one.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_worker_that_ends_is_started_again(tmp_path: Path) -> None:
    once = (
        f"import pathlib, time; seen = pathlib.Path({str(tmp_path)!r}) / 'seen'\n"
        "if not seen.exists(): seen.touch(); raise SystemExit(7)\n"
        "time.sleep(600)"
    )
    one = worker.LocalWorker(spec=spec(tmp_path, once), policy=QUICK)
    async with living(one):
        await until(lambda: one.restarts == 1 and one.state is worker.State.RUNNING)
        assert one.last_exit == "it ended with status 7"
        assert one.failure is None


async def test_a_crash_loop_stops_with_its_last_words_and_a_person_can_start_it_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    one = worker.LocalWorker(spec=spec(tmp_path, "raise SystemExit('no module named torch')"), policy=QUICK)
    async with living(one):
        await until(lambda: one.state is worker.State.FAILED)
        assert one.restarts == 2
        assert one.failure == "it ended 3 times in a row; last, it ended with status 1"
        told = capsys.readouterr().out + caplog.text
        assert "no module named torch" in told
        assert one.as_dict()["log_tail"] == "no module named torch\n" * 2 + "no module named torch"
        one.restart("mended")
        await until(lambda: one.restarts >= 3)


async def test_a_person_need_not_wait_for_the_delay(tmp_path: Path) -> None:
    one = worker.LocalWorker(spec=spec(tmp_path, "raise SystemExit(1)"), policy=PATIENT)
    async with living(one):
        await until(lambda: one.state is worker.State.WAITING)
        one.restart("now")
        await until(lambda: one.restarts == 1 and one.state is worker.State.WAITING)


async def test_who_asks_for_a_restart_while_it_starts_gets_that_very_process(tmp_path: Path) -> None:
    go = tmp_path / "go"
    waits = f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\nraise SystemExit(7)"
    one = worker.LocalWorker(spec=spec(tmp_path, waits), policy=PATIENT)
    async with living(one):
        await asyncio.sleep(0)  # its start has begun, and there is no process yet
        assert (one.state, one.as_dict()["pid"]) == (worker.State.STOPPED, None)
        one.restart("a person asked")
        await until(lambda: one.as_dict()["pid"])
        go.touch()
        await until(lambda: one.state is worker.State.WAITING)
        assert (one.last_exit, one.restarts) == ("it ended with status 7", 0)


async def test_a_worker_that_was_stopped_is_not_started_again(tmp_path: Path) -> None:
    one = worker.LocalWorker(spec=spec(tmp_path, SLEEP), policy=QUICK)
    async with living(one) as task:
        await until(lambda: one.as_dict()["pid"])
        await one.stop()
        await task
        assert (one.state, one.restarts) == (worker.State.STOPPED, 0)


async def test_a_port_that_somebody_took_meanwhile_is_left_to_them(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        one = worker.LocalWorker(spec=spec(tmp_path, SLEEP, port=taken), policy=QUICK)
        async with living(one):
            await until(lambda: one.as_dict()["pid"])
            assert one.spec.port != taken
            assert str(one.spec.port) in one.spec.command.arguments


async def test_the_server_asks_the_supervisor(tmp_path: Path) -> None:
    one = worker.LocalWorker(spec=spec(tmp_path, SLEEP), policy=QUICK)
    path = tmp_path / "supervisor.sock"
    client = processes.Supervisor(path)
    try:
        async with living(one), control.answering(path, (one,)):
            assert path.stat().st_mode & 0o777 == 0o600
            await until(lambda: one.as_dict()["pid"])
            (seen,) = await client.workers()
            first = seen.pid
            assert (seen.id, seen.kind, seen.restarts, seen.failure) == ("w", model.WorkerKind.SIMULATED, 0, None)
            assert seen.url == one.spec.url
            await client.restart(model.WorkerId("w"), "it looks dead")
            await until(lambda: one.restarts == 1 and one.as_dict()["pid"])
            (seen,) = await client.workers()
            assert seen.pid not in {None, first}
            assert one.last_exit == "restarted: it looks dead"
            assert seen.restart_asked_at is not None
            with pytest.raises(errors.NotFound):
                await client.restart(model.WorkerId("other"), "why not")
        with pytest.raises(errors.Unavailable):
            await client.workers()
    finally:
        await client.close()


async def test_a_socket_that_a_killed_supervisor_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    client = processes.Supervisor(path)
    try:
        async with control.answering(path, ()):
            assert await client.workers() == ()
    finally:
        await client.close()


async def test_a_worker_that_cannot_even_be_started_does_not_end_the_supervisor(tmp_path: Path) -> None:
    broken = spec(tmp_path, SLEEP)
    command = dataclasses.replace(broken.command, folder=tmp_path / "absent")
    one = worker.LocalWorker(spec=dataclasses.replace(broken, command=command), policy=QUICK)
    async with living(one) as task:
        await until(lambda: one.state is worker.State.FAILED)
        assert not task.done()
        (tmp_path / "absent").mkdir()
        one.restart("its folder is back")
        await until(lambda: one.as_dict()["pid"])
