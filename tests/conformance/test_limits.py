"""Large bodies, many jobs and the switches of a simulator."""

from __future__ import annotations

import io

import pytest

from tests.conformance.living import living, node, tiny


async def test_a_body_over_the_limit_is_refused() -> None:
    """413, and nothing is queued (22)."""
    async with living(max_upload_mb=1) as (_, client):
        body = b'{"prompt": {}, "filler": "' + b"x" * 2_000_000 + b'"}'
        async with client.session.post(f"{client.url}/prompt", data=io.BytesIO(body)) as answer:
            assert answer.status == 413
        assert (await client.get("/prompt"))["exec_info"]["queue_remaining"] == 0


async def test_a_large_prompt_runs() -> None:
    """A megabyte of text comes back as it went in."""
    text = "x" * 1_000_000
    prompt = {"1": node("PrimitiveString", value=text), "2": node("PreviewAny", source=["1", 0])}
    async with living() as (_, client):
        record = await client.run(prompt)
        assert record["outputs"]["2"]["text"] == [text]


async def test_a_hundred_jobs_run_in_the_order_of_their_numbers() -> None:
    """Behind one that holds the card (19)."""
    async with living() as (_, client):
        holder = await client.post(tiny(seconds=60, steps=6000))
        await client.until_executing("work")
        ids = [await client.post(tiny(seed=number), number=-number) for number in range(1, 101)]
        await client.session.post(f"{client.url}/interrupt", json={"prompt_id": holder})
        await client.until_ended(ids[0])
        started = [frame["data"]["prompt_id"] for frame in client.frames if frame["type"] == "execution_start"]
        assert started[1:] == ids[::-1]


async def test_history_is_a_ring() -> None:
    """The oldest entries go."""
    async with living(history_size=3) as (_, client):
        ids = [await client.post(tiny(seed=number)) for number in range(6)]
        await client.until_ended(ids[-1])
        assert list(await client.get("/history")) == ids[-4:]


async def test_the_job_routes_can_be_switched_off() -> None:
    """As on a server that is older, but not so old."""
    async with living(jobs_api=False) as (_, client):
        async with client.session.get(f"{client.url}/api/jobs") as answer:
            assert answer.status == 404
        prompt_id = await client.post(tiny())
        async with client.session.post(f"{client.url}/api/jobs/{prompt_id}/cancel") as answer:
            assert answer.status == 405


async def test_classes_and_models_are_what_was_asked_for() -> None:
    """Missing classes are refused, given model files are listed, packs can be switched on."""
    options = {
        "without_nodes": frozenset({"ImageInvert"}),
        "models": {"checkpoints": ("mine.safetensors",)},
        "node_packs": frozenset({"ipadapter"}),
    }
    async with living(**options) as (_, client):
        info = await client.get("/object_info")
        assert "ImageInvert" not in info
        assert "IPAdapterUnifiedLoader" in info
        assert info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0] == ["mine.safetensors"]
        assert await client.get("/models/checkpoints") == ["mine.safetensors"]


async def test_it_says_what_it_is() -> None:
    """So that nobody takes it for a real worker."""
    async with living(name="gpu7", card="rtx3060") as (_, client):
        stats = await client.get("/system_stats")
        assert stats["system"]["simulated"] is True
        assert stats["system"]["simulator"] == {"name": "gpu7", "card": "rtx3060"}
        assert stats["devices"][0]["vram_total"] == 12 * 1024**3


@pytest.mark.parametrize("text", ["NaN", "1e999", "-Infinity"])
async def test_odd_numbers_are_taken_and_given_back(text: str) -> None:
    """As Python's JSON does it."""
    async with living() as (_, client):
        body = (
            '{"client_id":"living","extra_data":{"odd":' + text + '},"prompt":{"1":{"class_type":"EmptyImage","inputs":'
            '{"width":8,"height":8,"batch_size":1,"color":0}},"2":{"class_type":"PreviewImage","inputs":{"images":["1",0]}}}}'
        )
        async with client.session.post(f"{client.url}/prompt", data=body) as answer:
            assert answer.status == 200
            prompt_id = (await answer.json())["prompt_id"]
        await client.until(lambda frame: frame["type"] == "executing" and frame["data"]["node"] is None)
        async with client.session.get(f"{client.url}/history/{prompt_id}") as answer:
            assert answer.status == 200
            assert '"odd": ' in await answer.text()
