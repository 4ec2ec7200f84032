"""Nodes that mix, blur, sharpen and quantize."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from gateway.simulator.nodes.base import Array, Context, Node
from gateway.simulator.nodes.resize import upscale

_ONE = np.float32(1)


def _clipped(image: npt.NDArray[np.floating]) -> Array:
    return np.clip(image, 0, 1).astype(np.float32, copy=False)


def match_channels(destination: Array, source: Array) -> tuple[Array, Array]:
    """Bring two pictures to as many channels: the destination's, or one more of full alpha."""
    if destination.shape[-1] < source.shape[-1]:
        source = source[..., : destination.shape[-1]]
    elif destination.shape[-1] > source.shape[-1]:
        destination = np.pad(destination, ((0, 0),) * (destination.ndim - 1) + ((0, 1),), constant_values=1)
    return destination, source


def image_blend(ctx: Context, *, image1: Array, image2: Array, blend_factor: float, blend_mode: str) -> tuple[Array]:
    """Blend the second picture over the first one."""
    del ctx
    image1, image2 = match_channels(image1, image2)
    if image1.shape != image2.shape:
        image2 = upscale(image2, image1.shape[2], image1.shape[1], "bicubic", "center")
    mixed = _blend(image1, image2, blend_mode)
    factor = np.float32(blend_factor)
    return (_clipped(image1 * (_ONE - factor) + mixed * factor),)


def _blend(below: Array, above: Array, mode: str) -> Array:
    match mode:
        case "normal":
            return above
        case "multiply":
            return below * above
        case "screen":
            return _screen(below, above)
        case "overlay":
            return np.where(below <= 0.5, 2 * below * above, 1 - 2 * (1 - below) * (1 - above))
        case "soft_light":
            darker = below - (1 - 2 * above) * below * (1 - below)
            lighter = below + (2 * above - 1) * (_soft_curve(below) - below)
            return np.where(above <= 0.5, darker, lighter)
        case "difference":
            return below - above
        case _:
            raise ValueError(f"Unsupported blend mode: {mode}")


def _screen(below: Array, above: Array) -> Array:
    return 1 - (1 - below) * (1 - above)


def _soft_curve(x: Array) -> Array:
    return np.where(x <= 0.25, ((16 * x - 12) * x + 4) * x, np.sqrt(np.maximum(x, 0)))


def _gaussian(radius: int, sigma: float) -> npt.NDArray[np.float32]:
    """Return one axis of the kernel; the square kernel is its product with itself."""
    at = np.linspace(-1, 1, radius * 2 + 1, dtype=np.float32)
    weights = np.exp(-(at * at) / np.float32(2 * sigma * sigma))
    return (weights / weights.sum()).astype(np.float32)


def _blurred(image: Array, radius: int, sigma: float) -> Array:
    if radius >= min(image.shape[1:3]):
        raise RuntimeError(
            "Padding size should be less than the corresponding input dimension, "
            f"but got: padding ({radius}, {radius}) at dimension 3 of input {list(image.shape)}"
        )
    weights = _gaussian(radius, sigma)
    for axis in (1, 2):
        pad = [(0, 0)] * 4
        pad[axis] = (radius, radius)
        padded = np.pad(image, pad, mode="reflect")
        length = image.shape[axis]
        total = np.zeros_like(image)
        for offset, weight in enumerate(weights):
            total += padded.take(range(offset, offset + length), axis) * weight
        image = total
    return image


def image_blur(ctx: Context, *, image: Array, blur_radius: int, sigma: float) -> tuple[Array]:
    """Blur with a Gaussian whose sigma counts in half kernels."""
    del ctx
    return (image if blur_radius == 0 else _blurred(image, blur_radius, sigma),)


def image_sharpen(ctx: Context, *, image: Array, sharpen_radius: int, sigma: float, alpha: float) -> tuple[Array]:
    """Subtract a blurred copy, ten times as strong as `alpha` says."""
    del ctx
    if sharpen_radius == 0:
        return (image,)
    strength = np.float32(alpha * 10)
    return (_clipped(image * (1 + strength) - _blurred(image, sharpen_radius, sigma) * strength),)


def image_quantize(ctx: Context, *, image: Array, colors: int, dither: str) -> tuple[Array]:
    """Reduce to a palette."""
    del ctx
    from PIL import Image

    frames: list[Array] = []
    for frame in (image * 255).astype(np.uint8)[..., :3]:
        picture = Image.fromarray(frame)
        palette = picture.quantize(colors=colors)
        method = Image.Dither.FLOYDSTEINBERG if dither == "floyd-steinberg" else Image.Dither.NONE
        if dither.startswith("bayer"):
            picture = Image.fromarray(_bayer(frame, len(palette.getpalette() or ()) // 3, int(dither.split("-")[1])))
        result = picture.quantize(palette=palette, dither=method).convert("RGB")
        frames.append(np.asarray(result, dtype=np.float32) / np.float32(255))
    return (np.stack(frames),)


def _bayer(frame: npt.NDArray[np.uint8], colours: int, order: int) -> npt.NDArray[np.uint8]:
    matrix = np.zeros((1, 1), np.float32)
    for level in range(1, int(math.log2(order)) + 1):
        scale = 4**level
        grown = scale * matrix
        matrix = np.block([[grown - 1.5, grown + 0.5], [grown + 1.5, grown - 0.5]]).astype(np.float32) / scale
    matrix = (2 * 256 / max(colours, 1)) * matrix + 0.5
    rows, columns = frame.shape[0] // order + 1, frame.shape[1] // order + 1
    tiled = np.tile(matrix, (rows, columns))[: frame.shape[0], : frame.shape[1], None]
    return np.clip(frame.astype(np.float32) + tiled, 0, 255).astype(np.uint8)


NODES: Mapping[str, Node] = {
    "ImageBlend": Node(run=image_blend),
    "ImageBlur": Node(run=image_blur),
    "ImageSharpen": Node(run=image_sharpen),
    "ImageQuantize": Node(run=image_quantize),
}
