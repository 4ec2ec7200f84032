"""Nodes that work on masks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gateway.simulator.nodes.base import Array, Context, Node


def _flat(mask: Array) -> Array:
    return mask.reshape(-1, *mask.shape[-2:])


def mask_to_image(ctx: Context, *, mask: Array) -> tuple[Array]:
    """Show a mask in grey."""
    del ctx
    return (np.repeat(_flat(mask)[..., None], 3, axis=-1),)


def image_to_mask(ctx: Context, *, image: Array, channel: str) -> tuple[Array]:
    """Take one channel."""
    del ctx
    return (image[..., ("red", "green", "blue", "alpha").index(channel)],)


def image_color_to_mask(ctx: Context, *, image: Array, color: int) -> tuple[Array]:
    """Mark the pixels of one colour."""
    del ctx
    values = np.round(np.clip(image, 0, 1) * 255).astype(np.int32)
    packed = (values[..., 0] << 16) + (values[..., 1] << 8) + values[..., 2]
    return ((packed == color).astype(np.float32),)


def solid_mask(ctx: Context, *, value: float, width: int, height: int) -> tuple[Array]:
    """Fill a mask."""
    del ctx
    return (np.full((1, height, width), value, np.float32),)


def invert_mask(ctx: Context, *, mask: Array) -> tuple[Array]:
    """Turn a mask around."""
    del ctx
    return (np.float32(1) - mask,)


def crop_mask(ctx: Context, *, mask: Array, x: int, y: int, width: int, height: int) -> tuple[Array]:
    """Cut a rectangle out."""
    del ctx
    return (_flat(mask)[:, y : y + height, x : x + width],)


def threshold_mask(ctx: Context, *, mask: Array, value: float) -> tuple[Array]:
    """Make a mask black and white."""
    del ctx
    return ((mask > np.float32(value)).astype(np.float32),)


def feather_mask(ctx: Context, *, mask: Array, left: int, top: int, right: int, bottom: int) -> tuple[Array]:
    """Soften the sides.

    At right and bottom a real server counts from 0, and its first step hits the opposite side; so does this one.
    """
    del ctx
    output = _flat(mask).copy()
    high, wide = output.shape[1:]
    for index, rate in _rates(min(left, wide)):
        output[:, :, index] *= rate
    for index, rate in _rates(min(right, wide)):
        output[:, :, -index] *= rate
    for index, rate in _rates(min(top, high)):
        output[:, index] *= rate
    for index, rate in _rates(min(bottom, high)):
        output[:, -index] *= rate
    return (output,)


def _rates(count: int) -> list[tuple[int, np.float32]]:
    return [(index, np.float32((index + 1) / count)) for index in range(count)]


def grow_mask(ctx: Context, *, mask: Array, expand: int, tapered_corners: bool) -> tuple[Array]:
    """Grow (or with a negative number shrink) the light parts, pixel by pixel."""
    del ctx
    output = _flat(mask)
    steps = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    if not tapered_corners:
        steps += [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    pick = np.minimum if expand < 0 else np.maximum
    high, wide = output.shape[1:]
    for _ in range(abs(expand)):
        padded = np.pad(output, ((0, 0), (1, 1), (1, 1)), mode="symmetric")
        grown = output
        for down, across in steps:
            grown = pick(grown, padded[:, 1 + down : 1 + down + high, 1 + across : 1 + across + wide])
        output = grown
    return (output,)


def mask_composite(ctx: Context, *, destination: Array, source: Array, x: int, y: int, operation: str) -> tuple[Array]:
    """Join two masks."""
    del ctx
    output, source = _flat(destination).copy(), _flat(source)
    right, bottom = min(x + source.shape[2], output.shape[2]), min(y + source.shape[1], output.shape[1])
    above = source[:, : bottom - y, : right - x]
    below = output[:, y:bottom, x:right]
    output[:, y:bottom, x:right] = _combine(below, above, operation)
    return (np.clip(output, 0, 1),)


def _combine(below: Array, above: Array, operation: str) -> Array:
    first, second = np.round(below).astype(bool), np.round(above).astype(bool)
    match operation:
        case "multiply":
            return below * above
        case "add":
            return below + above
        case "subtract":
            return below - above
        case "and":
            return (first & second).astype(np.float32)
        case "or":
            return (first | second).astype(np.float32)
        case _:
            return (first ^ second).astype(np.float32)


NODES: Mapping[str, Node] = {
    "MaskToImage": Node(run=mask_to_image),
    "ImageToMask": Node(run=image_to_mask),
    "ImageColorToMask": Node(run=image_color_to_mask),
    "SolidMask": Node(run=solid_mask),
    "InvertMask": Node(run=invert_mask),
    "CropMask": Node(run=crop_mask),
    "ThresholdMask": Node(run=threshold_mask),
    "FeatherMask": Node(run=feather_mask),
    "GrowMask": Node(run=grow_mask),
    "MaskComposite": Node(run=mask_composite),
}
