"""Resizing with torch's arithmetic (`interpolate`, corners not aligned), which ComfyUI's nodes rest on.

All work on (batch, height, width, channel) in float32, one axis after the other.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gateway.simulator.nodes.base import Array

METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "bislerp", "lanczos")
Index = npt.NDArray[np.intp]
_CUBIC = np.float32(-0.75)


def resize(image: Array, width: int, height: int, method: str) -> Array:
    """Resize without regard to the aspect."""
    if method == "lanczos":
        return _lanczos(image, width, height)
    if method == "bislerp":
        method = "bilinear"
    return _axis(_axis(image, 1, height, method), 2, width, method)


def crop_to_aspect(image: Array, width: int, height: int) -> Array:
    """Cut the sides (or top and bottom) off, so that the aspect is that of width x height."""
    old_height, old_width = image.shape[1:3]
    old, new = old_width / old_height, width / height
    x = y = 0
    if old > new:
        x = round((old_width - old_width * (new / old)) / 2)
    elif old < new:
        y = round((old_height - old_height * (old / new)) / 2)
    return image[:, y : old_height - y, x : old_width - x]


def upscale(image: Array, width: int, height: int, method: str, crop: str) -> Array:
    """Resize as ImageScale does; `center` crops first."""
    if crop == "center":
        image = crop_to_aspect(image, width, height)
    return resize(image, width, height, method)


def _axis(image: Array, axis: int, size: int, method: str) -> Array:
    old = image.shape[axis]
    match method:
        case "nearest-exact":
            return image.take(_nearest(old, size), axis)
        case "area":
            return _area(image, axis, size)
        case "bicubic":
            return _weigh(image, axis, *_cubic(old, size))
        case _:
            return _weigh(image, axis, *_linear(old, size))


def _positions(old: int, size: int) -> npt.NDArray[np.float32]:
    scale = np.float32(old / size)
    return ((np.arange(size, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)).astype(np.float32)


def _nearest(old: int, size: int) -> Index:
    scale = np.float32(old / size)
    at = np.floor((np.arange(size, dtype=np.float32) + np.float32(0.5)) * scale).astype(np.intp)
    return np.minimum(at, old - 1)


def _linear(old: int, size: int) -> tuple[list[Index], list[Array]]:
    at = np.maximum(_positions(old, size), np.float32(0))
    low = np.minimum(at.astype(np.intp), old - 1)
    high = np.minimum(low + 1, old - 1)
    part = (at - low).astype(np.float32)
    return [low, high], [np.float32(1) - part, part]


def _cubic(old: int, size: int) -> tuple[list[Index], list[Array]]:
    at = _positions(old, size)
    base = np.floor(at)
    part = (at - base).astype(np.float32)
    low = base.astype(np.intp)
    indices = [np.clip(low + offset, 0, old - 1) for offset in (-1, 0, 1, 2)]
    near, far = part, np.float32(1) - part
    weights = [_cubic_outer(near + 1), _cubic_inner(near), _cubic_inner(far), _cubic_outer(far + 1)]
    return indices, weights


def _cubic_inner(x: Array) -> Array:
    return ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1


def _cubic_outer(x: Array) -> Array:
    return ((_CUBIC * x - 5 * _CUBIC) * x + 8 * _CUBIC) * x - 4 * _CUBIC


def _weigh(image: Array, axis: int, indices: list[Index], weights: list[Array]) -> Array:
    shape = [1] * image.ndim
    shape[axis] = -1
    total: Array | None = None
    for index, weight in zip(indices, weights, strict=True):
        part = image.take(index, axis) * weight.reshape(shape)
        total = part if total is None else total + part
    return image if total is None else total.astype(np.float32, copy=False)


def _area(image: Array, axis: int, size: int) -> Array:
    """Mean over the source cells that a target cell touches (adaptive average pooling)."""
    old = image.shape[axis]
    starts = [i * old // size for i in range(size)]
    ends = [math.ceil((i + 1) * old / size) for i in range(size)]
    sums = np.cumsum(image, axis=axis, dtype=np.float64)
    zero = np.zeros_like(sums.take([0], axis))
    sums = np.concatenate([zero, sums], axis=axis)
    shape = [1] * image.ndim
    shape[axis] = -1
    counts = np.array([end - start for start, end in zip(starts, ends, strict=True)]).reshape(shape)
    return ((sums.take(ends, axis) - sums.take(starts, axis)) / counts).astype(np.float32)


def _lanczos(image: Array, width: int, height: int) -> Array:
    """Resize in eight bits by Pillow, as ComfyUI does."""
    from PIL import Image

    out: list[Array] = []
    for frame in np.clip(image * 255.0, 0, 255).astype(np.uint8):
        flat = frame[..., 0] if frame.shape[-1] == 1 else frame
        picture = Image.fromarray(flat).resize((width, height), Image.Resampling.LANCZOS)
        array = np.asarray(picture, dtype=np.float32) / np.float32(255)
        out.append(array[..., None] if array.ndim == 2 else array)
    return np.stack(out)
