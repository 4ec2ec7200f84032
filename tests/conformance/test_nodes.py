"""Nodes that no recording shows: switches, numbers, lists, sound, films, shapes, latents."""

from __future__ import annotations

import io
import json
import struct
import wave
from typing import Any

import aiohttp
import pytest
from PIL import Image

from tests.conformance.living import Client, living, node


async def _shown(prompt: dict[str, Any], name: str = "out") -> dict[str, list[Any]]:
    async with living() as (_, client):
        record = await client.run(prompt)
        assert record["status"]["status_str"] == "success", record["status"]
        return record["outputs"][name]


@pytest.mark.parametrize(("switch", "ran", "idle"), [(True, "yes", "no"), (False, "no", "yes")])
async def test_only_the_chosen_branch_is_computed(switch: bool, ran: str, idle: str) -> None:
    """The other one does not even start."""
    prompt = {
        "yes": node("SimulatedWork", seconds=0, seed=1),
        "no": node("SimulatedWork", seconds=0, seed=2),
        "pick": node("ComfySwitchNode", switch=switch, on_true=["yes", 0], on_false=["no", 0]),
        "out": node("PreviewImage", images=["pick", 0]),
    }
    async with living() as (_, client):
        assert (await client.run(prompt))["status"]["status_str"] == "success"
        started = {frame["data"]["node"] for frame in client.frames if frame["type"] == "executing"}
        assert ran in started
        assert idle not in started


async def test_expressions_are_computed() -> None:
    """With the values linked in by name."""
    prompt = {
        "a": node("PrimitiveInt", value=7),
        "math": node("ComfyMathExpression", expression="ceil(a / 2) * 8 + b", **{"values.a": ["a", 0], "values.b": 1}),
        "out": node("PreviewAny", source=["math", 1]),
    }
    assert (await _shown(prompt))["text"] == ["33"]


async def test_expressions_cannot_do_anything_else() -> None:
    """They fail in the node."""
    prompt = {
        "math": node("ComfyMathExpression", expression="__import__('os').getpid()", **{"values.a": 1}),
        "out": node("PreviewAny", source=["math", 1]),
    }
    async with living() as (_, client):
        assert (await client.run(prompt))["status"]["status_str"] == "error"


async def test_a_contact_sheet() -> None:
    """ImageGrid takes all pictures at once."""
    prompt: dict[str, Any] = {
        "one": node("EmptyImage", width=20, height=10, batch_size=3, color=0xFF0000),
        "grid": node("ImageGrid", images=["one", 0], columns=2, cell_width=32, cell_height=32, padding=4),
        "out": node("SaveImage", images=["grid", 0], filename_prefix="sheet"),
    }
    async with living() as (_, client):
        record = await client.run(prompt)
        data = await client.bytes_of(record["outputs"]["out"]["images"][0])
    with Image.open(io.BytesIO(data)) as sheet:
        assert sheet.size == (2 * 36 - 4, 2 * 36 - 4)


def _model() -> dict[str, Any]:
    return {
        "model": node("CheckpointLoaderSimple", ckpt_name="sd_xl_base_1.0.safetensors"),
        "text": node("CLIPTextEncode", text="a tune", clip=["model", 1]),
        "sampler": node(
            "KSampler", seed=1, steps=2, cfg=1, sampler_name="euler", scheduler="normal", denoise=1,
            model=["model", 0], positive=["text", 0], negative=["text", 0], latent_image=["latent", 0],
        ),
    }  # fmt: skip


async def test_sound_is_made_and_saved() -> None:
    """As FLAC of the right length."""
    prompt = {
        **_model(),
        "latent": node("EmptyLatentAudio", seconds=1.5, batch_size=1),
        "sound": node("VAEDecodeAudio", samples=["sampler", 0], vae=["model", 2]),
        "out": node("SaveAudio", audio=["sound", 0], filename_prefix="audio/tune"),
    }
    async with living() as (_, client):
        record = await client.run(prompt)
        (item,) = record["outputs"]["out"]["audio"]
        data = await client.bytes_of(item)
    assert (item["filename"], item["subfolder"]) == ("tune_00001_.flac", "audio")
    assert int.from_bytes(data[18:26], "big") & (2**36 - 1) == 66_150


async def test_uploaded_sound_is_read() -> None:
    """WAV goes in, FLAC comes out."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(struct.pack("<8000h", *([1000, -1000] * 4000)))
    prompt = {"load": node("LoadAudio", audio="in.wav"), "out": node("PreviewAudio", audio=["load", 0])}
    async with living() as (_, client):
        await _upload(client, "in.wav", buffer.getvalue())
        record = await client.run(prompt)
        data = await client.bytes_of(record["outputs"]["out"]["audio"][0])
    assert int.from_bytes(data[18:26], "big") & (2**36 - 1) == 8000


async def test_films() -> None:
    """MP4, WebP and PNG of the same two frames; an uploaded film is handed on as it is."""
    prompt = {
        "frames": node("EmptyImage", width=64, height=48, batch_size=2, color=255),
        "film": node("CreateVideo", images=["frames", 0], fps=2.0),
        "mp4": node("SaveVideo", video=["film", 0], filename_prefix="video/x", format="auto", codec="auto"),
        "webp": node(
            "SaveAnimatedWEBP", images=["frames", 0], filename_prefix="x", fps=6.0, lossless=True, quality=80,
            method="default",
        ),
        "png": node("SaveAnimatedPNG", images=["frames", 0], filename_prefix="x", fps=6.0, compress_level=4),
        "load": node("LoadVideo", file="in.webm"),
        "copy": node("SaveVideo", video=["load", 0], filename_prefix="video/copy", format="auto", codec="auto"),
    }  # fmt: skip
    async with living() as (_, client):
        await _upload(client, "in.webm", b"anything")
        outputs = (await client.run(prompt))["outputs"]
        heads = {name: (await client.bytes_of(shown["images"][0]))[:12] for name, shown in outputs.items()}
    assert all(shown["animated"] == [True] for shown in outputs.values())
    assert heads["mp4"][4:8] == b"ftyp"
    assert heads["webp"][8:] == b"WEBP"
    assert heads["png"].startswith(b"\x89PNG")
    assert heads["copy"] == b"anything"


async def test_shapes_and_latents() -> None:
    """A GLB file, and a latent that can be loaded again."""
    prompt = {
        "model": node("CheckpointLoaderSimple", ckpt_name="sd_xl_base_1.0.safetensors"),
        "latent": node("EmptyLatentHunyuan3Dv2", resolution=3072, batch_size=1),
        "voxels": node(
            "VAEDecodeHunyuan3D", samples=["latent", 0], vae=["model", 2], num_chunks=8000, octree_resolution=256
        ),
        "mesh": node("VoxelToMesh", voxel=["voxels", 0], algorithm="basic", threshold=0.6),
        "glb": node("SaveGLB", mesh=["mesh", 0], filename_prefix="mesh/x"),
        "empty": node("EmptyLatentImage", width=128, height=64, batch_size=2),
        "saved": node("SaveLatent", samples=["empty", 0], filename_prefix="latents/x"),
    }
    async with living() as (_, client):
        outputs = (await client.run(prompt))["outputs"]
        glb = await client.bytes_of(outputs["glb"]["3d"][0])
        latent = await client.bytes_of(outputs["saved"]["latents"][0])
        assert struct.unpack("<4sII", glb[:12]) == (b"glTF", 2, len(glb))
        size = struct.unpack("<Q", latent[:8])[0]
        assert json.loads(latent[8 : 8 + size])["latent_tensor"]["shape"] == [2, 4, 8, 16]
        await _upload(client, "x.latent", latent)
        again = {
            "load": node("LoadLatent", latent="x.latent"),
            "model": prompt["model"],
            "decode": node("VAEDecode", samples=["load", 0], vae=["model", 2]),
            "out": node("SaveImage", images=["decode", 0], filename_prefix="again"),
        }
        assert len((await client.run(again))["outputs"]["out"]["images"]) == 2


async def test_a_film_of_a_sampler_has_its_frames() -> None:
    """One for each of its length."""
    prompt = {
        **_model(),
        "latent": node("EmptyHunyuanLatentVideo", width=64, height=64, length=5, batch_size=1),
        "frames": node("VAEDecode", samples=["sampler", 0], vae=["model", 2]),
        "out": node("SaveImage", images=["frames", 0], filename_prefix="frame"),
    }
    assert len((await _shown(prompt))["images"]) == 5


async def _upload(client: Client, name: str, data: bytes) -> None:
    form = aiohttp.FormData()
    form.add_field("image", data, filename=name)
    async with client.session.post(f"{client.url}/upload/image", data=form) as answer:
        assert answer.status == 200
