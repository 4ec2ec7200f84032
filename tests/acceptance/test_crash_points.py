"""The server is killed exactly at each step of a job's path, and a new one on the same data finishes the job.

One table says what is expected: how often the graph runs on the worker, how many attempts the job has, and what the
new server logs. The job always ends once.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import structlog

from gateway import app, simulator
from gateway.settings import Settings, to_json

ENDS: Final = frozenset({"cancel", "refuse", "expire", "confirm_cancel", "succeed", "fail"})
WORKER: Final = simulator.Options(card="instant", node_packs=frozenset({"wiretest"}))
_KEY: Final = "an-order"
_UNKNOWN: Final = "the gateway restarted, and the worker does not know the prompt any more"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A point in a job's path, and what is expected when a server dies there."""

    point: str
    runs: int = 1  #: of the graph on the worker, over all attempts
    attempts: int = 1
    says: str = ""  #: what the next server's log says, event and reason
    graph: Mapping[str, Any] = field(default_factory=graph)
    outputs: int = 1

    def __str__(self) -> str:
        return self.point.replace(" ", "-")


ADOPTED: Final = r"adopt .*still has it|adopt .*had finished it"
TRIED_AGAIN: Final = f"job_requeue .*{_UNKNOWN}"

PATHS: Final = (
    # The job is on disk, its client may not know; nothing has begun.
    Case(point="after jobs.submit", says="job_claim"),
    # The attempt is on disk, nothing was sent: the worker is asked, knows nothing, and it is tried again.
    Case(point="after queue.claim", attempts=2, says=TRIED_AGAIN),
    Case(point="before worker.submit", attempts=2, says=TRIED_AGAIN),
    # The worker has it, whether or not we heard so: it is adopted.
    Case(point="after worker.submit", says=ADOPTED),
    Case(point="at frame ExecutionStart", says=ADOPTED),
    Case(point="at frame Progress", says=ADOPTED),
    Case(point="at frame Executed", says=ADOPTED),
    # An output that was recorded before is not recorded again.
    Case(point="after queue.add_outputs", graph=graph(early=True), outputs=2, says=ADOPTED),
    # It has ended on the worker: what it made is collected.
    Case(point="at frame ExecutionSuccess", says=ADOPTED),
    Case(point="before worker.history", says=ADOPTED),
    Case(point="after worker.history", says=ADOPTED),
    Case(point="before worker.view", says=ADOPTED),
    Case(point="after worker.view", says=ADOPTED),
    Case(point="before blobs.put", says=ADOPTED),
    Case(point="after blobs.put", says=ADOPTED),
    Case(point="before queue.settle", says=ADOPTED),
    # Its end is on disk; only its client may not have been told.
    Case(point="after queue.settle"),
)


@pytest.mark.slow
@pytest.mark.parametrize("case", PATHS, ids=str)
async def test_a_server_that_dies_there_leaves_a_job_that_ends_once(case: Case, tmp_path: Path) -> None:
    async with simulator.running(WORKER) as worker:
        async with dying(tmp_path, worker.url, case.point) as first:
            await first.order({"workflow": dict(case.graph)})
            await first.killed()
        async with recovered(tmp_path, worker.url) as second:
            job = await second.ended()
            assert job["status"] == "succeeded"
            assert len(job["outputs"]) == case.outputs
            await second.check_outputs(job)
            assert len(job["attempts"]) == case.attempts
            assert runs(worker) == case.runs
            assert await second.terminal_events(job["id"]) == ["succeed"]
            if case.says:
                assert re.search(case.says, second.log), second.log


@pytest.mark.slow
async def test_an_order_that_was_not_written_can_be_given_again(tmp_path: Path) -> None:
    async with simulator.running(WORKER) as worker:
        async with dying(tmp_path, worker.url, "before jobs.submit") as first:
            assert await first.order({"workflow": graph()}) is None
            await first.killed()
        async with recovered(tmp_path, worker.url) as second:
            assert await second.jobs() == []
            assert (await second.order({"workflow": graph()}))["id"]
            assert (await second.ended())["status"] == "succeeded"
            assert runs(worker) == 1


@pytest.mark.slow
async def test_an_order_that_was_written_is_not_taken_twice(tmp_path: Path) -> None:
    async with simulator.running(WORKER) as worker:
        async with dying(tmp_path, worker.url, "after jobs.submit") as first:
            assert await first.order({"workflow": graph()}) is None
            await first.killed()
        async with recovered(tmp_path, worker.url) as second:
            again = await second.order({"workflow": graph()})
            assert again["error"]["code"] == "idempotency_key_reuse"
            assert (await second.ended())["status"] == "succeeded"
            assert runs(worker) == 1


@pytest.mark.slow
async def test_a_post_whose_answer_is_on_its_way_is_adopted(tmp_path: Path) -> None:
    async with simulator.running(WORKER) as worker:
        await script(worker, {"kind": "slow_post", "seconds": 60})
        async with dying(tmp_path, worker.url, "after worker.submit") as first:
            await first.order({"workflow": graph()})
            await until(lambda: bool(worker.worklog.as_json()), "the worker to have it")
            first.kill()
            await first.killed()
        async with recovered(tmp_path, worker.url) as second:
            job = await second.ended()
            assert (job["status"], len(job["attempts"]), runs(worker)) == ("succeeded", 1, 1)
            assert re.search(ADOPTED, second.log), second.log


@pytest.mark.slow
@pytest.mark.parametrize("point", ["after jobs.cancel", "before worker.cancel", "after worker.cancel"])
async def test_a_cancel_goes_on(point: str, tmp_path: Path) -> None:
    """What was told to be canceling is canceled, and on the worker it ends before its time."""
    async with simulator.running(WORKER) as worker:
        async with dying(tmp_path, worker.url, point) as first:
            job = await first.order({"workflow": graph(seconds=60, steps=600)})
            await until(lambda: runs(worker) == 1, "it to run")
            await first.cancel(job["id"])
            await first.killed()
        async with recovered(tmp_path, worker.url) as second:
            job = await second.ended()
            assert job["status"] == "canceled"
            assert await second.terminal_events(job["id"]) == ["confirm_cancel"]
            await until(
                lambda: worker.worklog.as_json()[0]["outcome"] == "interrupted", "the worker to have stopped it"
            )
            assert runs(worker) == 1


@pytest.mark.slow
async def test_an_input_that_was_brought_to_the_worker_is_no_run(tmp_path: Path) -> None:
    async with simulator.running(WORKER) as worker:
        async with dying(tmp_path, worker.url, "after worker.upload") as first:
            picture = {"__type": "core/ASSET", "info": {"id": await first.upload(b"P5 1 1 255 \x80")}}
            nodes = graph()
            nodes["1"] = {"class_type": "LoadImage", "inputs": {"image": picture}}
            await first.order({"workflow": nodes})
            await first.killed()
        async with recovered(tmp_path, worker.url) as second:
            job = await second.ended()
            assert (job["status"], len(job["attempts"]), runs(worker)) == ("succeeded", 2, 1)


@pytest.mark.slow
async def test_a_server_that_dies_while_it_recovers_is_recovered(tmp_path: Path) -> None:
    async with simulator.running(WORKER) as worker:
        async with dying(tmp_path, worker.url, "after worker.submit") as first:
            await first.order({"workflow": graph()})
            await first.killed()
        for point in ("after queue.open_claims", "before worker.view", "before queue.settle"):
            async with dying(tmp_path, worker.url, point) as next_:
                await next_.killed()
        async with recovered(tmp_path, worker.url) as last:
            job = await last.ended()
            assert (job["status"], len(job["attempts"]), runs(worker)) == ("succeeded", 1, 1)


@pytest.mark.slow
async def test_a_worker_that_died_with_the_server_is_told_in_plain_words(tmp_path: Path) -> None:
    async with simulator.running(WORKER) as worker:
        async with dying(tmp_path, worker.url, "at frame Progress") as first:
            await first.order({"workflow": graph()})
            await first.killed()
        port = worker.port
    again = simulator.running(dataclasses.replace(WORKER, port=port))
    async with again as worker, recovered(tmp_path, worker.url) as second:
        job = await second.ended()
        assert (job["status"], len(job["attempts"]), runs(worker)) == ("succeeded", 2, 1)
        assert job["attempts"][0]["reason"] == _UNKNOWN


# -- a server that dies, and the one after it -------------------------------------------------------------------------


def runs(worker: simulator.Simulator) -> int:
    """How many prompts began on the worker."""
    return sum(record["started"] is not None for record in worker.worklog.as_json())


async def script(worker: simulator.Simulator, fault: Mapping[str, Any]) -> None:
    async with aiohttp.ClientSession() as session, session.post(f"{worker.url}/simulator/faults", json=fault) as answer:
        assert answer.status == 201


async def until(look: Any, what: str) -> None:
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
            assert await self.process.wait() == -signal.SIGKILL

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
        return [event.type for event in found if event.type in ENDS]


def _settings(folder: Path, worker: str) -> Settings:
    return Settings(port=0, data_dir=folder / "data", workers=(worker,), look_for=None, workflows=())  # pyright: ignore[reportCallIssue]


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
