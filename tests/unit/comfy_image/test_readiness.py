"""The warm-up and the health check of a worker, against a simulated ComfyUI."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway import simulator
from tests.unit.comfy_image import shelf

ROOT = Path(__file__).parents[3]
CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"


async def run(module: str, arguments: Sequence[str] = (), **variables: str) -> tuple[int, str]:
    """Run a module of the image as the container does; its status and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"comfy_image.{module}",
        *arguments,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, said.decode()


def port_of(url: str) -> str:
    """The port in a URL."""
    return url.rsplit(":", 1)[1]


async def warm_up(url: str, note: Path, what: str, *more: str) -> tuple[int, str]:
    """Run the warm-up with short pauses."""
    return await run("warm_up", ["--url", url, "--note", str(note), "--poll", "0.01", *more, what])


async def test_a_checkpoint_is_loaded_by_a_graph_that_comfyui_takes(tmp_path: Path) -> None:
    note = tmp_path / "warmed-up.json"
    async with simulator.running() as comfyui:
        assert (await warm_up(comfyui.url, note, CHECKPOINT))[0] == 0
        assert json.loads(note.read_text())["ok"] is True
        variables = {"WORKER_PORT": port_of(comfyui.url), "WORKER_DATA": str(tmp_path), "WARM_UP": CHECKPOINT}
        assert await run("health", **variables) == (0, "healthy\n")


async def test_a_graph_of_ones_own(tmp_path: Path) -> None:
    graph = tmp_path / "graph.json"
    graph.write_text(
        json.dumps(
            {
                "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
                "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
            }
        )
    )
    async with simulator.running() as comfyui:
        assert (await warm_up(comfyui.url, tmp_path / "note.json", str(graph)))[0] == 0


async def test_a_failed_warm_up_is_told_and_keeps_the_worker_unhealthy(tmp_path: Path) -> None:
    note = tmp_path / "warmed-up.json"
    async with simulator.running() as comfyui:
        status, said = await warm_up(comfyui.url, note, "missing.safetensors")
        assert (status, json.loads(note.read_text())["ok"]) == (1, False)
        assert "missing.safetensors" in said
        variables = {"WORKER_PORT": port_of(comfyui.url), "WORKER_DATA": str(tmp_path), "WARM_UP": "x"}
        status, said = await run("health", **variables)
        assert status == 1
        assert "the warm-up failed" in said


async def test_until_the_warm_up_ended_the_worker_is_not_healthy(tmp_path: Path) -> None:
    async with simulator.running() as comfyui:
        variables = {"WORKER_PORT": port_of(comfyui.url), "WORKER_DATA": str(tmp_path)}
        assert await run("health", **variables, WARM_UP=CHECKPOINT) == (1, "warming up\n")
        assert await run("health", **variables) == (0, "healthy\n")


async def test_what_does_not_answer_is_not_healthy(tmp_path: Path) -> None:
    with shelf.shelf(b"") as gone:
        pass
    status, said = await run("health", WORKER_PORT=port_of(gone.url))
    assert status == 1
    assert said.startswith("ComfyUI does not answer")
    status, said = await warm_up(gone.url, tmp_path / "note.json", CHECKPOINT, "--timeout", "0")
    assert status == 1
    assert "does not answer in time" in said


async def test_detached_it_outlives_its_starter(tmp_path: Path) -> None:
    fifo = tmp_path / "note"
    os.mkfifo(fifo)
    async with simulator.running() as comfyui:
        # The note blocks until it is read, so whoever writes it is still there when the starter has gone.
        starter = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "comfy_image.warm_up", "--detach", "--poll", "0.01"],
            *["--url", comfyui.url, "--note", str(fifo), CHECKPOINT],
            cwd=ROOT,
            stdout=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(60):
            assert await starter.wait() == 0
            assert json.loads(await asyncio.to_thread(fifo.read_text))["ok"] is True


async def test_it_gives_up_with_the_comfyui_that_it_waits_for(tmp_path: Path) -> None:
    with shelf.shelf(b"") as gone:
        pass
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await ended.wait()
    status, said = await warm_up(gone.url, tmp_path / "note.json", CHECKPOINT, "--pid", str(ended.pid))
    assert status == 1
    assert "ComfyUI ended" in said
