"""Loaders, encoders, patches: all that only hands tokens on. Loading takes the time that the card needs for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gateway.simulator.nodes.base import Context, Node
from gateway.simulator.nodes.tokens import Latent, Token

#: Types that are never looked into.
OPAQUE_TYPES = frozenset(
    {
        "MODEL", "CLIP", "VAE", "CONDITIONING", "SIGMAS", "GUIDER", "SAMPLER", "NOISE", "CONTROL_NET", "CLIP_VISION",
        "CLIP_VISION_OUTPUT", "STYLE_MODEL", "UPSCALE_MODEL", "HOOKS", "HOOK_KEYFRAMES", "GLIGEN", "PHOTOMAKER",
        "LORA_MODEL", "MODEL_PATCH", "AUDIO_ENCODER", "AUDIO_ENCODER_OUTPUT", "LATENT_OPERATION",
        "LATENT_UPSCALE_MODEL", "TIMESTEPS_RANGE", "WAN_CAMERA_EMBEDDING", "IPADAPTER", "LATENT",
    }
)  # fmt: skip
_FILE_INPUTS = (
    "ckpt_name", "unet_name", "lora_name", "vae_name", "control_net_name", "clip_name", "clip_name1", "clip_name2",
    "clip_name3", "clip_name4", "model_name", "style_model_name", "ipadapter_file", "gligen_name", "name",
)  # fmt: skip
#: Size in GB by a part of the file name; the first that fits.
_SIZES: tuple[tuple[str, float], ...] = (
    ("flux1-dev-fp8", 17.2), ("flux1-schnell-fp8", 17.2), ("flux", 23.8), ("t5xxl_fp16", 9.8), ("t5xxl", 4.9),
    ("clip_g", 1.4), ("clip_l", 0.25), ("lora", 0.15), ("control", 1.4), ("ip-adapter", 0.1), ("vae", 0.33),
    ("ae.", 0.33), ("esrgan", 0.07), ("ultrasharp", 0.07), ("clip-vit-h", 2.5), ("refiner", 6.1), ("xl", 6.9),
    ("v1-5", 2.1), ("inpainting", 5.2),
)  # fmt: skip


def size_gb(name: str) -> float:
    """Guess a model file's size."""
    lowered = name.lower()
    return next((size for part, size in _SIZES if part in lowered), 2.0)


async def load_files(ctx: Context, inputs: dict[str, Any]) -> None:
    """Take the time to load the model files that the inputs name, and keep count of the card's memory."""
    if not names_model(ctx.class_type, inputs):
        return
    for field in _FILE_INPUTS:
        name = inputs.get(field)
        if not isinstance(name, str):
            continue
        size = size_gb(name)
        ctx.resident.pop(name, None)
        while ctx.resident and sum(ctx.resident.values()) + size > ctx.card.vram_gb:
            ctx.resident.pop(next(iter(ctx.resident)))
        ctx.resident[name] = min(size, ctx.card.vram_gb)
        seconds = size * ctx.card.load_s_per_gb
        if ctx.options.load_ms is not None:
            seconds = ctx.options.load_ms / 1000
        if seconds > 0:
            await ctx.sleep(seconds * ctx.options.slowness)


def names_model(class_type: str, inputs: Mapping[str, Any]) -> bool:
    """Whether such a node loads a model file."""
    return "Loader" in class_type and any(isinstance(inputs.get(field), str) for field in _FILE_INPUTS)


def opaque(outputs: tuple[str, ...]) -> Node:
    """Make the behaviour of a class that hands tokens on."""

    async def run(ctx: Context, **inputs: Any) -> tuple[Any, ...]:
        await load_files(ctx, inputs)
        return tuple(
            _latent(inputs)
            if kind == "LATENT"
            else Token(kind=kind, class_type=ctx.class_type, inputs=inputs, slot=slot)
            for slot, kind in enumerate(outputs)
        )

    return Node(run=run)


def _latent(inputs: Mapping[str, Any]) -> Latent:
    """Make a latent of whatever went in: another latent, a picture, or sizes."""
    for value in inputs.values():
        if isinstance(value, Latent):
            return Latent(
                width=value.width,
                height=value.height,
                batch=value.batch,
                frames=value.frames,
                pixels=value.pixels,
                noise_mask=value.noise_mask,
                seconds=value.seconds,
                sources=dict(inputs),
            )
    width, height = _number(inputs, "width", 512), _number(inputs, "height", 512)
    length = _number(inputs, "length", 1)
    seconds = inputs.get("seconds", 0)
    return Latent(
        width=width,
        height=height,
        batch=_number(inputs, "batch_size", 1),
        frames=length,
        seconds=float(seconds) if isinstance(seconds, int | float) else 0,
        sources={name: value for name, value in inputs.items() if isinstance(value, Token | np.ndarray)},
    )


def _number(inputs: Mapping[str, Any], name: str, default: int) -> int:
    value = inputs.get(name, default)
    return value if isinstance(value, int) and value > 0 else default
