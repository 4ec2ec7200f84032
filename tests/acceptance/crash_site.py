"""A server that dies at a point, the one after it, and a client that sees both."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import structlog

from gateway import app, simulator
from gateway.settings import Settings, to_json

WORKER: Final = simulator.Options(card="instant", node_packs=frozenset({"wiretest"}))
#: What the log of a server says that takes up what the worker has.
ADOPTED: Final = r"adopt .*still has it|adopt .*had finished it"
#: What it says of what the worker does not have.
UNKNOWN: Final = "the gateway restarted, and the worker does not know the prompt any more"

_ENDS: Final = frozenset({"cancel", "refuse", "expire", "confirm_cancel", "succeed", "fail"})
_KEY: Final = "an-order"


def graph(*, seconds: float = 0.3, steps: int = 4, early: bool = False) -> dict[str, Any]:
    """Work in steps and a picture; `early`: another picture before, so that one output is there while the rest runs."""
    nodes: dict[str, Any] = {
        "1": {"class_type": "SimulatedWork", "inputs": {"seconds": seconds, "seed": 1, "steps": steps}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "late"}},
    }
    if early:
        nodes["1"]["inputs"] = {"seconds": 0, "seed": 1}
        nodes["0"] = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "early"}}
        sleep = {"image": ["1", 0], "seconds": 1.0, "tag": "", "steps": 4}
        nodes["3"] = {"class_type": "WTSleep", "inputs": sleep}
        nodes["2"]["inputs"]["images"] = ["3", 0]
    return nodes


def runs(worker: simulator.Simulator) -> int:
    """How many prompts began on the worker."""
    return sum(record["started"] is not None for record in worker.worklog.as_json())


async def script(worker: simulator.Simulator, fault: Mapping[str, Any]) -> None:
    async with aiohttp.ClientSession() as session, session.post(f"{worker.url}/simulator/faults", json=fault) as answer:
        assert answer.status == 201


async def until(look: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    try:
        async with asyncio.timeout(60):
            while not look():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited in vain for {what}") from None


@dataclass(slots=True, kw_only=True)
class Client:
    """A client of one server."""

    url: str
    session: aiohttp.ClientSession
    process: asyncio.subprocess.Process | None = None
    lines: Sequence[MutableMapping[str, Any]] = ()

    async def order(self, body: Mapping[str, Any]) -> Any:
        """The answer to an order; None when the server died of it."""
        headers = {"Idempotency-Key": _KEY}
        return await self._asked("POST", "/api/v2/jobs", json=body, headers=headers)

    async def order_template(self, name: str, inputs: Mapping[str, Any]) -> Any:
        """The answer to an order of a template; None when the server died of it."""
        return await self._asked("POST", f"/v1/templates/{name}/jobs", json={"inputs": inputs})

    async def cancel(self, job_id: str) -> Any:
        return await self._asked("POST", f"/api/v2/jobs/{job_id}/cancel")

    async def upload(self, data: bytes) -> str:
        form = aiohttp.FormData()
        for name, value in (("file_path", "grey.pgm"), ("content_type", "image/x-portable-graymap")):
            form.add_field(name, value)
        form.add_field("file", data, filename="grey.pgm")
        return (await self._asked("POST", "/api/v2/assets", data=form))["id"]

    async def jobs(self) -> list[dict[str, Any]]:
        return (await self._asked("GET", "/api/v2/jobs"))["jobs"]

    async def ended(self) -> dict[str, Any]:
        """The only job, once it has ended."""
        async with asyncio.timeout(60):
            while True:
                (job,) = await self.jobs()
                if job["completed_at"] is not None:
                    return await self._asked("GET", f"/api/v2/jobs/{job['id']}")
                await asyncio.sleep(0.05)

    async def told(self, job_id: str) -> None:
        """Wait until every webhook about the job is written down as delivered."""
        async with asyncio.timeout(60):
            while True:
                found = (await self._asked("GET", f"/v1/webhooks/deliveries?job={job_id}"))["deliveries"]
                if found and all(one["status"] == "delivered" for one in found):
                    return
                await asyncio.sleep(0.05)

    async def check_outputs(self, job: Mapping[str, Any]) -> None:
        """Each output is there once, and whole."""
        assert max(Counter((output["node_id"], output["hash"]) for output in job["outputs"]).values()) == 1
        for output in job["outputs"]:
            async with self.session.get(output["url"]) as answer:
                assert len(await answer.read()) == output["size_bytes"]

    async def _asked(self, method: str, path: str, **given: Any) -> Any:
        try:
            async with self.session.request(method, self.url + path, **given) as answer:
                return await answer.json()
        except aiohttp.ClientError:
            return None

    async def killed(self) -> None:
        """Wait until the server has died, by SIGKILL."""
        assert self.process is not None
        async with asyncio.timeout(60):
            status = await self.process.wait()
        assert status == -signal.SIGKILL, f"it ended with {status}; see dying.log"

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()


@dataclass(slots=True, kw_only=True)
class Recovered(Client):
    """A client of the server that came after."""

    gateway: app.Gateway

    @property
    def log(self) -> str:
        """Its log: event and reason, one a line."""
        shown = ("event", "found", "reason")
        return "\n".join(" ".join(str(line[name]) for name in shown if name in line) for line in self.lines)

    async def terminal_events(self, job_id: str) -> list[str]:
        """The events that ended the job."""
        found = await self.gateway.parts.store.jobs.events(job_id)
        return [event.type for event in found if event.type in _ENDS]


def _settings(folder: Path, worker: str) -> Settings:
    webhooks = {"allow_private": "all"}
    workflows = tuple(path for path in (folder / "workflows",) if path.is_dir())
    return Settings(  # pyright: ignore[reportCallIssue]
        port=0,
        data_dir=folder / "data",
        workers=(worker,),
        look_for=None,
        workflows=workflows,
        webhooks=webhooks,
    )


@asynccontextmanager
async def dying(folder: Path, worker: str, point: str) -> AsyncGenerator[Client]:
    """A server process that will kill itself at the point."""
    with (folder / "dying.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.acceptance.crashing", point),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(to_json(_settings(folder, worker)))
        process.stdin.close()
        async with asyncio.timeout(60):
            url = (await process.stdout.readline()).decode().strip()
        async with aiohttp.ClientSession() as session:
            yield Client(url=url, session=session, process=process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@asynccontextmanager
async def recovered(folder: Path, worker: str) -> AsyncGenerator[Recovered]:
    """A sound server on the same data."""
    with structlog.testing.capture_logs() as lines:
        async with app.running(_settings(folder, worker)) as gateway, aiohttp.ClientSession() as session:
            yield Recovered(url=gateway.url, session=session, lines=lines, gateway=gateway)
