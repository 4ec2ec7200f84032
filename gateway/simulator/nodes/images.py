"""Nodes that work on whole pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gateway.simulator.nodes.base import Array, Context, Node
from gateway.simulator.nodes.resize import resize, upscale


def empty_image(ctx: Context, *, width: int, height: int, batch_size: int = 1, color: int = 0) -> tuple[Array]:
    """Fill pictures with one colour."""
    del ctx
    rgb = np.array([(color >> 16) & 255, (color >> 8) & 255, color & 255], np.float32) / np.float32(255)
    image = np.empty((batch_size, height, width, 3), np.float32)
    image[:] = rgb
    return (image,)


def image_scale(ctx: Context, *, image: Array, upscale_method: str, width: int, height: int, crop: str) -> tuple[Array]:
    """Resize; a zero side follows the other one."""
    del ctx
    if width == 0 and height == 0:
        return (image,)
    old_height, old_width = image.shape[1:3]
    if width == 0:
        width = max(1, round(old_width * height / old_height))
    elif height == 0:
        height = max(1, round(old_height * width / old_width))
    return (upscale(image, width, height, upscale_method, crop),)


def image_scale_by(ctx: Context, *, image: Array, upscale_method: str, scale_by: float) -> tuple[Array]:
    """Resize by a factor."""
    del ctx
    width, height = round(image.shape[2] * scale_by), round(image.shape[1] * scale_by)
    return (resize(image, width, height, upscale_method),)


def image_scale_to_total_pixels(
    ctx: Context, *, image: Array, upscale_method: str, megapixels: float, resolution_steps: int = 1
) -> tuple[Array]:
    """Resize to about so many megapixels."""
    del ctx
    height, width = image.shape[1:3]
    factor = math.sqrt(megapixels * 1024 * 1024 / (width * height))
    new_width = round(width * factor / resolution_steps) * resolution_steps
    new_height = round(height * factor / resolution_steps) * resolution_steps
    return (resize(image, new_width, new_height, upscale_method),)


def image_scale_to_max_dimension(ctx: Context, *, image: Array, upscale_method: str, largest_size: int) -> tuple[Array]:
    """Resize so that the longer side has a size."""
    del ctx
    height, width = image.shape[1:3]
    if height > width:
        width, height = round((width / height) * largest_size), largest_size
    elif width > height:
        width, height = largest_size, round((height / width) * largest_size)
    else:
        width = height = largest_size
    return (resize(image, width, height, upscale_method),)


def image_crop(ctx: Context, *, image: Array, width: int, height: int, x: int, y: int) -> tuple[Array]:
    """Cut a rectangle out."""
    del ctx
    x, y = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
    return (image[:, y : y + height, x : x + width],)


def image_invert(ctx: Context, *, image: Array) -> tuple[Array]:
    """Turn black to white."""
    del ctx
    return (np.float32(1) - image,)


def image_batch(ctx: Context, *, image1: Array, image2: Array) -> tuple[Array]:
    """Put two batches together, the second one in the size of the first."""
    del ctx
    if image1.shape[-1] != image2.shape[-1]:
        image1, image2 = _with_alpha(image1, image2)
    if image1.shape[1:3] != image2.shape[1:3]:
        image2 = upscale(image2, image1.shape[2], image1.shape[1], "bilinear", "center")
    return (np.concatenate([image1, image2]),)


def batch_images(ctx: Context, **images: Array) -> tuple[Array]:
    """Put any number of batches together, in the size of the first."""
    (whole, *others) = images.values()
    for other in others:
        whole = image_batch(ctx, image1=whole, image2=other)[0]
    return (whole,)


def _with_alpha(first: Array, second: Array) -> tuple[Array, Array]:
    channels = max(first.shape[-1], second.shape[-1])

    def padded(image: Array) -> Array:
        missing = channels - image.shape[-1]
        return np.pad(image, ((0, 0), (0, 0), (0, 0), (0, missing)), constant_values=1.0) if missing else image

    return padded(first), padded(second)


def repeat_image_batch(ctx: Context, *, image: Array, amount: int) -> tuple[Array]:
    """Repeat a batch."""
    del ctx
    return (np.tile(image, (amount, 1, 1, 1)),)


def image_from_batch(ctx: Context, *, image: Array, batch_index: int, length: int) -> tuple[Array]:
    """Take some pictures out of a batch."""
    del ctx
    start = min(image.shape[0] - 1, batch_index) if batch_index >= 0 else max(image.shape[0] + batch_index, 0)
    return (image[start : start + min(image.shape[0] - start, length)].copy(),)


def image_flip(ctx: Context, *, image: Array, flip_method: str) -> tuple[Array]:
    """Mirror: x turns it upside down, y swaps left and right."""
    del ctx
    axis = 1 if flip_method.startswith("x") else 2
    return (np.ascontiguousarray(np.flip(image, axis)),)


def image_rotate(ctx: Context, *, image: Array, rotation: str) -> tuple[Array]:
    """Turn clockwise by quarters."""
    del ctx
    quarters = {"90": 1, "180": 2, "270": 3}.get(rotation.split(" ", maxsplit=1)[0], 0)
    return (np.ascontiguousarray(np.rot90(image, k=quarters, axes=(2, 1))),)


def get_image_size(ctx: Context, *, image: Array, **_: Any) -> tuple[int, int, int]:
    """Tell width, height and number."""
    del ctx
    return image.shape[2], image.shape[1], image.shape[0]


def image_grid(
    ctx: Context, *, images: list[Array], columns: list[int], cell_width: list[int], cell_height: list[int],
    padding: list[int],
) -> tuple[Array]:  # fmt: skip
    """Lay pictures out as a contact sheet."""
    del ctx
    from PIL import Image

    frames = [frame for batch in images for frame in batch]
    across, wide, high, gap = columns[0], cell_width[0], cell_height[0], padding[0]
    rows = (len(frames) + across - 1) // across
    sheet = Image.new("RGB", (across * (wide + gap) - gap, rows * (high + gap) - gap), (0, 0, 0))
    for index, frame in enumerate(frames):
        picture = Image.fromarray(np.clip(frame * 255, 0, 255).astype(np.uint8)[..., :3])
        picture.thumbnail((wide, high), Image.Resampling.LANCZOS)
        x = (index % across) * (wide + gap) + (wide - picture.width) // 2
        y = (index // across) * (high + gap) + (high - picture.height) // 2
        sheet.paste(picture, (x, y))
    return (np.asarray(sheet, dtype=np.float32)[None] / np.float32(255),)


NODES: Mapping[str, Node] = {
    "EmptyImage": Node(run=empty_image),
    "ImageScale": Node(run=image_scale),
    "ImageScaleBy": Node(run=image_scale_by),
    "ImageScaleToTotalPixels": Node(run=image_scale_to_total_pixels),
    "ImageScaleToMaxDimension": Node(run=image_scale_to_max_dimension),
    "ImageCrop": Node(run=image_crop),
    "ImageInvert": Node(run=image_invert),
    "ImageBatch": Node(run=image_batch),
    "BatchImagesNode": Node(run=batch_images),
    "RepeatImageBatch": Node(run=repeat_image_batch),
    "ImageFromBatch": Node(run=image_from_batch),
    "ImageFlip": Node(run=image_flip),
    "ImageRotate": Node(run=image_rotate),
    "GetImageSize": Node(run=get_image_size),
    "ImageGrid": Node(run=image_grid),
}
