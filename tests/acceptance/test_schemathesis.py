"""Schemathesis over our own OpenAPI document: no 5xx, no answer outside the schema."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.app import Gateway

Start = Callable[..., Awaitable[Gateway]]

#: What a schema cannot say (is this cursor ours? does this graph run?) is refused although it fits the schema.
_OPTIONS = (
    "--exclude-checks=positive_data_acceptance",
    "--continue-on-failure",
    "--request-timeout=30",
    "--max-examples=8",
    "--seed=1",
    "--no-color",
)
#: It makes the gateway connect to whatever address the request names.
_REACHES_OUT = "addWorker"


async def _schemathesis(url: str, folder: Path, *options: str) -> tuple[int, str]:
    """Exit status and report of a run."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        f"{url}/openapi.json",
        *_OPTIONS,
        *options,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_every_answer_is_as_documented(start_gateway: Start, tmp_path: Path) -> None:
    gateway = await start_gateway(workers=1, limits={"wait": 0.5})
    status, report = await _schemathesis(gateway.url, tmp_path, f"--exclude-operation-id={_REACHES_OUT}")
    assert status == 0, report


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_adding_workers_is_as_documented(start_gateway: Start, tmp_path: Path) -> None:
    """Without requests that would be accepted, so that nothing is connected to."""
    gateway = await start_gateway(workers=0)
    only = f"--include-operation-id={_REACHES_OUT}"
    status, report = await _schemathesis(gateway.url, tmp_path, only, "--mode=negative", "--phases=coverage,fuzzing")
    assert status == 0, report
