"""Samplers and the way between pixels and latents. A sampler takes the card's time for each step and draws."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateway.simulator.nodes import tokens
from gateway.simulator.nodes.base import Array, Context, Node
from gateway.simulator.nodes.models import load_files
from gateway.simulator.nodes.picture import Subject, draw, overlay_lines
from gateway.simulator.nodes.resize import resize
from gateway.simulator.nodes.tokens import Latent, Token

#: How much longer a step is than one of SD 1.5 at the same size, by a part of the model's name.
_WEIGHTS: tuple[tuple[str, float], ...] = (("flux", 6.0), ("xl", 1.6), ("wan", 10.0), ("hunyuan", 10.0))
_CONTROL_CLASSES = ("ControlNetApply", "ControlNetApplyAdvanced", "ControlNetApplySD3")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    model: Any
    positive: Any
    seed: int
    steps: int
    done_before: int
    denoise: float
    latent: Latent
    salt: bytes


async def ksampler(ctx: Context, **inputs: Any) -> tuple[Latent]:
    """KSampler."""
    return (await _sample(ctx, _plan(inputs, seed=inputs["seed"], steps=inputs["steps"], denoise=inputs["denoise"])),)


async def ksampler_advanced(ctx: Context, **inputs: Any) -> tuple[Latent]:
    """KSamplerAdvanced: a range of the steps; without added noise it goes on with what it is given."""
    total = inputs["steps"]
    start, end = min(inputs["start_at_step"], total), min(inputs["end_at_step"], total)
    share = (total - start) / total if total else 1.0
    denoise = share if inputs["add_noise"] == "enable" else min(share, 0.35)
    return (await _sample(ctx, _plan(inputs, seed=inputs["noise_seed"], steps=max(end - start, 1), denoise=denoise)),)


async def sampler_custom(ctx: Context, **inputs: Any) -> tuple[Latent, Latent]:
    """SamplerCustom: steps and strength come with the sigmas."""
    result = await _sample(ctx, _plan(inputs, seed=inputs["noise_seed"], **_schedule(inputs["sigmas"])))
    return result, result


async def sampler_custom_advanced(ctx: Context, **inputs: Any) -> tuple[Latent, Latent]:
    """SamplerCustomAdvanced: noise, guider and sigmas are nodes of their own."""
    guider = inputs["guider"]
    seed = tokens.find_input(inputs["noise"], ("noise_seed",), int) or 0
    known = {**inputs, "model": guider, "positive": _conditioning(guider)}
    result = await _sample(ctx, _plan(known, seed=seed, **_schedule(inputs["sigmas"])))
    return result, result


def _conditioning(guider: Any) -> Any:
    for token in tokens.walk(guider):
        for name in ("positive", "conditioning", "cond1"):
            if isinstance(token.inputs.get(name), Token):
                return token.inputs[name]
    return guider


def _schedule(sigmas: Any) -> dict[str, Any]:
    steps = tokens.find_input(sigmas, ("steps",), int)
    denoise = tokens.find_input(sigmas, ("denoise",), (int, float))
    return {"steps": steps or 20, "denoise": 1.0 if denoise is None else float(denoise)}


def _plan(inputs: Mapping[str, Any], *, seed: int, steps: int, denoise: float) -> _Plan:
    settings = {
        name: inputs.get(name)
        for name in ("cfg", "sampler_name", "scheduler", "model", "negative", "sampler", "sigmas", "guider", "steps")
    }
    return _Plan(
        model=inputs["model"],
        positive=inputs["positive"],
        seed=seed,
        steps=steps,
        done_before=0,
        denoise=denoise,
        latent=inputs["latent_image"],
        salt=tokens.digest(sorted((name, tokens.digest(value)) for name, value in settings.items())),
    )


async def _sample(ctx: Context, plan: _Plan) -> Latent:
    name = tokens.find_input(plan.model, ("ckpt_name", "unet_name"), str) or ""
    begin = time.monotonic()
    result = await asyncio.to_thread(_result, plan, name)
    noise = np.random.default_rng(plan.seed).random((min(64, result.shape[1]), min(64, result.shape[2]), 3), np.float32)
    step_s = _step_seconds(ctx, plan, name)
    for step in range(1, plan.steps + 1):
        if step_s > 0:
            await ctx.sleep(max(0.0, begin + step_s * step - time.monotonic()))
        ctx.progress.check()
        ctx.progress.step(step, plan.steps, _previewer(result[0], noise, step / plan.steps))
    latent = plan.latent
    return Latent(
        width=latent.width,
        height=latent.height,
        batch=latent.batch,
        frames=latent.frames,
        pixels=result,
        seconds=latent.seconds,
        sources={"model": plan.model, "positive": plan.positive},
    )


def _previewer(final: Array, noise: Array, share: float) -> Any:
    def preview() -> Array:
        rough = resize(noise[None], final.shape[1], final.shape[0], "nearest-exact")[0]
        return (final * share + rough * (1 - share)).astype(np.float32)

    return preview


def _step_seconds(ctx: Context, plan: _Plan, name: str) -> float:
    weight = next((factor for part, factor in _WEIGHTS if part in name.lower()), 1.0)
    latent = plan.latent
    pixels = latent.width * latent.height * latent.batch * latent.frames
    return ctx.card.step_ms / 1000 * weight * pixels / (512 * 512) * ctx.options.slowness


def _result(plan: _Plan, model: str) -> Array:
    """Draw what the sampler makes of the latent: a picture each, or one that the frames of a film pan over."""
    latent = plan.latent
    pictures: list[Array] = []
    for index in range(latent.batch):
        first = _picture(plan, model, index)
        pictures += [first, *(np.roll(first, -2 * frame, axis=1) for frame in range(1, latent.frames))]
    return np.stack(pictures)


def _picture(plan: _Plan, model: str, index: int) -> Array:
    latent = plan.latent
    text = " ".join(tokens.texts(plan.positive))
    subject = Subject(text=text, seed=plan.seed + index, model=model, salt=plan.salt, tint=_tint(plan.model))
    drawn = draw(subject, latent.width, latent.height)
    for control, strength in _controls(plan.positive):
        drawn = overlay_lines(drawn, control, strength)
    start = latent.pixels
    if start is None:
        return drawn
    return _mix(start[min(index, start.shape[0] - 1)], drawn, plan.denoise, latent.noise_mask, index)


def _mix(source: Array, drawn: Array, denoise: float, mask: Array | None, index: int) -> Array:
    height, width = drawn.shape[:2]
    if source.shape[:2] != (height, width):
        source = resize(source[None], width, height, "bilinear")[0]
    mixed = source[..., :3] * (1 - denoise) + drawn * denoise
    if mask is None:
        return mixed.astype(np.float32)
    where = mask.reshape(-1, *mask.shape[-2:])
    area = resize(where[min(index, len(where) - 1)][None, ..., None], width, height, "bilinear")[0]
    return (source[..., :3] * (1 - area) + mixed * area).astype(np.float32)


def _controls(positive: Any) -> list[tuple[Array, float]]:
    found: list[tuple[Array, float]] = []
    for token in tokens.walk(positive):
        image = token.inputs.get("image")
        if token.class_type in _CONTROL_CLASSES and isinstance(image, np.ndarray):
            found.append((image, float(token.inputs.get("strength", 1.0))))
    return found


def _tint(model: Any) -> tuple[float, float, float] | None:
    for token in tokens.walk(model):
        image = token.inputs.get("image")
        if token.class_type.startswith("IPAdapter") and isinstance(image, np.ndarray):
            red, green, blue = (float(value) for value in image[..., :3].mean(axis=(0, 1, 2)))
            return red, green, blue
    return None


async def vae_decode(ctx: Context, samples: Latent, vae: Any, **_: Any) -> tuple[Array]:
    """Turn a latent into pixels; an empty one is grey."""
    del vae
    if ctx.card.decode_ms > 0:
        await ctx.sleep(ctx.card.decode_ms / 1000 * samples.width * samples.height * samples.batch / (512 * 512))
    if samples.pixels is not None:
        return (samples.pixels,)
    return (np.full((samples.batch * samples.frames, samples.height, samples.width, 3), 0.5, np.float32),)


def _of_pixels(pixels: Array, mask: Array | None = None, **sources: Any) -> Latent:
    height, width = pixels.shape[1] // 8 * 8, pixels.shape[2] // 8 * 8
    top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
    cut = pixels[:, top : top + height, left : left + width, :3]
    return Latent(width=width, height=height, batch=cut.shape[0], pixels=cut, noise_mask=mask, sources=sources)


def vae_encode(ctx: Context, *, pixels: Array, vae: Any, **_: Any) -> tuple[Latent]:
    """Turn pixels into a latent; sides are cut to a multiple of eight."""
    del ctx
    return (_of_pixels(pixels, vae=vae),)


def vae_encode_for_inpaint(
    ctx: Context, *, pixels: Array, vae: Any, mask: Array, grow_mask_by: int = 6
) -> tuple[Latent]:
    """Do the same with a masked part to be drawn anew."""
    del ctx, grow_mask_by
    return (_of_pixels(pixels, mask, vae=vae),)


def inpaint_model_conditioning(
    ctx: Context, *, positive: Any, negative: Any, vae: Any, pixels: Array, mask: Array, noise_mask: bool = True
) -> tuple[Any, Any, Latent]:
    """Do the same, with conditioning."""
    del ctx
    return positive, negative, _of_pixels(pixels, mask if noise_mask else None, vae=vae)


def set_latent_noise_mask(ctx: Context, *, samples: Latent, mask: Array) -> tuple[Latent]:
    """Restrict what a sampler draws to a mask."""
    del ctx
    return (_changed(samples, noise_mask=mask),)


def latent_upscale(
    ctx: Context, *, samples: Latent, upscale_method: str, width: int, height: int, crop: str
) -> tuple[Latent]:
    """Resize a latent; a zero side follows the other one."""
    del ctx, crop
    if width == 0 and height == 0:
        return (samples,)
    if width == 0:
        width = max(64, round(samples.width * height / samples.height))
    if height == 0:
        height = max(64, round(samples.height * width / samples.width))
    return (_resized(samples, max(64, width), max(64, height), upscale_method),)


def latent_upscale_by(ctx: Context, *, samples: Latent, upscale_method: str, scale_by: float) -> tuple[Latent]:
    """Resize a latent by a factor."""
    del ctx
    width, height = round(samples.width / 8 * scale_by) * 8, round(samples.height / 8 * scale_by) * 8
    return (_resized(samples, width, height, upscale_method),)


def _resized(samples: Latent, width: int, height: int, method: str) -> Latent:
    width, height = max(8, width // 8 * 8), max(8, height // 8 * 8)
    pixels = samples.pixels if samples.pixels is None else resize(samples.pixels, width, height, method)
    return _changed(samples, width=width, height=height, pixels=pixels)


def repeat_latent_batch(ctx: Context, *, samples: Latent, amount: int) -> tuple[Latent]:
    """Repeat a batch."""
    del ctx
    pixels = None if samples.pixels is None else np.tile(samples.pixels, (amount, 1, 1, 1))
    return (_changed(samples, batch=samples.batch * amount, pixels=pixels),)


def latent_from_batch(ctx: Context, *, samples: Latent, batch_index: int, length: int) -> tuple[Latent]:
    """Take some out of a batch."""
    del ctx
    start = min(samples.batch - 1, batch_index)
    count = min(samples.batch - start, length)
    pixels = None if samples.pixels is None else samples.pixels[start : start + count]
    return (_changed(samples, batch=count, pixels=pixels),)


def _changed(samples: Latent, **changes: Any) -> Latent:
    values = {name: getattr(samples, name) for name in samples.__slots__}
    return Latent(**{**values, **changes})


async def image_upscale_with_model(ctx: Context, upscale_model: Any, image: Array) -> tuple[Array]:
    """Enlarge by the model's factor; done by Lanczos here, not by the model."""
    name = tokens.find_input(upscale_model, ("model_name",), str) or "4x"
    marks = [(number, (f"{number}x", f"x{number}")) for number in (8, 4, 3, 2)]
    factor = next((number for number, parts in marks if any(part in name.lower() for part in parts)), 4)
    if ctx.card.decode_ms > 0:
        await ctx.sleep(ctx.card.decode_ms / 1000 * image.shape[1] * image.shape[2] / (256 * 256))
    width, height = image.shape[2] * factor, image.shape[1] * factor
    return (await asyncio.to_thread(resize, image, width, height, "lanczos"),)


async def load_and_hand_on(ctx: Context, **inputs: Any) -> tuple[Token]:
    """Load an upscale model."""
    await load_files(ctx, inputs)
    return (Token(kind="UPSCALE_MODEL", class_type=ctx.class_type, inputs=inputs),)


NODES: Mapping[str, Node] = {
    "KSampler": Node(run=ksampler),
    "KSamplerAdvanced": Node(run=ksampler_advanced),
    "SamplerCustom": Node(run=sampler_custom),
    "SamplerCustomAdvanced": Node(run=sampler_custom_advanced),
    "VAEDecode": Node(run=vae_decode),
    "VAEDecodeTiled": Node(run=vae_decode),
    "VAEEncode": Node(run=vae_encode),
    "VAEEncodeTiled": Node(run=vae_encode),
    "VAEEncodeForInpaint": Node(run=vae_encode_for_inpaint),
    "InpaintModelConditioning": Node(run=inpaint_model_conditioning),
    "SetLatentNoiseMask": Node(run=set_latent_noise_mask),
    "LatentUpscale": Node(run=latent_upscale),
    "LatentUpscaleBy": Node(run=latent_upscale_by),
    "RepeatLatentBatch": Node(run=repeat_latent_batch),
    "LatentFromBatch": Node(run=latent_from_batch),
    "ImageUpscaleWithModel": Node(run=image_upscale_with_model),
    "UpscaleModelLoader": Node(run=load_and_hand_on),
}
