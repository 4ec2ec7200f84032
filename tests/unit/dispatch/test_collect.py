"""The collector: every output is recorded exactly once, whenever the run ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

import pytest

from gateway import assets, ports
from gateway.adapters import bus
from gateway.dispatch import collect
from gateway.domain import model
from gateway.domain.comfy import history


class Queue:
    """Records outputs when it is allowed to."""

    def __init__(self) -> None:
        self.recorded: list[str] = []
        self.asked = asyncio.Event()
        self.allowed = asyncio.Event()

    async def add_outputs(
        self, attempt: model.AttemptId, outputs: Sequence[model.NewOutput]
    ) -> tuple[model.Output, ...]:
        self.asked.set()
        await self.allowed.wait()
        self.recorded += [output.name for output in outputs]
        return tuple(
            model.Output(asset=o.asset, node_id=o.node_id, name=o.name, type=o.type, index=o.index) for o in outputs
        )


class Worker:
    """Has every file that is asked for."""

    async def view(self, file: history.OutputFile) -> AsyncGenerator[bytes, None]:
        yield file.filename.encode()


class Assets:
    """Keeps nothing."""

    async def keep_output(self, *, name: str, index: int, node_id: str, **_: Any) -> model.NewOutput:
        asset = model.Asset(
            id=model.AssetId(name),
            tenant=model.DEFAULT_TENANT,
            hash="blake3:0",
            size_bytes=1,
            content_type="image/png",
            created_at=0.0,
        )
        return model.NewOutput(asset=asset, node_id=node_id, name=name, type=model.OutputType.IMAGE, index=index)


def collector(queue: Queue) -> collect.Collector:
    attempt = model.Attempt(
        id=model.AttemptId("a"),
        job_id=model.JobId("j"),
        worker=model.WorkerId("w0"),
        epoch=1,
        number=1,
        created_at=0.0,
    )
    claim = model.Claim(
        attempt=attempt,
        job_id=attempt.job_id,
        tenant=model.DEFAULT_TENANT,
        graph=b"{}",
        expires_at=1.0,
        template=None,
    )
    return collect.Collector(
        claim=claim,
        client=cast(ports.WorkerClient, Worker()),
        assets=cast(assets.Assets, Assets()),
        queue=cast(ports.Queue, queue),
        bus=bus.MemoryBus(),
        folder="gw/a",
        simulated=False,
        known={},
    )


def images(*names: str) -> dict[str, Any]:
    return {"images": [{"filename": name, "subfolder": "gw/a", "type": "output"} for name in names]}


async def test_an_output_that_is_being_recorded_when_the_run_ends_is_not_lost() -> None:
    queue = Queue()
    made = collector(queue)
    made.produced("9", images("early.png"))
    async with asyncio.timeout(10):
        await queue.asked.wait()
        finishing = asyncio.create_task(made.finish({"9": images("early.png", "late.png")}))
        await asyncio.sleep(0)
        queue.allowed.set()
        rest = await finishing
    assert (queue.recorded, [output.name for output in rest]) == (["early.png"], ["late.png"])
    await made.close()


async def test_outputs_of_a_run_that_ends_at_once_are_left_to_its_settle() -> None:
    queue = Queue()
    made = collector(queue)
    made.produced("9", images("a.png"))
    rest = await made.finish({"9": images("a.png", "b.png"), "7": {"text": ["c"]}})
    assert [(output.index, output.name) for output in rest] == [(0, "a.png"), (1, "b.png"), (2, "text_00003.txt")]
    assert not queue.asked.is_set()
    await made.close()


@pytest.mark.parametrize("often", [1, 3])
async def test_a_file_that_is_told_again_is_fetched_once(often: int) -> None:
    made = collector(Queue())
    for _ in range(often):
        made.produced("9", images("a.png"))
    assert len(await made.finish({"9": images("a.png")})) == 1
    await made.close()
