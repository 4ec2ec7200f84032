"""Nodes that lay pictures over, beside and into each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gateway.simulator.nodes.base import Array, Context, Node
from gateway.simulator.nodes.filters import match_channels
from gateway.simulator.nodes.resize import resize

_COLOURS: Mapping[str, tuple[float, float, float]] = {
    "white": (1, 1, 1),
    "black": (0, 0, 0),
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
}


def resize_mask(mask: Array, width: int, height: int) -> Array:
    """Resize a mask, whatever its shape, to (batch, height, width)."""
    flat = mask.reshape(-1, *mask.shape[-2:])[..., None]
    return resize(flat, width, height, "bilinear")[..., 0]


def repeat_to(array: Array, batch: int) -> Array:
    """Repeat or cut a batch to a length."""
    if array.shape[0] == batch:
        return array
    times = -(-batch // array.shape[0])
    return np.concatenate([array] * times)[:batch]


def image_composite_masked(
    ctx: Context,
    *,
    destination: Array,
    source: Array,
    x: int,
    y: int,
    resize_source: bool,
    mask: Array | None = None,
) -> tuple[Array]:
    """Lay a picture over another one, where the mask lets it through."""
    del ctx
    destination, source = match_channels(destination, source)
    output = destination.copy()
    if resize_source:
        source = resize(source, destination.shape[2], destination.shape[1], "bilinear")
    source = repeat_to(source, destination.shape[0])
    high, wide = source.shape[1:3]
    left, top = min(x, destination.shape[2]), min(y, destination.shape[1])
    seen_high, seen_wide = min(high, destination.shape[1] - top), min(wide, destination.shape[2] - left)
    if seen_high <= 0 or seen_wide <= 0:
        return (output,)
    through = np.ones((1, high, wide, 1), np.float32)
    if mask is not None:
        through = repeat_to(resize_mask(mask, wide, high), source.shape[0])[..., None]
    through = through[:, :seen_high, :seen_wide]
    below = output[:, top : top + seen_high, left : left + seen_wide]
    above = source[:, :seen_high, :seen_wide]
    output[:, top : top + seen_high, left : left + seen_wide] = through * above + (1 - through) * below
    return (output,)


def image_pad_for_outpaint(
    ctx: Context, *, image: Array, left: int, top: int, right: int, bottom: int, feathering: int
) -> tuple[Array, Array]:
    """Add grey sides, and a mask of them that reaches softly into the picture."""
    del ctx
    count, high, wide, channels = image.shape
    output = np.full((count, high + top + bottom, wide + left + right, channels), 0.5, np.float32)
    output[:, top : top + high, left : left + wide] = image
    mask = np.ones((high + top + bottom, wide + left + right), np.float32)
    inner = np.zeros((high, wide), np.float32)
    if feathering > 0 and feathering * 2 < high and feathering * 2 < wide:
        inner = _feather(high, wide, (left, top, right, bottom), feathering)
    mask[top : top + high, left : left + wide] = inner
    return output, mask[None]


def _feather(high: int, wide: int, sides: tuple[int, int, int, int], feathering: int) -> Array:
    left, top, right, bottom = sides
    rows, columns = np.arange(high), np.arange(wide)
    from_top = rows if top else np.full(high, high)
    from_bottom = high - rows if bottom else np.full(high, high)
    from_left = columns if left else np.full(wide, wide)
    from_right = wide - columns if right else np.full(wide, wide)
    near = np.minimum(np.minimum(from_top, from_bottom)[:, None], np.minimum(from_left, from_right)[None, :])
    rate = np.clip((feathering - near) / feathering, 0, None).astype(np.float32)
    return rate * rate


def image_stitch(
    ctx: Context,
    *,
    image1: Array,
    direction: str,
    match_image_size: bool,
    spacing_width: int,
    spacing_color: str,
    image2: Array | None = None,
) -> tuple[Array]:
    """Put the second picture beside the first one."""
    del ctx
    if image2 is None:
        return (image1,)
    count = max(len(image1), len(image2))
    image1, image2 = _last_repeated(image1, count), _last_repeated(image2, count)
    beside = direction in ("left", "right")
    if match_image_size:
        aspect = image2.shape[2] / image2.shape[1]
        wide, high = image1.shape[2], image1.shape[1]
        size = (int(high * aspect), high) if beside else (wide, int(wide / aspect))
        image2 = resize(image2, *size, "lanczos")
    colour = _COLOURS[spacing_color]
    if not match_image_size:
        image1, image2 = _same_side(image1, image2, beside=beside, value=colour[0] if len(set(colour)) == 1 else 0)
    channels = max(image1.shape[-1], image2.shape[-1])
    parts = [_with_channels(image, channels) for image in (image1, image2)]
    if direction in ("left", "up"):
        parts.reverse()
    if spacing_width > 0:
        width = spacing_width + spacing_width % 2
        shape = list(parts[0].shape)
        shape[2 if beside else 1] = width
        gap = np.empty(shape, np.float32)
        gap[:] = np.array([*colour, 1.0][:channels], np.float32)
        parts.insert(1, gap)
    return (np.concatenate(parts, axis=2 if beside else 1),)


def _last_repeated(image: Array, count: int) -> Array:
    missing = count - len(image)
    return image if missing == 0 else np.concatenate([image, np.repeat(image[-1:], missing, axis=0)])


def _same_side(first: Array, second: Array, *, beside: bool, value: float) -> tuple[Array, Array]:
    axis = 1 if beside else 2
    size = max(first.shape[axis], second.shape[axis])

    def padded(image: Array) -> Array:
        missing = size - image.shape[axis]
        pad = [(0, 0)] * 4
        pad[axis] = (missing // 2, missing - missing // 2)
        return np.pad(image, pad, constant_values=value)

    return padded(first), padded(second)


def _with_channels(image: Array, channels: int) -> Array:
    missing = channels - image.shape[-1]
    return np.pad(image, ((0, 0), (0, 0), (0, 0), (0, missing)), constant_values=1) if missing else image


def join_image_with_alpha(ctx: Context, *, image: Array, alpha: Array) -> tuple[Array]:
    """Give a picture an alpha channel (a mask of what is cut out)."""
    del ctx
    count = min(len(image), len(alpha.reshape(-1, *alpha.shape[-2:])))
    opacity = np.float32(1) - resize_mask(alpha, image.shape[2], image.shape[1])
    return (np.concatenate([image[:count, ..., :3], opacity[:count, ..., None]], axis=-1),)


def split_image_with_alpha(ctx: Context, *, image: Array) -> tuple[Array, Array]:
    """Take a picture's alpha channel off, as a mask."""
    del ctx
    opacity = image[..., 3] if image.shape[-1] > 3 else np.ones(image.shape[:3], np.float32)
    return image[..., :3], np.float32(1) - opacity


def resize_and_pad_image(
    ctx: Context, *, image: Array, target_width: int, target_height: int, padding_color: str, interpolation: str
) -> tuple[Array]:
    """Fit a picture into a frame."""
    del ctx
    high, wide = image.shape[1:3]
    scale = min(target_width / wide, target_height / high)
    width, height = int(wide * scale), int(high * scale)
    output = np.full(
        (len(image), target_height, target_width, image.shape[-1]), float(padding_color != "black"), np.float32
    )
    top, left = (target_height - height) // 2, (target_width - width) // 2
    output[:, top : top + height, left : left + width] = resize(image, width, height, interpolation)
    return (output,)


NODES: Mapping[str, Node] = {
    "ImageCompositeMasked": Node(run=image_composite_masked),
    "ImagePadForOutpaint": Node(run=image_pad_for_outpaint),
    "ImageStitch": Node(run=image_stitch),
    "JoinImageWithAlpha": Node(run=join_image_with_alpha),
    "SplitImageWithAlpha": Node(run=split_image_with_alpha),
    "ResizeAndPadImage": Node(run=resize_and_pad_image),
}
