"""The server is killed where a client is concerned: orders, cancels, inputs, webhooks; and while it recovers."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from gateway import simulator
from tests.acceptance.crash_site import ADOPTED, UNKNOWN, WORKER, dying, graph, recovered, runs, script, until
from tests.integration.webhooks import receiver


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
        assert job["attempts"][0]["reason"] == UNKNOWN


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "times"),
    [
        ("after queue.settle", 1),  # owed since the job ended, in the same transaction
        ("after deliveries.claim", 1),  # leased by a boot that is gone
        ("before deliveries.finish", 2),  # it was told, and nobody wrote that down: again, under the same id
        ("after deliveries.finish", 1),
    ],
)
async def test_a_webhook_that_is_owed_is_told(point: str, times: int, tmp_path: Path) -> None:
    async with simulator.running(WORKER) as worker, receiver.receiving() as hook:
        async with dying(tmp_path, worker.url, point) as first:
            asked = {"url": hook.url, "events": ["job.succeeded"]}
            await first.order({"workflow": graph(), "webhook": asked})
            await first.killed()
        async with recovered(tmp_path, worker.url) as second:
            job = await second.ended()
            await hook.count(times)
            await second.told(job["id"])
            assert [(got.type, got.json["data"]["id"]) for got in hook.got] == [("job.succeeded", job["id"])] * times
            assert len({got.id for got in hook.got}) == 1
            assert runs(worker) == 1
