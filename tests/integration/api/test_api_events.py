"""The event stream: order, completeness, restraint, and nothing left behind."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
from PIL import Image

from gateway.domain import model
from gateway.domain.states import JobStatus, Outcome
from tests.integration.api import sse
from tests.integration.api.served import Api

PNG = b"\x89PNG\r\n\x1a\n made by a test"


@asynccontextmanager
async def stream(api: Api, job: dict[str, Any]) -> AsyncGenerator[AsyncIterator[sse.Frame]]:
    async with api.client.stream("GET", job["urls"]["events"]) as response:
        assert response.status_code == 200
        yield sse.frames(response)


async def until(frames: AsyncIterator[sse.Frame], event: str, /, **data: Any) -> list[sse.Frame]:
    """The frames up to one of this name and with this data."""
    seen: list[sse.Frame] = []
    async for frame in frames:
        seen.append(frame)
        if frame.name == event and data.items() <= frame.data.items():
            return seen
    raise AssertionError(f"no {event} {data} in {seen}")


def story(frames: list[sse.Frame]) -> list[str]:
    """What happened, in words."""
    return [frame.data["status"] if frame.name == "status" else frame.name for frame in frames if frame.name]


async def test_a_job_from_queue_to_end(api: Api) -> None:
    job = await api.submit()
    async with stream(api, job) as frames:
        first = await anext(frames)
        assert (first.name, first.data) == ("status", {"status": "queued", "queue_position": 1})
        claim = await api.driver.claim()
        await until(frames, "status", status="running")
        for step in range(1, 10):
            api.driver.progress(claim, step / 10)
        await api.driver.output(claim, PNG, name="a.png", index=0)
        await api.driver.output(claim, PNG, name="b.png", index=1)
        await api.driver.settle(claim)
        rest = [frame async for frame in frames]
    assert [frame.data["name"] for frame in rest if frame.name == "output"] == ["a.png", "b.png"]
    values = [frame.data["value"] for frame in rest if frame.name == "progress"]
    assert values[-1] == 0.9  # the last one always comes
    assert len(values) < 9  # the others do not have to
    assert story(rest)[-3:] == ["output", "output", "succeeded"]
    done = await api.job(job["id"])
    told = [frame.data["id"] for frame in rest if frame.name == "output"]
    assert told == [output["id"] for output in done["outputs"]]


async def test_a_job_that_ended_before_anybody_looked(api: Api) -> None:
    job = await api.submit()
    claim = await api.driver.claim()
    await api.driver.settle(claim, outputs=[await api.driver.kept(claim, PNG, name="a.png")])
    async with stream(api, job) as frames:
        assert story([frame async for frame in frames]) == ["running", "output", "succeeded"]


async def test_a_job_that_ended_between_two_looks(api: Api) -> None:
    job = await api.submit()
    async with stream(api, job) as frames:
        await anext(frames)
        claim = await api.driver.claim()
        await api.driver.settle(claim, outputs=[await api.driver.kept(claim, PNG, name="a.png")])
        assert story([frame async for frame in frames]) == ["running", "output", "succeeded"]


async def test_a_canceled_job_tells_only_that(api: Api) -> None:
    job = await api.submit()
    await api.client.post(job["urls"]["cancel"])
    async with stream(api, job) as frames:
        assert story([frame async for frame in frames]) == ["canceled"]


async def test_a_late_listener_gets_a_snapshot(api: Api) -> None:
    job = await api.submit()
    claim = await api.driver.claim()
    api.driver.progress(claim, 0.3)
    api.driver.preview(claim, _picture("PNG"), "image/png")
    await api.driver.output(claim, PNG, name="a.png")
    async with stream(api, job) as frames:
        seen = await until(frames, "output", name="a.png")
        assert story(seen) == ["running", "progress", "preview", "output"]
        preview = seen[2].data
        assert preview["content_type"] == "image/jpeg"
        shown = Image.open(io.BytesIO(base64.b64decode(preview["data_base64"])))
        assert (shown.format, shown.size) == ("JPEG", (8, 8))
        await api.driver.settle(claim)
        assert story([frame async for frame in frames]) == ["succeeded"]


async def test_previews_that_are_no_pictures_are_left_out(api: Api) -> None:
    job = await api.submit()
    claim = await api.driver.claim()
    api.driver.preview(claim, b"not a picture", "image/png")
    async with stream(api, job) as frames:
        await until(frames, "status", status="running")
        api.driver.preview(claim, _picture("JPEG"), "image/jpeg")
        await api.driver.settle(claim)
        assert story([frame async for frame in frames])[-2:] == ["preview", "succeeded"]


async def test_a_lost_attempt_starts_again(api: Api) -> None:
    job = await api.submit()
    claim = await api.driver.claim()
    async with stream(api, job) as frames:
        await until(frames, "status", status="running")
        await api.driver.output(claim, PNG, name="lost.png")
        await until(frames, "output", name="lost.png")
        await api.driver.settle(claim, Outcome.LOST)
        await until(frames, "status", status="queued")
        again = await api.driver.claim()
        await until(frames, "status", status="running")
        await api.driver.output(again, PNG, name="a.png")
        await api.driver.settle(again)
        assert story([frame async for frame in frames]) == ["output", "succeeded"]


async def test_the_queue_position_is_kept_up_to_date(start: Callable[..., Awaitable[Api]], made: Any) -> None:
    api = await start(limits=replace(made.limits, position_interval=0.05))
    first, second = await api.submit(), await api.submit()
    async with stream(api, second) as frames:
        await until(frames, "status", status="queued", queue_position=2)
        await api.client.post(first["urls"]["cancel"])
        await until(frames, "status", status="queued", queue_position=1)


async def test_a_quiet_stream_says_that_it_lives(start: Callable[..., Awaitable[Api]], made: Any) -> None:
    api = await start(limits=replace(made.limits, keepalive=0.05))
    async with stream(api, await api.submit()) as frames:
        assert (await anext(frames)).name == "status"
        assert await anext(frames) == sse.Frame("", "keepalive")


async def test_a_tenant_has_so_many_streams(start: Callable[..., Awaitable[Api]], made: Any) -> None:
    api = await start(limits=replace(made.limits, streams=2))
    job = await api.submit()
    async with stream(api, job) as one, stream(api, job) as two:
        await asyncio.gather(anext(one), anext(two))
        refused = await api.client.get(job["urls"]["events"])
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_streams")
        assert refused.headers["retry-after"] == "5"
    await _until_free(api, job)


async def test_a_client_that_goes_away_leaves_nothing_behind(start: Callable[..., Awaitable[Api]], made: Any) -> None:
    api = await start(limits=replace(made.limits, streams=1))
    job = await api.submit()
    async with httpx.AsyncClient(base_url=api.url) as other, other.stream("GET", job["urls"]["events"]) as response:
        await anext(sse.frames(response))
    await _until_free(api, job)


async def test_streams_end_when_the_gateway_stops(api: Api) -> None:
    async with stream(api, await api.submit()) as frames:
        await anext(frames)
        api.parts.stopping.set()
        assert [frame async for frame in frames] == []  # a whole answer: no protocol error


async def test_a_slow_reader_holds_no_memory(start: Callable[..., Awaitable[Api]], made: Any) -> None:
    api = await start(limits=replace(made.limits, preview_interval=0.0))
    job = await api.submit()
    claim = await api.driver.claim()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.url.rpartition(":")[2]), limit=2**16)
    writer.write(f"GET {job['urls']['events']} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    await reader.readuntil(b"running")
    picture = b"\xff\xd8" + bytes(200_000)
    for _ in range(500):  # 100 MB of previews that nobody reads
        api.driver.preview(claim, picture, "image/jpeg")
        await asyncio.sleep(0)
    await api.driver.settle(claim)
    size, tail = 0, b""
    while chunk := await reader.read(2**16):
        size += len(chunk)
        tail = (tail + chunk)[-500:]
    writer.close()
    assert b"succeeded" in tail
    assert size < 20_000_000


async def test_a_job_that_is_gone_ends_its_stream(api: Api) -> None:
    job = await api.submit()
    async with stream(api, job) as frames:
        await anext(frames)
        await api.client.post(job["urls"]["cancel"])
        assert story([frame async for frame in frames]) == ["canceled"]
    other = await api.submit()
    async with stream(api, other) as frames:
        await anext(frames)
        await api.parts.store.close()
        api.parts.bus.publish(model.JobId(other["id"]), model.StatusChanged(status=JobStatus.RUNNING))
        assert [frame async for frame in frames] == []


async def test_a_stream_is_not_stored_on_its_way(api: Api) -> None:
    job = await api.submit()
    async with api.client.stream("GET", job["urls"]["events"]) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"
    head = await api.client.head(job["urls"]["events"])
    assert head.status_code == 200


async def _until_free(api: Api, job: dict[str, Any]) -> None:
    """Wait until a stream can be opened again."""
    async with asyncio.timeout(10):
        while True:
            async with api.client.stream("GET", job["urls"]["events"]) as response:
                if response.status_code == 200:
                    return
            await asyncio.sleep(0.01)


def _picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, kind)
    return buffer.getvalue()
