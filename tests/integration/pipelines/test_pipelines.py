"""Pipelines over a whole gateway: steps on workers and steps of the gateway's own, one job to the client."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from PIL import Image

from gateway import simulator
from tests.conftest import Start

WAIT = {"Prefer": "wait=60"}
TWO = """
[inputs]
seconds = "first.seconds"

[[steps]]
name = "first"
template = "work"

[[steps]]
name = "second"
template = "edit"
inputs = {{ image = "@first", width = 32, height = 32 }}
{more}
"""
CHECKED = """
[[steps]]
name = "safe"
check = {{ url = "{url}", on_refusal = "{how}" }}
of = "second"
"""
THREE = """
[inputs]
seconds = "first.seconds"

[[steps]]
name = "first"
template = "work"

[[steps]]
name = "safe"
check = {{ url = "{url}" }}
of = "first"

[[steps]]
name = "small"
finish = {{ format = "webp" }}
of = "safe"
"""
WORK = """{
  "1": {"class_type": "SimulatedWork", "inputs": {"seconds": 0.0, "seed": 1}},
  "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "work"}}
}"""
WORK_TOML = """
[parameters.seconds]
type = "float"
target = "1.seconds"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a template that takes its time."""
    made = tmp_path / "workflows"
    made.mkdir()
    (made / "work.json").write_text(WORK)
    (made / "work.toml").write_text(WORK_TOML)
    return made


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def order(session: aiohttp.ClientSession, url: str, name: str, inputs: Any, **headers: str) -> dict[str, Any]:
    """Order and return the answer."""
    body = {"inputs": inputs}
    async with session.post(f"{url}/v1/templates/{name}/jobs", json=body, headers=headers) as answer:
        return {**await answer.json(), "http": answer.status}


async def picture(session: aiohttp.ClientSession, job: dict[str, Any]) -> Image.Image:
    """The job's only output."""
    (output,) = job["outputs"]
    async with session.get(output["url"]) as answer:
        return Image.open(io.BytesIO(await answer.read()))


async def test_the_shipped_pipeline_is_listed_described_and_ordered_like_a_template(
    start_gateway: Start, session: aiohttp.ClientSession
) -> None:
    gateway = await start_gateway(workers=2)
    async with session.get(f"{gateway.url}/v1/templates/postcard") as answer:
        described = await answer.json()
    assert [parameter["name"] for parameter in described["parameters"]] == [
        "image", "width", "height", "tone", "amount",
    ]  # fmt: skip
    assert described["schema"]["properties"]["tone"]["enum"]
    job = await order(session, gateway.url, "postcard", {"width": 600, "height": 300, "tone": "multiply"}, **WAIT)
    assert (job["http"], job["status"]) == (200, "succeeded"), job
    assert {step["name"]: step["status"] for step in job["steps"]} == dict.fromkeys(
        ("crop", "tone", "web"), "succeeded"
    )
    made = await picture(session, job)
    assert (made.format, made.size) == ("WEBP", (512, 256))
    assert job["simulated"]
    async with session.get(f"{gateway.url}/api/v2/jobs") as answer:
        assert [item["id"] for item in (await answer.json())["jobs"]] == [job["id"]]


async def test_all_faults_of_an_order_come_before_anything_runs(
    start_gateway: Start, session: aiohttp.ClientSession
) -> None:
    gateway = await start_gateway(workers=1)
    answer = await order(session, gateway.url, "postcard", {"tone": "loud", "colour": 1})
    assert (answer["http"], answer["error"]["code"]) == (422, "invalid_inputs")
    assert {fault["parameter"] for fault in answer["error"]["details"]["faults"]} == {"tone", "colour"}


async def test_a_step_that_no_worker_can_run_is_refused_before_anything_runs(
    start_gateway: Start, session: aiohttp.ClientSession, folder: Path
) -> None:
    (folder / "faces.pipeline.toml").write_text(
        '[[steps]]\nname = "edit"\ntemplate = "edit"\n'
        '[[steps]]\nname = "style"\ntemplate = "ip-adapter"\ninputs = { style_image = "@edit" }\n'
    )
    gateway = await start_gateway(workers=1, workflows=(folder,))
    async with session.get(f"{gateway.url}/v1/templates/faces/preflight") as answer:
        assert (await answer.json())["runnable"] is False
    answer = await order(session, gateway.url, "faces", {})
    assert (answer["http"], answer["error"]["code"]) == (422, "invalid_workflow")
    assert "Step style: No node class 'IPAdapterModelLoader'" in answer["error"]["message"]
    async with session.get(f"{gateway.url}/api/v2/jobs") as listed:
        assert (await listed.json())["jobs"] == []


async def test_progress_is_one_and_a_cancel_ends_all(
    start_gateway: Start, session: aiohttp.ClientSession, folder: Path
) -> None:
    (folder / "two.pipeline.toml").write_text(TWO.format(more=""))
    gateway = await start_gateway(workers=1, workflows=(folder,))
    job = await order(session, gateway.url, "two", {"seconds": 2.5})
    url = f"{gateway.url}{job['urls']['self']}"
    steps = await until(session, url, lambda found: [step["status"] for step in found["steps"]] == ["running"])
    assert steps["status"] == "running"
    assert steps["progress"]["nodes_total"] == 2
    async with session.get(f"{gateway.url}/v1/jobs/{job['id']}/placement") as answer:
        assert (await answer.json())["reason"].startswith("its steps go to workers: first is running on ")
    async with session.post(f"{url}/cancel") as answer:
        assert (await answer.json())["status"] in {"canceling", "canceled"}
    ended = await until(session, url, lambda found: found["status"] == "canceled")
    assert [step["status"] for step in ended["steps"]] == ["canceled"]


async def test_a_batch_of_more_than_are_looked_at_at_once_ends(
    start_gateway: Start, session: aiohttp.ClientSession, folder: Path
) -> None:
    (folder / "two.pipeline.toml").write_text(TWO.format(more=""))
    gateway = await start_gateway(workers=2, workflows=(folder,))
    body = {"template": "two", "inputs": {"seconds": 0.0}, "n": 40}
    async with session.post(f"{gateway.url}/v1/batches", json=body) as answer:
        batch = await answer.json()
    ended = await until(session, f"{gateway.url}{batch['urls']['self']}", lambda found: found["finished"])
    assert ended["counts"]["succeeded"] == 40


async def until(session: aiohttp.ClientSession, url: str, holds: Any) -> dict[str, Any]:
    """The job once it is like that."""
    async with asyncio.timeout(30):
        while True:
            async with session.get(url) as answer:
                found = await answer.json()
            if holds(found):
                return found
            await asyncio.sleep(0.02)


async def test_a_failed_step_fails_the_pipeline_and_a_retry_keeps_what_went_well(
    start_gateway: Start, session: aiohttp.ClientSession, folder: Path
) -> None:
    (folder / "two.pipeline.toml").write_text('outputs = ["first", "second"]\n' + TWO.format(more=""))
    gateway = await start_gateway(workers=1, workflows=(folder,))
    worker = next(iter(gateway.dispatch.views())).url
    fault = {"kind": "node_error", "node_class": "ImageScale"}
    async with session.post(f"{worker}/simulator/faults", json=fault) as answer:
        assert answer.status == 201, await answer.text()
    job = await order(session, gateway.url, "two", {"seconds": 0}, **WAIT)
    assert job["status"] == "failed", job
    assert job["error"]["message"].startswith("Step second: ")
    async with session.delete(f"{worker}/simulator/faults"):
        pass
    async with session.post(f"{gateway.url}/v1/jobs/{job['id']}/retry") as answer:
        assert answer.status == 201, await answer.text()
        again = await answer.json()
    ended = await until(session, f"{gateway.url}{again['urls']['self']}", lambda found: found["completed_at"])
    assert ended["status"] == "succeeded", ended
    assert [step["name"] for step in ended["steps"]] == ["second"]
    # What the earlier job's step made and what its own step made are both the pipeline's.
    assert [output["job_id"] for output in ended["outputs"]] == [ended["id"]] * 2
    for output in ended["outputs"]:
        async with session.get(f"{gateway.url}/api/v2/assets/{output['id']}") as answer:
            assert (await answer.json())["job_id"] == ended["id"]
    async with session.get(f"{gateway.url}{ended['urls']['events']}") as answer:
        told = [line for line in (await answer.text()).splitlines() if '"job_id"' in line]
        assert [json.loads(line.removeprefix("data: "))["job_id"] for line in told] == [ended["id"]] * 2
    async with session.get(ended["outputs"][1]["url"]) as answer:
        assert Image.open(io.BytesIO(await answer.read())).size == (32, 32)


@pytest.mark.parametrize(("how", "status", "files"), [("withhold", "succeeded", 0), ("fail", "failed", 0)])
async def test_what_a_check_refuses_is_nowhere_to_be_had(
    start_gateway: Start, session: aiohttp.ClientSession, folder: Path, how: str, status: str, files: int
) -> None:
    asked: list[tuple[str, bytes]] = []

    async def check(request: web.Request) -> web.Response:
        asked.append((request.headers["X-Comfy-Job"], await request.read()))
        return web.Response(status=403)

    runner = web.AppRunner(web.Application())
    runner.app.router.add_post("/", check)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        (folder / "checked.pipeline.toml").write_text(TWO.format(more=CHECKED.format(url=url, how=how)))
        gateway = await start_gateway(workers=1, workflows=(folder,), webhooks={"allow_private": "all"})
        job = await order(session, gateway.url, "checked", {"seconds": 0}, **WAIT)
        assert (job["status"], len(job["outputs"])) == (status, files), job
        assert [name for name, data in asked if data.startswith(b"\x89PNG")] == [job["id"]]
        assert {step["job_id"] for step in job["steps"]} == {None}
        hidden = await gateway.parts.store.pipelines.steps(job["id"])
        for step in hidden.values():
            async with session.get(f"{gateway.url}/api/v2/jobs/{step.id}") as answer:
                assert answer.status == 404
    finally:
        await runner.cleanup()


async def test_a_broken_pipeline_is_told_with_step_and_place(
    start_gateway: Start, session: aiohttp.ClientSession, folder: Path
) -> None:
    (folder / "wrong.pipeline.toml").write_text(
        '[inputs]\nprompt = "a.prompt"\n[[steps]]\nname = "a"\ntemplate = "nothing"\n'
    )
    (folder / "round.pipeline.toml").write_text(
        '[[steps]]\nname = "a"\ntemplate = "edit"\ninputs = { image = "@b" }\n'
        '[[steps]]\nname = "b"\ntemplate = "edit"\ninputs = { image = "@a" }\n'
    )
    gateway = await start_gateway(workers=1, workflows=(folder,))
    async with session.get(f"{gateway.url}/v1/templates") as answer:
        broken = {each["name"]: each["reason"] for each in (await answer.json())["broken"]}
    assert "step a: There is no template of this name" in broken["wrong"]
    assert "a → b → a" in broken["round"] or "b → a → b" in broken["round"]


async def test_a_pipeline_goes_on_where_it_was_after_a_restart(
    tmp_path: Path, session: aiohttp.ClientSession, folder: Path
) -> None:
    from gateway import app
    from gateway.settings import Settings

    (folder / "two.pipeline.toml").write_text(TWO.format(more=""))
    async with simulator.running() as worker:
        settings = Settings(  # pyright: ignore[reportCallIssue]
            port=0, data_dir=tmp_path / "data", workers=(worker.url,), look_for=None, workflows=(folder,)
        )
        async with app.running(settings) as first:
            job = await order(session, first.url, "two", {"seconds": 1.5})
            url = f"{first.url}{job['urls']['self']}"
            await until(session, url, lambda found: [step["status"] for step in found["steps"]] == ["running"])
        async with app.running(settings) as second:
            ended = await until(session, f"{second.url}{job['urls']['self']}", lambda found: found["completed_at"])
        assert ended["status"] == "succeeded", ended
        assert [step["name"] for step in ended["steps"]] == ["first", "second"]


async def test_a_step_of_the_gateway_waits_for_blobs_that_are_away(
    tmp_path: Path, session: aiohttp.ClientSession, folder: Path
) -> None:
    from gateway import app
    from gateway.settings import Settings

    blobs, away = tmp_path / "blobs", tmp_path / "away"

    async def check(_: web.Request) -> web.Response:
        blobs.rename(away)
        return web.Response()

    runner = web.AppRunner(web.Application())
    runner.app.router.add_post("/", check)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        (folder / "three.pipeline.toml").write_text(THREE.format(url=url))
        async with simulator.running() as worker:
            settings = Settings(  # pyright: ignore[reportCallIssue]
                port=0, data_dir=tmp_path / "data", blobs=str(blobs), workers=(worker.url,), look_for=None,
                workflows=(folder,), webhooks={"allow_private": "all"},
            )  # fmt: skip
            async with app.running(settings) as gateway:
                job = await order(session, gateway.url, "three", {"seconds": 0})
                url = f"{gateway.url}{job['urls']['self']}"
                await until(session, url, lambda found: [step["name"] for step in found["steps"]][2:] == ["small"])
                async with session.get(f"{gateway.url}/readyz") as answer:
                    assert answer.status == 503
                away.rename(blobs)
                ended = await until(session, url, lambda found: found["completed_at"])
                assert ended["status"] == "succeeded", ended
                assert (await picture(session, ended)).format == "WEBP"
    finally:
        await runner.cleanup()
