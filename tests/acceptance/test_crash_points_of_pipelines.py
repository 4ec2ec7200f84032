"""The server is killed between and in the steps of a pipeline; the next one leads it on, and nothing runs twice."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import orjson
import pytest

from gateway import simulator
from tests.acceptance.crash_site import WORKER, dying, graph, recovered, runs

PIPELINE: Final = """
[[steps]]
name = "made"
template = "work"

[[steps]]
name = "small"
finish = { format = "webp" }
of = "made"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the servers' data is, with a pipeline of a step on a worker and one that the gateway does."""
    workflows = tmp_path / "workflows"
    workflows.mkdir()
    (workflows / "work.json").write_bytes(orjson.dumps(graph()))
    (workflows / "two.pipeline.toml").write_text(PIPELINE)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    "point",
    [
        "after pipelines.take",  # it is on disk, and none of its steps
        "after queue.settle",  # its first step has ended, the second has not begun
        "before pipelines.end",  # the gateway did the second step, and has not written so: it is done again
        "after pipelines.end",  # all steps have ended, and the pipeline has not
    ],
)
async def test_a_pipeline_goes_on_from_there_and_ends_once(point: str, folder: Path) -> None:
    async with simulator.running(WORKER) as worker:
        async with dying(folder, worker.url, point) as first:
            await first.order_template("two", {})
            await first.killed()
        async with recovered(folder, worker.url) as second:
            job = await second.ended()
            assert (job["status"], len(job["outputs"]), runs(worker)) == ("succeeded", 1, 1), job
            await second.check_outputs(job)
            steps = await second.gateway.parts.store.pipelines.steps(job["id"])
            assert sorted(steps) == ["made", "small"]
            for job_id in (job["id"], *(step.id for step in steps.values())):
                assert await second.terminal_events(job_id) == ["succeed"]
