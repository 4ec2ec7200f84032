"""Contract of `ports.Bus`: news in order, never losing a status; snapshots; signals."""

from __future__ import annotations

import asyncio

import pytest

from gateway import ports
from gateway.adapters import bus as adapter
from gateway.domain import model
from gateway.domain.states import TERMINAL, JobStatus

JOB = model.JobId("job")
OTHER = model.JobId("other")
RUNNING = model.StatusChanged(status=JobStatus.RUNNING)
SUCCEEDED = model.StatusChanged(status=JobStatus.SUCCEEDED)


@pytest.fixture
def bus() -> ports.Bus:
    return adapter.MemoryBus()


def progress(done: int) -> model.ProgressMade:
    return model.ProgressMade(progress=model.Progress(value=done / 1000, nodes_done=done, nodes_total=1000))


def preview(data: bytes) -> model.PreviewMade:
    return model.PreviewMade(preview=model.Preview(node_id="3", content_type="image/jpeg", data=data))


def output(index: int) -> model.OutputMade:
    asset = model.Asset(
        id=model.AssetId(f"a{index}"),
        tenant=model.DEFAULT_TENANT,
        hash="blake3:00",
        size_bytes=1,
        content_type="image/png",
        created_at=1.0,
    )
    made = model.Output(asset=asset, node_id="9", name="a.png", type=model.OutputType.IMAGE, index=index)
    return model.OutputMade(output=made)


async def taken(subscription: ports.Subscription) -> list[model.News]:
    """All that waits."""
    news: list[model.News] = []
    while (one := await subscription.next(timeout=0)) is not None:
        news.append(one)
    return news


async def test_everybody_who_follows_a_job_gets_its_news_in_order(bus: ports.Bus) -> None:
    bus.publish(JOB, RUNNING)
    told = [RUNNING, progress(1), preview(b"1"), output(0), progress(2), SUCCEEDED]
    with bus.subscribe(JOB) as first, bus.subscribe(JOB) as second, bus.subscribe(OTHER) as other:
        for news in told:
            bus.publish(JOB, news)
        assert await taken(first) == told
        assert await taken(second) == told
        assert await taken(other) == []


async def test_who_left_hears_nothing(bus: ports.Bus) -> None:
    with bus.subscribe(JOB) as gone:
        pass
    with bus.subscribe(JOB) as follower:
        bus.publish(JOB, RUNNING)
        assert await taken(follower) == [RUNNING]
    assert await taken(gone) == []


async def test_a_reader_waits_for_news(bus: ports.Bus) -> None:
    with bus.subscribe(JOB) as follower:
        waiting = asyncio.create_task(follower.next())
        await asyncio.sleep(0)
        bus.publish(JOB, RUNNING)
        assert await waiting == RUNNING
        assert await follower.next(timeout=0.01) is None
        bus.publish(JOB, SUCCEEDED)
        assert await follower.next(timeout=10) == SUCCEEDED


async def test_a_reader_that_gave_up_waiting_loses_nothing(bus: ports.Bus) -> None:
    with bus.subscribe(JOB) as follower:
        waiting = asyncio.create_task(follower.next())
        await asyncio.sleep(0)
        bus.publish(JOB, RUNNING)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await taken(follower) == [RUNNING]


async def test_a_slow_reader_loses_old_progress_and_previews_never_status_or_outputs(bus: ports.Bus) -> None:
    with bus.subscribe(JOB) as slow:
        bus.publish(JOB, RUNNING)
        for number in range(1000):
            bus.publish(JOB, progress(number))
            bus.publish(JOB, preview(number.to_bytes(2)))
            bus.publish(JOB, output(number))
        bus.publish(JOB, SUCCEEDED)
        news = await taken(slow)
    assert (news[0], news[-1]) == (RUNNING, SUCCEEDED)
    assert [one for one in news if isinstance(one, model.OutputMade)] == [output(number) for number in range(1000)]
    kept = adapter.KEPT[model.ProgressMade]
    assert [one for one in news if isinstance(one, model.ProgressMade)] == [
        progress(n) for n in range(1000 - kept, 1000)
    ]
    assert len([one for one in news if isinstance(one, model.PreviewMade)]) == adapter.KEPT[model.PreviewMade]
    assert news.index(progress(999)) < news.index(output(999))


async def test_the_snapshot_is_the_latest_of_each_kind(bus: ports.Bus) -> None:
    assert bus.snapshot(JOB) == ports.Snapshot()
    bus.publish(JOB, RUNNING)
    bus.publish(JOB, progress(1))
    bus.publish(JOB, preview(b"1"))
    bus.publish(JOB, progress(2))
    bus.publish(JOB, output(0))
    assert bus.snapshot(JOB) == ports.Snapshot(progress=progress(2).progress, preview=preview(b"1").preview)
    assert bus.snapshot(OTHER) == ports.Snapshot()


@pytest.mark.parametrize("status", [*sorted(TERMINAL), JobStatus.QUEUED])
async def test_the_snapshot_goes_when_the_job_ends_or_is_queued_again(bus: ports.Bus, status: JobStatus) -> None:
    bus.publish(JOB, progress(1))
    bus.publish(JOB, model.StatusChanged(status=JobStatus.CANCELING))
    assert bus.snapshot(JOB).progress is not None
    bus.publish(JOB, model.StatusChanged(status=status))
    assert bus.snapshot(JOB) == ports.Snapshot()


async def test_frames_that_come_too_late_do_not_pile_up(bus: ports.Bus) -> None:
    for number in range(adapter.SNAPSHOTS + 10):
        bus.publish(model.JobId(f"job{number}"), progress(number))
    assert bus.snapshot(model.JobId("job0")) == ports.Snapshot()
    assert bus.snapshot(model.JobId("job10")).progress is not None


async def test_signals_are_taken_all_at_once_and_not_repeated(bus: ports.Bus) -> None:
    ask = model.CancelAsked(job_id=JOB, attempt_id=model.AttemptId("a"))
    for signal in (model.WorkQueued(), ask, model.WorkQueued(), ask):
        bus.signal(signal)
    assert list(await bus.next_signals()) == [model.WorkQueued(), ask]
    waiting = asyncio.create_task(bus.next_signals())
    await asyncio.sleep(0)
    assert not waiting.done()
    bus.signal(model.WorkQueued())
    assert list(await waiting) == [model.WorkQueued()]
