"""Fixtures for everything that talks to a gateway over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

if TYPE_CHECKING:  # what talks to no gateway shall not wait for one to be imported
    from gateway import app as gateway_app
    from gateway import simulator

pytest_plugins = ["tests.fixtures_postgres"]

Serve = Callable[[Any], Awaitable[str]]


class _Server(uvicorn.Server):
    """A server inside the test's own loop: signals stay the test runner's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@contextlib.asynccontextmanager
async def _serving(app: Any) -> AsyncGenerator[str]:
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=5)
    server = _Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                await asyncio.sleep(0.005)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves ASGI apps with uvicorn on free ports of 127.0.0.1; returns each one's URL."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(app: Any) -> str:
            return await stack.enter_async_context(_serving(app))

        yield start


# A skip is a hole in the evidence: with FAIL_ON_SKIP=1 (CI sets it) only what needs a real ComfyUI may skip.

_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember skips that CI must not have."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if "real ComfyUI" not in reason:
            _skipped.append(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn such skips into a failure."""
    if _skipped and os.environ.get("FAIL_ON_SKIP") == "1" and not hasattr(session.config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which skips failed the run."""
    if _skipped and os.environ.get("FAIL_ON_SKIP") == "1":
        terminalreporter.section("skips that CI does not allow", red=True)
        for line in _skipped:
            terminalreporter.write_line(line)


Start = Callable[..., Awaitable["gateway_app.Gateway"]]


@pytest.fixture
async def start_gateway(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts whole gateways with simulated workers: `await start_gateway(workers=2, options=..., **settings)`."""
    from gateway import app as gateway_app
    from gateway import simulator
    from gateway.settings import Settings

    async with contextlib.AsyncExitStack() as stack:

        async def start(
            *, workers: int = 2, options: simulator.Options | None = None, **settings: Any
        ) -> gateway_app.Gateway:
            simulators = [await stack.enter_async_context(simulator.running(options)) for _ in range(workers)]
            given: dict[str, Any] = {
                "port": 0,
                "data_dir": tmp_path / "data",
                "workers": tuple(each.url for each in simulators),
                "look_for": None,
                "workflows": (),
            }
            started = await stack.enter_async_context(gateway_app.running(Settings(**{**given, **settings})))
            await _until_idle(started, workers)
            return started

        yield start


async def _until_idle(started: gateway_app.Gateway, workers: int) -> None:
    """Wait until so many workers could take a job."""
    from gateway.domain import model

    async with asyncio.timeout(20):
        while [view.state for view in started.parts.fleet.views()].count(model.WorkerState.IDLE) < workers:
            await asyncio.sleep(0.01)


@pytest.fixture
async def gateway(start_gateway: Start) -> gateway_app.Gateway:
    """A whole gateway with two simulated workers."""
    return await start_gateway()
