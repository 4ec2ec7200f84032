"""Pictures from files and into files: LoadImage, SaveImage, PreviewImage and their like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gateway.simulator.files import Files, OutsideDirectory, SavePlace
from gateway.simulator.nodes import png
from gateway.simulator.nodes.base import Array, Context, Node, NodeFailure, Outcome


def check_file(files: Files, kind: str, value: Any) -> str:
    """Complain about an upload that is not there."""
    return "" if files.exists(value) else f"Invalid {kind} file: {value}"


def file_changed(field: str) -> Any:
    """Make a node's result depend on the content of the file that `field` names."""

    def changed(files: Files, inputs: dict[str, Any]) -> str:
        name = inputs.get(field)
        return files.content_hash(name) if isinstance(name, str) else "linked"

    return changed


def load_image(ctx: Context, *, image: str) -> tuple[Array, Array]:
    """Read a picture: colour, and the inverted alpha as a mask (64 x 64 of nothing without one)."""
    from PIL import Image, ImageOps, ImageSequence

    path = ctx.files.annotated(image)
    try:
        with Image.open(path) as opened:
            frames: list[Array] = []
            masks: list[Array] = []
            for frame in ImageSequence.Iterator(opened):
                picture = ImageOps.exif_transpose(frame)
                colour = _colour(picture)
                if frames and colour.shape != frames[0].shape:
                    continue
                frames.append(colour)
                masks.append(_mask(picture))
    except FileNotFoundError:
        kind = "av.error.FileNotFoundError" if ctx.options.is_new else "FileNotFoundError"
        raise NodeFailure(f"[Errno 2] No such file or directory: '{path}'", kind=kind) from None
    return np.stack(frames), np.stack(masks)


def _colour(picture: Any) -> Array:
    if picture.mode == "I":
        picture = picture.point(lambda value: value * (1 / 255))
    return np.asarray(picture.convert("RGB"), dtype=np.float32) / np.float32(255)


def _mask(picture: Any) -> Array:
    if "A" in picture.getbands():
        return np.float32(1) - np.asarray(picture.getchannel("A"), dtype=np.float32) / np.float32(255)
    if picture.mode == "P" and "transparency" in picture.info:
        alpha = picture.convert("RGBA").getchannel("A")
        return np.float32(1) - np.asarray(alpha, dtype=np.float32) / np.float32(255)
    return np.zeros((64, 64), np.float32)


def load_image_mask(ctx: Context, *, image: str, channel: str) -> tuple[Array]:
    """Read one channel as a mask; alpha is inverted, and without alpha there is nothing."""
    from PIL import Image, ImageOps

    with Image.open(ctx.files.annotated(image)) as opened:
        picture = ImageOps.exif_transpose(opened)
        if picture.getbands() != ("R", "G", "B", "A"):
            picture = picture.convert("RGBA")
        letter = channel[0].upper()
        mask = np.asarray(picture.getchannel(letter), dtype=np.float32) / np.float32(255)
    return ((np.float32(1) - mask if letter == "A" else mask)[None],)


def find_place(ctx: Context, prefix: str, kind: str = "output", size: tuple[int, int] | None = None) -> SavePlace:
    """Find where the next file goes, or fail as a real node does when that is outside."""
    try:
        return ctx.files.place(prefix, kind, size)
    except OutsideDirectory as outside:
        raise NodeFailure(
            "**** ERROR: Saving image outside the output folder is not allowed.\n"
            f" full_output_folder: {outside}\n         output_dir: {ctx.files.directory(kind)}",
            kind="Exception",
        ) from None


def metadata(ctx: Context) -> dict[str, Any]:
    """Collect what is written into a picture: the prompt, and each part of `extra_pnginfo`."""
    texts: dict[str, Any] = {"prompt": ctx.prompt}
    extra = ctx.extra_pnginfo
    if extra is not None:
        for key in extra:
            texts[key] = extra[key]
    return texts


def _save(ctx: Context, images: Array, prefix: str, kind: str, level: int) -> dict[str, list[Any]]:
    place = find_place(ctx, prefix, kind, (images.shape[2], images.shape[1]))
    texts = metadata(ctx)
    shown: list[Any] = []
    for index, image in enumerate(images):
        name = place.name.replace("%batch_num%", str(index))
        name = f"{name}_{place.counter + index:05}_.png"
        with open(place.path(name), "wb") as file:  # noqa: PTH123 - quicker than a Path
            file.write(png.encode(image, texts, level))
        shown.append({"filename": name, "subfolder": place.subfolder, "type": kind})
    ctx.files.wrote(place, len(shown))
    return {"images": shown}


def save_image(ctx: Context, *, images: Array, filename_prefix: str = "ComfyUI") -> Outcome:
    """Write pictures into the output directory."""
    if not hasattr(images, "shape"):
        raise AttributeError(f"'{type(images).__name__}' object has no attribute 'shape'")
    return Outcome((images,), _save(ctx, images, filename_prefix, "output", 4))


def preview_image(ctx: Context, *, images: Array) -> Outcome:
    """Write pictures into the temp directory."""
    prefix = f"ComfyUI_temp_{ctx.files.temp_token}"
    return Outcome((images,), _save(ctx, images, prefix, "temp", 1))


def preview_mask(ctx: Context, *, mask: Array) -> Outcome:
    """Show a mask as a grey picture."""
    image = np.repeat(mask.reshape(-1, *mask.shape[-2:])[..., None], 3, axis=-1)
    prefix = f"ComfyUI_temp_{ctx.files.temp_token}"
    return Outcome((mask,), _save(ctx, image, prefix, "temp", 4))


NODES: Mapping[str, Node] = {
    "LoadImage": Node(run=load_image, changed=file_changed("image")),
    "LoadImageMask": Node(run=load_image_mask, changed=file_changed("image")),
    "SaveImage": Node(run=save_image),
    "PreviewImage": Node(run=preview_image),
    "MaskPreview": Node(run=preview_mask),
}
