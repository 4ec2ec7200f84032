"""What `gateway.adapters.likeness` says of pictures that were changed on purpose: `python -m benchmarks.likeness`."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance

from gateway.adapters import likeness

ASSETS = Path(__file__).parents[1] / "workflows" / "assets"
NAMES = ("harbour", "hills")


def encoded(picture: Image.Image, kind: str = "PNG", **given: Any) -> bytes:
    """The picture as a file."""
    out = io.BytesIO()
    picture.save(out, kind, **given)
    return out.getvalue()


def noisy(picture: Image.Image) -> Image.Image:
    """The picture with noise of the same seed every time."""
    values = np.asarray(picture, dtype=float)
    made = values + np.random.default_rng(1).normal(0, 2, values.shape)
    return Image.fromarray(made.clip(0, 255).astype(np.uint8))


def spotted(picture: Image.Image) -> Image.Image:
    """The picture with a spot on 3 % of it."""
    width, height = picture.size
    made = picture.copy()
    ImageDraw.Draw(made).ellipse((width * 0.4, height * 0.4, width * 0.6, height * 0.6), fill=(200, 180, 160))
    return made


def changed(picture: Image.Image) -> Iterator[tuple[str, bytes]]:
    """What is done to it, by name."""
    yield "nothing", encoded(picture)
    yield "noise, σ = 2 of 255", encoded(noisy(picture))
    yield "JPEG, quality 90", encoded(picture, "JPEG", quality=90)
    yield "2 % brighter", encoded(ImageEnhance.Brightness(picture).enhance(1.02))
    yield "JPEG, quality 60", encoded(picture, "JPEG", quality=60)
    yield "one pixel to the right", encoded(ImageChops.offset(picture, 1, 0))
    yield "10 % brighter", encoded(ImageEnhance.Brightness(picture).enhance(1.1))
    yield "four pixels to the right", encoded(ImageChops.offset(picture, 4, 0))
    yield "a spot on 3 % of it", encoded(spotted(picture))
    yield "without colours", encoded(picture.convert("L"))
    yield "mirrored", encoded(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))


def column(name: str) -> dict[str, float]:
    """The distances of one picture from itself, changed."""
    with Image.open(ASSETS / f"{name}.png") as file:
        picture = file.convert("RGB")
    stored = likeness.to_store(encoded(picture))
    return {what: likeness.compare(stored, made).distance for what, made in changed(picture)}


def main() -> None:
    """Print the table."""
    columns = [column(name) for name in NAMES]
    print(f"| what was done | {' | '.join(NAMES)} |\n| --- |{' --- |' * len(NAMES)}")
    for what in columns[0]:
        print(f"| {what} | {' | '.join(f'{each[what]:.1f}' for each in columns)} |")


if __name__ == "__main__":
    main()
