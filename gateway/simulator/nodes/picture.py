"""The picture that a simulated sampler draws: a landscape of the prompt's own colours, marked as simulated.

The same text, seed, model and size give the same pixels.
"""

from __future__ import annotations

import colorsys
import hashlib
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateway.simulator.nodes.base import Array
from gateway.simulator.nodes.resize import resize

WATERMARK = "SIMULATED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is to be drawn."""

    text: str
    seed: int
    model: str = ""
    #: Anything else that must change the picture (LoRAs, settings).
    salt: bytes = b""
    #: A colour that a reference picture gives, from 0 to 1.
    tint: tuple[float, float, float] | None = None


def draw(subject: Subject, width: int, height: int) -> Array:
    """Draw a picture (height, width, 3)."""
    key = hashlib.blake2b(subject.text.encode("utf-8", "surrogatepass") + subject.model.encode(), digest_size=8)
    mood = np.random.default_rng(int.from_bytes(key.digest(), "little"))
    chance = np.random.default_rng(
        int.from_bytes(
            hashlib.blake2b(key.digest() + str(subject.seed).encode() + subject.salt, digest_size=8).digest(), "little"
        )
    )
    colours = _palette(mood, subject.tint)
    image = _sky(chance, colours, width, height)
    image = _sun(image, chance, colours[-1])
    image = _ridges(image, chance, colours)
    image *= 1 + 0.05 * _clouds(chance, width, height, 48)[..., None]
    return stamp(np.clip(image, 0, 1).astype(np.float32), subject.text)


def _palette(mood: np.random.Generator, tint: tuple[float, float, float] | None) -> list[Array]:
    hue = float(mood.random()) if tint is None else colorsys.rgb_to_hsv(*tint)[0]
    spread = 0.06 + 0.1 * float(mood.random())
    warm = float(mood.random())
    steps = [
        (hue, 0.35, 0.97),
        (hue + spread, 0.55, 0.85),
        (hue + 2 * spread, 0.6, 0.6),
        (hue + 3 * spread, 0.65, 0.4),
        (hue + 4 * spread, 0.6, 0.2),
        (hue + 0.5 + 0.1 * warm, 0.35, 1.0),
    ]
    return [np.array(colorsys.hsv_to_rgb(h % 1, s, v), np.float32) for h, s, v in steps]


def _clouds(chance: np.random.Generator, width: int, height: int, cells: int) -> Array:
    """Return smooth noise from -1 to 1."""
    across, down = max(2, min(cells, width)), max(2, min(cells * height // max(width, 1), height))
    grid = chance.random((1, down, across, 1), dtype=np.float32) * 2 - 1
    return resize(grid, width, height, "bicubic")[0, ..., 0]


def _sky(chance: np.random.Generator, colours: list[Array], width: int, height: int) -> Array:
    slope = np.linspace(0, 1, height, dtype=np.float32)[:, None] + 0.25 * _clouds(chance, width, height, 5)
    part = np.clip(slope, 0, 1)[..., None]
    return (colours[1] * (1 - part) + colours[0] * part).astype(np.float32, copy=False)


def _sun(image: Array, chance: np.random.Generator, colour: Array) -> Array:
    height, width = image.shape[:2]
    x, y = (0.2 + 0.6 * chance.random()) * width, (0.15 + 0.3 * chance.random()) * height
    radius = (0.05 + 0.07 * chance.random()) * min(width, height)
    across = np.arange(width, dtype=np.float32)[None, :] - np.float32(x)
    down = np.arange(height, dtype=np.float32)[:, None] - np.float32(y)
    far = np.sqrt(across * across + down * down) / np.float32(max(radius, 1))
    glow = np.clip(np.exp(-((far / 3) ** 2)) * 0.6 + np.clip(1.5 - far, 0, 1), 0, 1)[..., None]
    return (image * (1 - glow) + colour * glow).astype(np.float32, copy=False)


def _ridges(image: Array, chance: np.random.Generator, colours: list[Array]) -> Array:
    height, width = image.shape[:2]
    across = np.linspace(0, 1, width, dtype=np.float32)
    down = np.arange(height, dtype=np.float32)[:, None]
    layers = 4
    for layer in range(layers):
        line = np.zeros(width, np.float32)
        for octave in range(1, 5):
            turns = octave * (1 + 2 * chance.random())
            line += np.sin(across * turns * 2 * np.pi + chance.random() * 6.28).astype(np.float32) / octave
        level = 0.5 + 0.13 * layer + 0.05 * line * (1 - 0.12 * layer)
        part = np.clip((down - level[None, :] * height) + 0.5, 0, 1)[..., None]
        shade = colours[2] * (1 - layer / (layers - 1)) + colours[4] * (layer / (layers - 1))
        image = (image * (1 - part) + shade * part).astype(np.float32, copy=False)
    return image


def stamp(image: Array, text: str) -> Array:
    """Write the watermark across a picture, and the prompt below."""
    from PIL import Image, ImageDraw

    height, width = image.shape[:2]
    if width < 48 or height < 24:
        return image
    picture = Image.fromarray((image * 255).astype(np.uint8)).convert("RGBA")
    layer = Image.new("RGBA", picture.size)
    pen = ImageDraw.Draw(layer)
    size = max(9, min(width // 7, height // 4))
    pen.text((width / 2, height * 0.42), WATERMARK, font=_font(size), fill=(255, 255, 255, 96), anchor="mm")
    if text and height >= 96:
        _caption(pen, text, width, height)
    picture = Image.alpha_composite(picture, layer).convert("RGB")
    return np.asarray(picture, dtype=np.float32) / np.float32(255)


def _caption(pen: Any, text: str, width: int, height: int) -> None:
    size = max(9, min(22, height // 28))
    font = _font(size)
    columns = max(12, int(width / (size * 0.55)) - 2)
    lines = textwrap.wrap(" ".join(text.split()), columns)[:3] or [""]
    top = height - len(lines) * (size + 4) - 10
    pen.rectangle((0, top, width, height), fill=(0, 0, 0, 110))
    for index, line in enumerate(lines):
        pen.text((10, top + 5 + index * (size + 4)), line, font=font, fill=(255, 255, 255, 230))


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def overlay_lines(image: Array, control: Array, strength: float) -> Array:
    """Let a control map (edges, depth, pose) show in a picture."""
    height, width = image.shape[:2]
    lines = resize(control[:1, ..., :3], width, height, "bilinear")[0].mean(axis=-1, keepdims=True)
    part = np.clip(lines * np.float32(min(max(strength, 0), 1) * 0.6), 0, 1)
    return (image * (1 - part) + part).astype(np.float32)
