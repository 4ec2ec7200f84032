"""The server is killed exactly at each step of a job's path, and a new one on the same data finishes the job.

One table says what is expected: how often the graph runs on the worker, how many attempts the job has, and what the
new server logs. The job always ends once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from gateway import simulator
from tests.acceptance.crash_site import ADOPTED, UNKNOWN, WORKER, dying, graph, recovered, runs, script, until

TRIED_AGAIN: Final = f"job_requeue .*{UNKNOWN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A point in a job's path, and what is expected when a server dies there."""

    point: str
    runs: int = 1  #: of the graph on the worker, over all attempts
    attempts: int = 1
    says: str = ""  #: what the next server's log says, event and reason
    graph: Mapping[str, Any] = field(default_factory=graph)
    outputs: int = 1
    unheard: bool = False  #: its socket breaks while it runs, so that only history tells its end

    def __str__(self) -> str:
        return self.point.replace(" ", "-")


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
    Case(point="before worker.history", unheard=True, says=ADOPTED),
    Case(point="after worker.history", unheard=True, says=ADOPTED),
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
            if case.unheard:
                await until(lambda: runs(worker) == 1, "the run to begin")
                await script(worker, {"kind": "drop_socket"})
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
async def test_a_job_that_was_to_be_tried_again_is(tmp_path: Path) -> None:
    """What it needs for that (here its card for itself) is on disk with the end of the try before."""
    async with simulator.running(WORKER) as worker:
        await script(worker, {"kind": "out_of_memory"})
        async with dying(tmp_path, worker.url, "after queue.settle") as first:
            await first.order({"workflow": graph()})
            await first.killed()
        async with recovered(tmp_path, worker.url) as second:
            job = await second.ended()
            assert [attempt["outcome"] for attempt in job["attempts"]] == ["broken", "succeeded"]
            assert (job["status"], runs(worker)) == ("succeeded", 2)
            assert await second.terminal_events(job["id"]) == ["succeed"]
            assert "memory_freed" in second.log
