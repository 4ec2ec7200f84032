"""Templates against the workers that there are: told with the place and the nearest valid value, and kept to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import app, simulator
from gateway.settings import Settings
from tests.integration.templates_api import living

FILES = ("RealESRGAN_x2plus.pth", "RealESRGAN_x4plus.pth")


def upscale(file: str = "RealESRGAN_x4plus.pth") -> dict[str, Any]:
    """A picture made larger by a model."""
    return {
        **living.graph(),
        "3": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": file}},
        "4": {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["3", 0], "image": ["1", 0]}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "large"}},
    }


def painted(sampler: str = "euler") -> dict[str, Any]:
    """A picture of a text."""
    drawing = {"sampler_name": sampler, "scheduler": "normal", "steps": 4, "seed": 1, "cfg": 7.0, "denoise": 1.0}
    links = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0]}
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "a fox"}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "blurry"}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "5": {"class_type": "KSampler", "inputs": {**drawing, **links}},
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "fox"}},
    }


def options(*files: str, **more: Any) -> simulator.Options:
    return simulator.Options(models={"upscale_models": files}, **more)


class Site:
    """A gateway to which workers are added."""

    def __init__(self, client: httpx.AsyncClient, stack: AsyncExitStack) -> None:
        self.client = client
        self._stack = stack

    async def add(self, name: str, given: simulator.Options) -> str:
        """Add a worker, and wait until it has told what it can do; returns its own URL."""
        running = await self._stack.enter_async_context(simulator.running(given))
        answer = await self.client.post("/v1/workers", json={"url": running.url, "id": name})
        assert answer.status_code == 201, answer.text
        await living.until(living.asking(self.client, f"/v1/workers/{name}"), lambda worker: worker["state"] == "idle")
        return running.url

    async def get(self, path: str) -> Any:
        return (await self.client.get(path)).json()

    async def until(self, path: str, holds: Callable[[Any], bool]) -> Any:
        return await living.until(living.asking(self.client, path), holds)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    given: dict[str, Any] = {"port": 0, "data_dir": tmp_path / "data", "look_for": None, "workflows": ()}
    async with (
        AsyncExitStack() as stack,
        app.running(Settings(**given)) as gateway,
        httpx.AsyncClient(base_url=gateway.url, timeout=30) as client,
    ):
        yield Site(client, stack)


async def test_each_worker_is_told_apart(site: Site) -> None:
    await site.client.put("/v1/templates/big", json={"workflow": upscale()})
    nobody = await site.get("/v1/templates/big/preflight")
    assert (nobody["runnable"], nobody["workers"]) == (None, [])
    await site.add("full", options(*FILES))
    await site.add("half", options(FILES[0]))
    await site.add("bare", options(*FILES, without_nodes=frozenset({"UpscaleModelLoader"})))
    told = await site.get("/v1/templates/big/preflight")
    assert (told["template"], told["runnable"]) == ("big", True)
    found = {item["worker"]: item for item in told["workers"]}
    assert {name: item["passes"] for name, item in found.items()} == {"full": True, "half": False, "bare": False}
    (lacks,) = found["half"]["faults"]
    assert (lacks["node"], lacks["field"], lacks["class_type"]) == ("3", "model_name", "UpscaleModelLoader")
    assert (lacks["reason"], lacks["nearest"], lacks["parameter"]) == ("value_not_in_list", FILES[0], "upscale_model")
    assert {fault["reason"] for fault in found["bare"]["faults"]} == {"missing_node_type"}
    detail = await site.get("/v1/templates/big")
    assert (detail["runnable"], detail["workers"], detail["lacking"]) == (True, ["full"], [])


async def test_choices_of_models_are_those_that_workers_have(site: Site) -> None:
    sidecar: dict[str, Any] = {"parameters": {"model": {"type": "model", "target": "3.model_name"}}}
    await site.client.put("/v1/templates/big", json={"workflow": upscale(), "sidecar": sidecar})

    async def choices() -> tuple[Any, Any]:
        about = await site.get("/v1/templates/big")
        return about["parameters"][0]["choices"], about["schema"]["properties"]["model"].get("enum")

    assert await choices() == ([], None)
    await site.add("one", options(FILES[0]))
    assert await choices() == ([FILES[0]], [FILES[0]])
    await site.add("two", options(FILES[1], "4x-UltraSharp.pth"))
    assert sorted((await choices())[0]) == sorted([*FILES, "4x-UltraSharp.pth"])
    assert (await site.client.delete("/v1/workers/two?drain=false")).status_code == 204
    assert await choices() == ([FILES[0]], [FILES[0]])


async def test_what_was_inferred_gets_its_choices_when_a_worker_comes(site: Site) -> None:
    before = (await site.client.put("/v1/templates/fox", json={"workflow": painted()})).json()
    types = {item["name"]: (item["type"], len(item["choices"]) > 1) for item in before["parameters"]}
    assert (types["sampler"], types["checkpoint"]) == (("string", False), ("model", False))
    await site.add("one", simulator.Options())
    after = await site.until("/v1/templates/fox", lambda about: about["schema"]["properties"]["sampler"].get("enum"))
    types = {item["name"]: (item["type"], len(item["choices"]) > 1) for item in after["parameters"]}
    assert (types["sampler"], types["scheduler"], types["checkpoint"]) == (
        ("choice", True),
        ("choice", True),
        ("model", True),
    )
    assert after["version"] == before["version"]
    wrong = await site.client.post("/v1/templates/fox/jobs", json={"inputs": {"sampler": "eulr"}})
    (fault,) = wrong.json()["error"]["details"]["faults"]
    assert (fault["reason"], fault["parameter"]) == ("value_not_in_list", "sampler")


async def test_jobs_go_only_to_workers_that_take_them(site: Site) -> None:
    """Both have the class; the sampler is one that only the newer ComfyUI knows."""
    await site.add("old", simulator.Options(version="0.3.64"))
    await site.add("new", simulator.Options(version="0.33.0"))
    await site.client.put("/v1/templates/modern", json={"workflow": painted("exp_heun_2_x0")})
    told = (await site.get("/v1/templates/modern/preflight"))["workers"]
    assert {item["worker"]: item["passes"] for item in told} == {"new": True, "old": False}
    (fault,) = next(item["faults"] for item in told if item["worker"] == "old")
    assert (fault["node"], fault["field"], fault["reason"]) == ("5", "sampler_name", "value_not_in_list")
    assert "heun" in fault["nearest"]
    for order in range(4):
        job = await living.ran(site.client, "modern", {"seed": order})
        assert (job["status"], job["worker"]) == ("succeeded", "new")
        assert len(job["attempts"]) == 1  # the other one was not even asked
    batch = (await site.client.post("/v1/batches", json={"template": "modern", "inputs": {}, "n": 6})).json()
    done = await site.until(f"/v1/batches/{batch['id']}", lambda answer: answer["finished"])
    assert done["counts"]["succeeded"] == 6


async def test_what_workers_lack_is_told_with_what_is_wrong_with_the_values(site: Site) -> None:
    await site.client.put("/v1/templates/fox", json={"workflow": painted()})
    await site.add("one", simulator.Options())
    order = {"inputs": {"checkpoint": "v1.safetensors", "steps": -3, "promt": "a fox"}}
    refused = await site.client.post("/v1/templates/fox/jobs", json=order)
    faults = refused.json()["error"]["details"]["faults"]
    assert {(fault["parameter"], fault["reason"]) for fault in faults} == {
        ("checkpoint", "value_not_in_list"),
        ("steps", "value_smaller_than_min"),
        ("promt", "unknown_parameter"),
    }
    each = [{"checkpoint": "v1.safetensors"}, {"steps": -3}, {"checkpoint": "v2.safetensors"}]
    refused = await site.client.post("/v1/batches", json={"template": "fox", "inputs": each})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_inputs")
    assert [fault["index"] for fault in refused.json()["error"]["details"]["faults"]] == [0, 1, 2]


def loading(name: str, **more: Any) -> dict[str, Any]:
    """A graph that saves a picture of a worker's input folder."""
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "again"}},
        **more,
    }


async def test_an_input_file_that_nobody_has_is_told_at_once(site: Site) -> None:
    async def ordered(graph: Any) -> httpx.Response:
        return await site.client.post("/api/v2/jobs", json={"workflow": graph})

    assert (await ordered(loading("shots/fox.png"))).status_code == 201  # nobody is there to be asked
    worker = await site.add("one", simulator.Options())
    refused = await ordered(loading("shots/fox.png"))
    (fault,) = refused.json()["error"]["details"]["faults"]
    assert (refused.status_code, fault["reason"], fault["node"], fault["field"]) == (422, "missing_file", "1", "image")
    assert "no asset of yours" in fault["message"]
    assert (await ordered(loading("shots/fox.png", **blue()))).status_code == 201  # another output can run
    await site.client.put("/v1/templates/again", json={"workflow": loading("shots/fox.png")})
    by_name = await site.client.post("/v1/templates/again/jobs", json={"inputs": {"image": "shots/fox.png"}})
    (fault,) = by_name.json()["error"]["details"]["faults"]
    assert (fault["reason"], fault["parameter"]) == ("missing_file", "image")
    form = {"subfolder": "shots", "type": "input"}
    async with httpx.AsyncClient() as person:
        await person.post(f"{worker}/upload/image", data=form, files={"image": ("fox.png", living.picture())})
    assert (await living.ran(site.client, "again", {"image": "shots/fox.png"}))["status"] == "succeeded"


def blue() -> dict[str, Any]:
    """Another output beside it, which needs no file."""
    plain = living.graph()
    save = {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "blue"}}
    return {"8": plain["1"], "9": save}


async def test_a_job_that_waits_for_a_paused_worker_says_so(site: Site) -> None:
    await site.add("one", simulator.Options())
    assert (await site.client.post("/v1/queue/pause", json={"worker": "one"})).status_code == 200
    job = (await site.client.post("/api/v2/jobs", json={"workflow": living.graph()})).json()
    reason = (await site.get(f"/v1/jobs/{job['id']}/placement"))["reason"]
    assert reason.startswith("waits for a worker that can run it: the worker one is paused since 2")
