"""The official SDK, unchanged, against a running gateway with simulated workers."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import comfy_sdk
import pytest
from comfy_sdk import events
from PIL import Image

from gateway import simulator
from gateway.app import Gateway

Start = Callable[..., Awaitable[Gateway]]

_numbers = itertools.count(1)


def picture(color: int = 0x3366CC) -> dict[str, Any]:
    """A graph that paints a small picture."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 24, "batch_size": 1, "color": color}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "blue"}},
    }


def work(seconds: float, *, steps: int = 10) -> dict[str, Any]:
    """A graph that takes a while, never the same twice."""
    return {
        "1": {"class_type": "SimulatedWork", "inputs": {"seconds": seconds, "steps": steps, "seed": next(_numbers)}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "work"}},
    }


@pytest.fixture
def point_sdk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Does what a user does: sets COMFY_BASE_URL (and COMFY_API_KEY)."""

    def point(gateway: Gateway, key: str = "") -> None:
        monkeypatch.setenv("COMFY_BASE_URL", gateway.url)
        monkeypatch.setenv("COMFY_API_KEY", key)

    return point


def png(color: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), color).save(buffer, "PNG")
    return buffer.getvalue()


async def test_run_and_download(gateway: Gateway, point_sdk: Callable[..., None], tmp_path: Path) -> None:
    point_sdk(gateway)

    def use() -> None:
        with comfy_sdk.Comfy() as client:
            job = client.run(client.workflows.from_json(picture()), timeout=30)
            (output,) = job.outputs
            assert (output.node_id, output.type, output.content_type) == ("2", "image", "image/png")
            assert output.name == "blue_00001_.png"
            data = output.to_bytes()
            assert len(data) == output.size_bytes
            shown = Image.open(io.BytesIO(data)).convert("RGB")
            assert shown.size == (32, 24)
            assert shown.getpixel((0, 0)) == (0x33, 0x66, 0xCC)
            assert output.to_bytes(range=(1, 3)) == b"PNG"
            assert output.to_file(tmp_path / "a.png").read_bytes() == data
            assert output.get_download_url().url.endswith(f"/assets/{output.id}/content")
            assert job.get_workflow().graph["1"] == picture()["1"]

    await asyncio.to_thread(use)


async def test_upload_dedup_and_use(gateway: Gateway, point_sdk: Callable[..., None]) -> None:
    point_sdk(gateway)

    def use() -> None:
        with comfy_sdk.Comfy() as client:
            asset = client.assets.from_bytes(png(), filename="photo.png")
            graph = {
                "1": {"class_type": "LoadImage", "inputs": {"image": asset}},
                "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
                "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "inverted"}},
            }
            job = client.run(client.workflows.from_json(graph), timeout=30)
            assert asset.created_new
            shown = Image.open(io.BytesIO(job.outputs[0].to_bytes())).convert("RGB")
            assert shown.getpixel((5, 5)) == (0, 255, 255)
            again = client.assets.from_bytes(png(), filename="photo.png")
            assert again.commit() == asset.id  # found by its hash, not sent again
            assert again.created_new is False
            assert client.assets.get(asset.id or "").hash == asset.hash
            unused = client.assets.from_bytes(png("blue"), filename="unused.png")
            unused.commit()
            unused.delete()
            with pytest.raises(comfy_sdk.NotFound):
                client.assets.get(unused.id or "7f3d2c1b-9a8e-4d6f-b012-3c4d5e6f7a8b")

    await asyncio.to_thread(use)


def _story(job: Any) -> list[str]:
    told: list[str] = []
    for event in job.events():
        match event:
            case events.StatusChange(status=status):
                told.append(status)
            case events.OutputReady():
                told.append("output")
            case events.Progress():
                told.append("progress")
            case events.Preview():
                told.append("preview")
            case _:
                told.append("other")
    return told


async def test_events_of_jobs_that_take_milliseconds(gateway: Gateway, point_sdk: Callable[..., None]) -> None:
    point_sdk(gateway)

    def use() -> None:
        with comfy_sdk.Comfy() as client:
            for color in range(20):
                job = client.submit(client.workflows.from_json(picture(color)))
                told = [event for event in _story(job) if event not in {"progress", "preview"}]
                assert told[-3:] == ["running", "output", "succeeded"]
                assert set(told[:-3]) <= {"queued"}

    await asyncio.to_thread(use)


async def test_events_of_a_longer_job(start_gateway: Start, point_sdk: Callable[..., None]) -> None:
    gateway = await start_gateway(workers=1, options=simulator.Options(preview_method="auto"))
    point_sdk(gateway)

    def use() -> None:
        with comfy_sdk.Comfy() as client:
            first = client.submit(client.workflows.from_json(work(1.0)))
            second = client.submit(client.workflows.from_json(picture()))
            (start, *rest) = list(first.events())
            assert isinstance(start, events.StatusChange)
            values = [event.value for event in rest if isinstance(event, events.Progress)]
            assert len(values) > 1
            assert values == sorted(values)
            assert _story(second)[-2:] == ["output", "succeeded"]

    await asyncio.to_thread(use)


async def test_cancel(start_gateway: Start, point_sdk: Callable[..., None]) -> None:
    gateway = await start_gateway(workers=1)
    point_sdk(gateway)

    def use() -> None:
        with comfy_sdk.Comfy() as client:
            running = client.submit(client.workflows.from_json(work(60, steps=600)))
            queued = client.submit(client.workflows.from_json(picture()))
            assert next(iter(running.events())) is not None
            assert queued.cancel().status == "canceled"
            assert running.cancel().status in {"canceling", "canceled"}
            assert running.wait(timeout=20).status == "canceled"
            with pytest.raises(comfy_sdk.JobFailed):
                running.result()
            client.run(client.workflows.from_json(picture(2)), timeout=20)  # the worker is free again

    await asyncio.to_thread(use)


async def test_list_and_metadata(gateway: Gateway, point_sdk: Callable[..., None]) -> None:
    point_sdk(gateway)

    def use() -> None:
        with comfy_sdk.Comfy() as client:
            ids = [
                client.submit(client.workflows.from_json(picture(n)), metadata={"client": "ab"[n % 2], "n": str(n)}).id
                for n in range(5)
            ]
            assert [item.id for item in client.list_jobs(limit=2)] == ids[::-1]
            assert [item.id for item in client.list_jobs(metadata={"client": "b"})] == [ids[3], ids[1]]
            (found,) = client.list_jobs(metadata={"n": "4"})
            assert found.metadata == {"client": "a", "n": "4"}
            assert found.create_time is not None
            assert found.update_time is not None
            assert client.jobs.get(ids[0]).metadata["n"] == "0"
            for bad, code in (({"a b": "c"}, "metadata_invalid"), ({"k": "x" * 257}, "metadata_invalid")):
                with pytest.raises(comfy_sdk.ComfyError) as refused:
                    client.submit(client.workflows.from_json(picture()), metadata=bad)
                assert refused.value.code == code
            with pytest.raises(comfy_sdk.ComfyError) as refused:
                list(client.list_jobs(metadata={"a b": "c"}))
            assert refused.value.code == "invalid_metadata_filter"

    await asyncio.to_thread(use)


async def test_errors_have_the_sdks_types(gateway: Gateway, point_sdk: Callable[..., None]) -> None:
    point_sdk(gateway)

    def use() -> None:
        with comfy_sdk.Comfy() as client:
            client.submit(client.workflows.from_json(picture()), idempotency_key="once")
            with pytest.raises(comfy_sdk.IdempotencyKeyReuse):
                client.submit(client.workflows.from_json(picture()), idempotency_key="once")
            with pytest.raises(comfy_sdk.InvalidWorkflow) as refused:
                client.submit(client.workflows.from_json({"1": {"class_type": "Nope", "inputs": {}}}))
            assert refused.value.details
            assert "1" in refused.value.details["node_errors"]
            reference = {"__type": "core/ASSET", "info": {"id": "7f3d2c1b-9a8e-4d6f-b012-3c4d5e6f7a8b"}}
            graph = picture() | {"1": {"class_type": "LoadImage", "inputs": {"image": reference}}}
            with pytest.raises(comfy_sdk.MissingAsset):
                client.submit(client.workflows.from_json(graph))
            with pytest.raises(comfy_sdk.NotFound):
                client.jobs.get("7f3d2c1b-9a8e-4d6f-b012-3c4d5e6f7a8b")

    await asyncio.to_thread(use)


async def test_a_key_is_needed_where_keys_are(start_gateway: Start, point_sdk: Callable[..., None]) -> None:
    gateway = await start_gateway(workers=1, api_keys=("me:a-long-enough-key",))
    point_sdk(gateway, "wrong")
    async with comfy_sdk.AsyncComfy() as client:
        with pytest.raises(comfy_sdk.Unauthorized):
            await client.submit(client.workflows.from_json(picture()))
    point_sdk(gateway, "a-long-enough-key")
    async with comfy_sdk.AsyncComfy() as client:
        job = await client.run(client.workflows.from_json(picture()), timeout=30)
        assert (await job.outputs[0].to_bytes())[1:4] == b"PNG"


async def test_many_at_once(gateway: Gateway, point_sdk: Callable[..., None]) -> None:
    point_sdk(gateway)
    async with comfy_sdk.AsyncComfy() as client:

        async def one(color: int) -> str:
            job = await client.submit(client.workflows.from_json(picture(color)))
            last = ""
            async for event in job.events():
                if isinstance(event, events.StatusChange):
                    last = event.status
            return last

        assert await asyncio.gather(*(one(color) for color in range(30))) == ["succeeded"] * 30
