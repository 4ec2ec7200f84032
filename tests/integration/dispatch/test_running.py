"""Jobs that go well, and those that a client stops."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import itertools
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from PIL import Image

from gateway import simulator
from gateway.domain import model
from gateway.domain.states import JobStatus
from tests.integration.dispatch.site import add, fault, open_site, picture, prompts_of, work


async def test_a_graph_becomes_a_picture_under_the_clients_own_name(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        job = await site.ended(await site.submit(picture(0xFF8800)))
        assert (job.status, job.worker, job.simulated, job.tries) == (JobStatus.SUCCEEDED, "w0", True, 1)
        (output,) = job.outputs
        assert (output.node_id, output.name, output.type) == ("2", "art/pic_00001_.png", model.OutputType.IMAGE)
        image = Image.open(io.BytesIO(await site.bytes_of(output)))
        assert (image.size, image.convert("RGB").getpixel((3, 3))) == ((16, 16), (0xFF, 0x88, 0x00))
        (attempt,) = await site.store.jobs.attempts(job.id)
        (prompt,) = await prompts_of(sim)
        assert prompt["prompt_id"] == attempt.id


async def test_every_worker_takes_a_share(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as one, simulator.running() as two:
        await add(site, one, "w0")
        await add(site, two, "w1")
        jobs = [await site.submit(work(0.05)) for _ in range(8)]
        ended = await asyncio.gather(*(site.ended(job) for job in jobs))
        assert {job.worker for job in ended} == {"w0", "w1"}
        assert all(job.status is JobStatus.SUCCEEDED for job in ended)


async def test_one_running_job_a_worker_and_late_binding(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        first, second = await site.submit(work(0.3)), await site.submit(work(0))
        await site.running(first)
        assert (await site.job(second)).status is JobStatus.QUEUED
        await site.ended(second)
        one, two = await prompts_of(sim)
        assert two["received"] >= one["ended"]


async def test_from_a_deep_queue_the_next_job_is_sent_before_the_run_ends(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        jobs = [await site.submit(work(0.2)) for _ in range(8)]
        ended = await asyncio.gather(*(site.ended(job) for job in jobs))
        assert {job.status for job in ended} == {JobStatus.SUCCEEDED}
        prompts = await prompts_of(sim)
        waited = [two["received"] < one["ended"] for one, two in itertools.pairwise(prompts)]
        assert any(waited)
        assert not waited[-1]  # behind the last ones nothing waits that another worker could take


async def test_without_the_atomic_route_nothing_is_sent_before_the_run_ends(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running(simulator.Options(jobs_api=False)) as sim:
        await add(site, sim, "w0")
        jobs = [await site.submit(work(0.1)) for _ in range(6)]
        await asyncio.gather(*(site.ended(job) for job in jobs))
        prompts = await prompts_of(sim)
        assert all(two["received"] >= one["ended"] for one, two in itertools.pairwise(prompts))


async def test_depth_sends_ahead_to_a_worker_behind_a_slow_network(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0", depth=2)
        first, second = await site.submit(work(0.3)), await site.submit(work(0))
        await site.running(second)
        await asyncio.gather(site.ended(first), site.ended(second))
        one, two = await prompts_of(sim)
        assert two["received"] < one["ended"]


async def test_a_cached_run_still_produces_its_files(tmp_path: Path) -> None:
    """The prefix is the job's own, so that saving is never skipped (decision 11)."""
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        first = await site.ended(await site.submit(picture()))
        again = await site.ended(await site.submit(picture()))
        assert (first.outputs_reused, again.outputs_reused) == (False, True)
        assert [o.name for o in again.outputs] == [o.name for o in first.outputs]
        one, two = [Image.open(io.BytesIO(await site.bytes_of(job.outputs[0]))) for job in (first, again)]
        assert one.tobytes() == two.tobytes()


async def test_outputs_are_not_called_reused_when_only_part_of_the_graph_was_cached(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")

        def blurred(radius: int) -> dict[str, Any]:
            blur = {"image": ["1", 0], "blur_radius": radius, "sigma": 1.0}
            graph: dict[str, Any] = {**picture(), "3": {"class_type": "ImageBlur", "inputs": blur}}
            graph["2"]["inputs"]["images"] = ["3", 0]
            return graph

        await site.ended(await site.submit(blurred(1)))
        assert not (await site.ended(await site.submit(blurred(2)))).outputs_reused


async def test_input_assets_travel_to_the_worker_once(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        data = io.BytesIO()
        Image.new("RGB", (8, 8), (1, 2, 3)).save(data, "PNG")
        asset = await site.assets.keep_input(
            model.DEFAULT_TENANT, data.getvalue(), content_type="image/png", suffix=".png"
        )
        reference = {"__type": "core/ASSET", "info": {"id": asset.id}}
        graph = {
            "1": {"class_type": "LoadImage", "inputs": {"image": reference}},
            "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
        }
        for _ in range(2):
            job = await site.ended(await site.submit(graph))
            assert job.status is JobStatus.SUCCEEDED, job.error
            pixel = Image.open(io.BytesIO(await site.bytes_of(job.outputs[0]))).getpixel((0, 0))
            assert pixel == (254, 253, 252)


async def test_progress_and_early_outputs_are_told_while_it_runs(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        graph = work(0.6) | {
            "8": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 1}},
            "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "early"}},
        }
        job_id = await site.submit(graph)
        seen: list[model.News] = []
        with site.bus.subscribe(job_id) as news:
            while not (await site.job(job_id)).ended:
                if (item := await news.next(timeout=1)) is not None:
                    seen.append(item)
        values = [item.progress.value for item in seen if isinstance(item, model.ProgressMade)]
        assert values == sorted(values)
        assert values
        job = await site.job(job_id)
        assert {output.node_id for output in job.outputs} == {"2", "9"}


async def test_cancel_before_it_runs(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        job_id = await site.submit(picture())
        assert (await site.cancel(job_id)).status is JobStatus.CANCELED


@pytest.mark.parametrize("jobs_api", [True, False], ids=["atomic cancel", "older server"])
async def test_cancel_while_it_runs_hits_no_other_job(tmp_path: Path, jobs_api: bool) -> None:
    async with open_site(tmp_path) as site, simulator.running(simulator.Options(jobs_api=jobs_api)) as sim:
        await add(site, sim, "w0")
        first, second = await site.submit(work(30)), await site.submit(work(0.1))
        await site.running(first)
        assert (await site.cancel(first)).status is JobStatus.CANCELING
        assert (await site.ended(first)).status is JobStatus.CANCELED
        assert (await site.ended(second)).status is JobStatus.SUCCEEDED


async def test_a_job_that_finishes_first_is_not_canceled(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        job = await site.ended(await site.submit(picture()))
        assert (await site.cancel(job.id)).status is JobStatus.SUCCEEDED


async def test_a_worker_that_lacks_a_model_is_not_chosen(tmp_path: Path) -> None:
    lacking = simulator.Options(models={"upscale_models": ("other.pth",)})
    async with open_site(tmp_path) as site, simulator.running(lacking) as poor, simulator.running() as rich:
        await add(site, poor, "w0")
        graph = {
            "1": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "RealESRGAN_x4plus.pth"}},
            "2": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 1}},
            "3": {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["1", 0], "image": ["2", 0]}},
            "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "up"}},
        }
        job_id = await site.submit(graph)
        await site.ended(await site.submit(picture()))
        assert (await site.job(job_id)).status is JobStatus.QUEUED
        await add(site, rich, "w1")
        assert (await site.ended(job_id)).worker == "w1"


async def test_what_a_worker_can_run_is_asked_again_now_and_then(tmp_path: Path) -> None:
    async with open_site(tmp_path, catalog_refresh=0.1) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        await fault(sim, "http_error", path="/object_info", status=500)
        async with aiohttp.ClientSession() as session, asyncio.timeout(10):
            struck = 0
            while not struck:
                async with session.get(f"{sim.url}/simulator/faults") as answer:
                    struck = sum(one["struck"] for one in (await answer.json())["faults"])
                await asyncio.sleep(0.05)
        job = await site.ended(await site.submit(picture()))
        assert job.status is JobStatus.SUCCEEDED


async def test_prompts_of_others_count_as_load_and_are_left_alone(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, simulator.running() as shared, simulator.running() as free:
        await add(site, shared, "w0")
        await add(site, free, "w1")
        async with aiohttp.ClientSession() as session:
            body = {"prompt": work(30), "client_id": "somebodys-browser"}
            async with session.post(f"{shared.url}/prompt", json=body) as answer:
                foreign = (await answer.json())["prompt_id"]
            await site.worker_is("w0", lambda view: view.others == 1)
            job = await site.ended(await site.submit(picture()))
            assert job.worker == "w1"
            async with session.get(f"{shared.url}/queue") as answer:
                assert [entry[1] for entry in (await answer.json())["queue_running"]] == [foreign]


async def test_real_and_simulated_workers_never_mix(tmp_path: Path) -> None:
    async def stats(_: web.Request) -> web.Response:
        return web.json_response({"system": {"comfyui_version": "0.33.0"}, "devices": []})

    app = web.Application()
    app.router.add_get("/system_stats", stats)
    runner = web.AppRunner(app)
    await runner.setup()
    server = web.TCPSite(runner, "127.0.0.1", 0)
    await server.start()
    port = runner.addresses[0][1]
    async with open_site(tmp_path) as site, simulator.running() as sim:
        await add(site, sim, "w0")
        await site.dispatch.add(f"http://127.0.0.1:{port}", worker_id="real")
        view = await site.worker_is("real", lambda view: view.state == "unreachable")
        assert view.last_error == "real is real, but w0 is simulated: the two never mix"
    await runner.cleanup()


async def test_a_process_that_is_not_there_yet_is_starting_and_nothing_is_wrong_with_it(tmp_path: Path) -> None:
    asked = asyncio.Semaphore(0)

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.release()
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    process = model.WorkerProcess(
        id=model.WorkerId("gpu0"), url=f"http://127.0.0.1:{port}", kind=model.WorkerKind.LOCAL, pid=1
    )
    async with open_site(tmp_path) as site:
        await site.dispatch.processes_changed([process])
        for _ in range(4):  # tries again, so it has failed before
            await asyncio.wait_for(asked.acquire(), 10)
        (view,) = site.dispatch.views()
        assert (view.state, view.last_error) == (model.WorkerState.STARTING, None)
        given_up = dataclasses.replace(process, pid=None, failure="it ended 5 times in a row")
        await site.dispatch.processes_changed([given_up])
        (view,) = site.dispatch.views()
        assert (view.state, view.last_error) == (model.WorkerState.UNREACHABLE, "it ended 5 times in a row")
    server.close()
    await server.wait_closed()
