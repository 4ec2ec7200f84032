"""Sound, moving pictures, latents and shapes: what ComfyUI puts out beside pictures."""

from __future__ import annotations

import io
import json
import shutil
import struct
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gateway.simulator.nodes import flac, mp4, tokens
from gateway.simulator.nodes.base import Array, Context, Node, NodeFailure, Outcome
from gateway.simulator.nodes.images_io import file_changed, find_place, metadata
from gateway.simulator.nodes.tokens import Latent, Token

Audio = dict[str, Any]
_RATE = 44_100
#: Seconds of sound that a simulated sampler makes at most.
_LONGEST_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Video:
    """Moving pictures: frames, or a file that is handed on as it is."""

    frames: Array | None = None
    fps: float = 30
    audio: Audio | None = None
    path: Path | None = None


def _write(ctx: Context, prefix: str, ending: str, data: list[bytes], kind: str = "output") -> list[Any]:
    place = find_place(ctx, prefix, kind)
    shown: list[Any] = []
    for index, content in enumerate(data):
        name = f"{place.name}_{place.counter + index:05}_.{ending}"
        Path(place.path(name)).write_bytes(content)
        shown.append({"filename": name, "subfolder": place.subfolder, "type": kind})
    ctx.files.wrote(place, len(shown))
    return shown


def _temp(ctx: Context) -> str:
    return f"ComfyUI_temp_{ctx.files.temp_token}"


# ---- sound


def empty_audio(ctx: Context, *, duration: float, sample_rate: int, channels: int) -> tuple[Audio]:
    """Make silence."""
    del ctx
    return (
        {"waveform": np.zeros((1, channels, round(duration * sample_rate)), np.float32), "sample_rate": sample_rate},
    )


def load_audio(ctx: Context, *, audio: str, **_: Any) -> tuple[Audio]:
    """Read a WAV file; other formats need a codec that the simulator has not."""
    path = ctx.files.annotated(audio)
    try:
        with wave.open(str(path)) as file:
            raw = file.readframes(file.getnframes())
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
    except wave.Error as error:
        raise NodeFailure(f"the simulator reads WAV only: {error}", kind="av.error.InvalidDataError") from None
    kinds = {1: np.uint8, 2: np.dtype("<i2"), 4: np.dtype("<i4")}
    if width not in kinds:
        raise NodeFailure(f"the simulator reads 8, 16 and 32 bits, not {width * 8}")
    samples = np.frombuffer(raw, kinds[width]).astype(np.float32)
    samples = samples / 128 - 1 if width == 1 else samples / float(1 << (8 * width - 1))
    return ({"waveform": samples.reshape(-1, channels).T[None].astype(np.float32), "sample_rate": rate},)


async def vae_decode_audio(ctx: Context, samples: Latent, vae: Any, **_: Any) -> tuple[Audio]:
    """Play a little tune of the prompt's own notes."""
    del vae
    if ctx.card.decode_ms > 0:
        await ctx.sleep(ctx.card.decode_ms / 1000)
    key = tokens.digest([tokens.texts(samples), samples.pixels])
    chance = np.random.default_rng(int.from_bytes(key, "little"))
    seconds = min(samples.seconds or 10.0, _LONGEST_S)
    notes = max(1, round(seconds * 4))
    length = round(seconds * _RATE / notes)
    scale = np.array([0, 2, 4, 7, 9, 12, 14, 16])
    pitches = 220 * 2 ** (chance.choice(scale, notes) / 12)
    at = np.arange(length, dtype=np.float32) / _RATE
    fade = np.minimum(1, np.minimum(at * 200, (at[-1] - at) * 20)).astype(np.float32)
    tune = np.concatenate([np.sin(2 * np.pi * pitch * at) * fade for pitch in pitches]) * 0.3
    waveform = np.stack([tune, tune]).astype(np.float32)[None]
    return ({"waveform": np.repeat(waveform, samples.batch, axis=0), "sample_rate": _RATE},)


def trim_audio(ctx: Context, *, audio: Audio, start_index: float, duration: float) -> tuple[Audio]:
    """Cut a piece out."""
    del ctx
    rate = audio["sample_rate"]
    waveform: Array = audio["waveform"]
    start = round(start_index * rate) if start_index >= 0 else waveform.shape[-1] + round(start_index * rate)
    start = max(0, start)
    return ({"waveform": waveform[..., start : start + round(duration * rate)], "sample_rate": rate},)


def _flac_files(audio: Audio) -> list[bytes]:
    waveform: Array = audio["waveform"]
    samples = (np.clip(waveform, -1, 1) * 32767).astype(np.int16)
    return [flac.encode(item.T, audio["sample_rate"]) for item in samples]


def save_audio(ctx: Context, *, audio: Audio, filename_prefix: str = "audio/ComfyUI") -> Outcome:
    """Write FLAC files."""
    return Outcome((audio,), {"audio": _write(ctx, filename_prefix, "flac", _flac_files(audio))})


def preview_audio(ctx: Context, *, audio: Audio) -> Outcome:
    """Write FLAC files into temp."""
    return Outcome((audio,), {"audio": _write(ctx, _temp(ctx), "flac", _flac_files(audio), "temp")})


# ---- moving pictures


def create_video(ctx: Context, *, images: Array, fps: float, audio: Audio | None = None, **_: Any) -> tuple[Video]:
    """Make frames a video."""
    del ctx
    return (Video(frames=images, fps=fps, audio=audio),)


def load_video(ctx: Context, *, file: str) -> tuple[Video]:
    """Name an uploaded video; it is handed on as it is."""
    return (Video(path=ctx.files.annotated(file)),)


def get_video_components(ctx: Context, *, video: Video) -> tuple[Any, ...]:
    """Take a video apart again."""
    del ctx
    if video.frames is None:
        raise NodeFailure("the simulator has no codec to take an uploaded video apart")
    return video.frames, video.audio, video.fps, 8, "8"


def save_video(ctx: Context, *, video: Video, filename_prefix: str = "video/ComfyUI", **_: Any) -> Outcome:
    """Write an MP4 file of motion JPEG, or copy what was uploaded."""
    place = find_place(ctx, filename_prefix)
    if video.frames is None and video.path is not None:
        name = f"{place.name}_{place.counter:05}_{video.path.suffix}"
        shutil.copyfile(video.path, place.path(name))
        ctx.files.wrote(place, 1)
        shown: list[Any] = [{"filename": name, "subfolder": place.subfolder, "type": "output"}]
    else:
        frames = video.frames if video.frames is not None else np.zeros((1, 8, 8, 3), np.float32)
        data = mp4.mux(_jpegs(frames), frames.shape[2], frames.shape[1], video.fps)
        shown = _write(ctx, filename_prefix, "mp4", [data])
    return Outcome((video,), {"images": shown, "animated": [True]})


def _jpegs(frames: Array) -> list[bytes]:
    from PIL import Image

    out: list[bytes] = []
    for frame in np.clip(frames[..., :3] * 255, 0, 255).astype(np.uint8):
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=90)
        out.append(buffer.getvalue())
    return out


def _animated(images: Array, fps: float, image_format: str, **options: Any) -> bytes:
    from PIL import Image

    frames = [Image.fromarray(frame) for frame in np.clip(images * 255, 0, 255).astype(np.uint8)]
    buffer = io.BytesIO()
    frames[0].save(buffer, image_format, save_all=True, append_images=frames[1:], duration=int(1000 / fps), **options)
    return buffer.getvalue()


def save_animated_webp(
    ctx: Context, *, images: Array, filename_prefix: str, fps: float, lossless: bool, quality: int, method: str
) -> Outcome:
    """Write a moving WebP picture."""
    effort = {"default": 4, "fastest": 0, "slowest": 6}.get(method, 4)
    data = _animated(images, fps, "WEBP", lossless=lossless, quality=quality, method=effort)
    return Outcome((images,), {"images": _write(ctx, filename_prefix, "webp", [data]), "animated": [len(images) > 1]})


def save_animated_png(ctx: Context, *, images: Array, filename_prefix: str, fps: float, compress_level: int) -> Outcome:
    """Write a moving PNG picture."""
    data = _animated(images, fps, "PNG", compress_level=compress_level)
    return Outcome((images,), {"images": _write(ctx, filename_prefix, "png", [data]), "animated": [True]})


# ---- latents as files


def save_latent(ctx: Context, *, samples: Latent, filename_prefix: str) -> Outcome:
    """Write a safetensors file of the latent's shape (zeros: there is no model behind it)."""
    shape = [samples.batch, 4, samples.height // 8, samples.width // 8]
    count = int(np.prod(shape)) * 4
    texts = {key: json.dumps(value) for key, value in metadata(ctx).items()}
    head = json.dumps(
        {
            "__metadata__": {**texts, "simulated": "true"},
            "latent_format_version_0": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]},
            "latent_tensor": {"dtype": "F32", "shape": shape, "data_offsets": [0, count]},
        }
    ).encode()
    data = struct.pack("<Q", len(head)) + head + bytes(count)
    return Outcome((samples,), {"latents": _write(ctx, filename_prefix, "latent", [data])})


def load_latent(ctx: Context, *, latent: str) -> tuple[Latent]:
    """Read a latent file's shape."""
    data = ctx.files.annotated(latent).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    batch, _, height, width = json.loads(data[8 : 8 + size])["latent_tensor"]["shape"]
    return (Latent(width=width * 8, height=height * 8, batch=batch),)


# ---- shapes


def hand_on(kind: str) -> Any:
    """Make the behaviour of a class with one opaque output that is no model."""

    def run(ctx: Context, **inputs: Any) -> tuple[Token]:
        return (Token(kind=kind, class_type=ctx.class_type, inputs=inputs),)

    return run


def save_glb(ctx: Context, *, mesh: Any, filename_prefix: str = "mesh/ComfyUI", **_: Any) -> Outcome:
    """Write a GLB file: a cube, whatever the mesh was."""
    del mesh
    return Outcome((), {"3d": _write(ctx, filename_prefix, "glb", [_cube(metadata(ctx))])})


def _cube(extras: dict[str, Any]) -> bytes:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], "<f4")
    sides = "013 032 467 475 045 051 237 276 026 064 157 173"
    faces = np.array([int(corner) for corner in sides if corner != " "], "<u4")
    blob = corners.tobytes() + faces.tobytes()
    scene: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "ComfyUI (simulated)"},
        "buffers": [{"byteLength": len(blob)}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": corners.nbytes, "target": 34962},
            {"buffer": 0, "byteOffset": corners.nbytes, "byteLength": faces.nbytes, "target": 34963},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 8, "type": "VEC3", "max": [1, 1, 1], "min": [-1, -1, -1]},
            {"bufferView": 1, "componentType": 5125, "count": faces.size, "type": "SCALAR"},
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
        "extras": {key: json.dumps(value) for key, value in extras.items()},
    }
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(blob), 0x004E4942) + blob
    return struct.pack("<4sII", b"glTF", 2, len(chunks) + 12) + chunks


def save_text(ctx: Context, *, text: str, filename_prefix: str = "ComfyUI", format: str = "txt") -> Outcome:  # noqa: A002 - the class's own name
    """Write a text file. A real server does not find its own numbers again, so it writes over the last one."""
    place = find_place(ctx, filename_prefix)
    name = f"{place.name}_{place.counter:05}.{format}"
    Path(place.path(name)).write_text(text, encoding="utf-8")
    shown = [{"filename": name, "subfolder": place.subfolder, "type": "output"}]
    return Outcome((text,), {"text": [text], "files": shown})


NODES: Mapping[str, Node] = {
    "EmptyAudio": Node(run=empty_audio),
    "LoadAudio": Node(run=load_audio, changed=file_changed("audio")),
    "VAEDecodeAudio": Node(run=vae_decode_audio),
    "TrimAudioDuration": Node(run=trim_audio),
    "SaveAudio": Node(run=save_audio),
    "PreviewAudio": Node(run=preview_audio),
    "CreateVideo": Node(run=create_video),
    "LoadVideo": Node(run=load_video, changed=file_changed("file")),
    "GetVideoComponents": Node(run=get_video_components),
    "SaveVideo": Node(run=save_video),
    "SaveAnimatedWEBP": Node(run=save_animated_webp),
    "SaveAnimatedPNG": Node(run=save_animated_png),
    "SaveLatent": Node(run=save_latent),
    "LoadLatent": Node(run=load_latent, changed=file_changed("latent")),
    "VAEDecodeHunyuan3D": Node(run=hand_on("VOXEL")),
    "VoxelToMesh": Node(run=hand_on("MESH")),
    "VoxelToMeshBasic": Node(run=hand_on("MESH")),
    "SaveGLB": Node(run=save_glb),
    "SaveText": Node(run=save_text),
}
