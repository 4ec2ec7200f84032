"""How far a picture is from one that was stored as right, as an eye sees it.

Both are made small and a little soft, so that what differs from card to card or from encoder to encoder vanishes. Then
each point's difference is taken in CIE-Lab, where the same number looks like the same step: 1 can hardly be seen, 2
can, 10 can at a glance. What counts is the mean over the sixteenth of the picture that differs most: a face that is
gone is not made up for by a background that stayed. Why not a library: docs/decisions/how-far-pictures-are-apart.md.

Blocking and CPU-bound: call it in a thread.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from PIL import Image, ImageDraw, ImageFilter, ImageFont, PngImagePlugin

from gateway.adapters import finishing, images
from gateway.domain.pipelines import model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

TOLERANCE: Final = 3.0  #: where nobody said another
FAR: Final = 100.0  #: of pictures that cannot be compared: another size, another number of frames
_STORED: Final = 384  #: the largest width and height of a stored picture
_COMPARED: Final = 256
_SOFT: Final = 1.5  #: radius of the blur
_PART: Final = 16  #: the part of the picture that counts: a sixteenth
_MOST_FRAMES: Final = 16
_SIZE_KEY: Final = "picture-size"  #: where a stored picture says how large it was
_GLARING: Final = 25.0  #: the difference that is drawn brightest
_GAP: Final = 8
_HEAD: Final = 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """How a picture compares."""

    distance: float
    why: str | None  #: why it cannot be compared
    shown: bytes  #: a PNG: expected, made, difference


def to_store(data: bytes) -> bytes:
    """The PNG that is kept of a picture: small, without metadata but its size."""
    with images.opened(data) as picture:
        size = picture.size
    how = model.Finish(format="png", width=_STORED, height=_STORED, metadata="strip")
    made = finishing.finish(data, how).data
    with Image.open(io.BytesIO(made)) as small:
        texts = PngImagePlugin.PngInfo()
        texts.add_text(_SIZE_KEY, f"{size[0]}x{size[1]}")
        out = io.BytesIO()
        moves: dict[str, Any] = {"save_all": True} if getattr(small, "is_animated", False) else {}
        small.save(out, "PNG", pnginfo=texts, optimize=True, **moves)
    return out.getvalue()


def compare(expected: bytes, made: bytes) -> Likeness:
    """A picture against the stored one; InvalidInputs for what is no picture."""
    wanted, found = _Film.of(expected), _Film.of(to_store(made))
    why = _unlike(wanted, found)
    worst = 0.0
    at = 0
    if why is None:
        for number in range(len(wanted.frames)):
            distance = _distance(_differences(wanted.frames[number], found.frames[number]))
            if distance > worst:
                worst, at = distance, number
    shown = _side_by_side(wanted.frames[at], found.frames[min(at, len(found.frames) - 1)], drawn=why is None)
    return Likeness(distance=worst if why is None else FAR, why=why, shown=shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Film:
    """A stored picture: some of its frames, how many there are, and how large it was."""

    frames: tuple[Image.Image, ...]
    count: int
    size: str

    @classmethod
    def of(cls, data: bytes) -> _Film:
        with images.opened(data) as picture:
            count = int(getattr(picture, "n_frames", 1))
            step = max(1, -(-count // _MOST_FRAMES))
            frames: list[Image.Image] = []
            for number in range(0, count, step):
                picture.seek(number)
                picture.load()
                frames.append(picture.convert("RGBA"))
            size = picture.info.get(_SIZE_KEY) or f"{picture.width}x{picture.height}"
        return cls(frames=tuple(frames), count=count, size=size)


def _unlike(wanted: _Film, found: _Film) -> str | None:
    if wanted.size != found.size:
        return f"it is {found.size}, and {wanted.size} was expected"
    if wanted.count != found.count:
        return f"it has {found.count} frames, and {wanted.count} were expected"
    return None


def _differences(wanted: Image.Image, found: Image.Image) -> Values:
    """The difference at each point; of what is transparent as well, so on white and on black."""
    import numpy as np

    scale = min(1.0, _COMPARED / max(wanted.size))
    size = (max(1, round(wanted.width * scale)), max(1, round(wanted.height * scale)))
    on = [
        np.sqrt(((_lab(_soft(wanted, size, ground)) - _lab(_soft(found, size, ground))) ** 2).sum(axis=2))
        for ground in ("white", "black")
    ]
    return np.maximum(*on)


def _soft(picture: Image.Image, size: tuple[int, int], ground: str) -> Image.Image:
    flat = Image.alpha_composite(Image.new("RGBA", picture.size, ground), picture).convert("RGB")
    return flat.resize(size, Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(_SOFT))


def _lab(picture: Image.Image) -> Values:
    """CIE-Lab of sRGB under D65."""
    import numpy as np

    coded = np.asarray(picture, dtype=np.float64) / 255
    light = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = light @ (to_xyz / np.array([[0.95047], [1.0], [1.08883]])).T
    cubic = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = cubic[..., 0], cubic[..., 1], cubic[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _distance(differences: Values) -> float:
    import numpy as np

    ordered = np.sort(differences, axis=None)
    return float(ordered[-max(1, ordered.size // _PART) :].mean())


# Showing.


def _side_by_side(wanted: Image.Image, found: Image.Image, *, drawn: bool) -> bytes:
    panels = [("expected", wanted), ("made", found)]
    if drawn:
        panels.append(("difference", _glow(wanted, found)))
    width = sum(panel.width for _, panel in panels) + _GAP * (len(panels) + 1)
    height = max(panel.height for _, panel in panels) + _HEAD + _GAP
    sheet = Image.new("RGB", (width, height), "#202020")
    draw = ImageDraw.Draw(sheet)
    for left, (title, panel) in _placed(panels):
        draw.text((left, 4), title, fill="#f0f0f0", font=ImageFont.load_default(size=13))
        sheet.paste(panel.convert("RGBA"), (left, _HEAD), panel.convert("RGBA"))
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()


def _placed(panels: list[tuple[str, Image.Image]]) -> Iterator[tuple[int, tuple[str, Image.Image]]]:
    left = _GAP
    for title, panel in panels:
        yield left, (title, panel)
        left += panel.width + _GAP


def _glow(wanted: Image.Image, found: Image.Image) -> Image.Image:
    """The differences from black over red to yellow."""
    import numpy as np

    heat = (_differences(wanted, found) / _GLARING).clip(0, 1)
    colours = np.stack([(heat * 2).clip(0, 1), (heat * 2 - 1).clip(0, 1), np.zeros_like(heat)], axis=-1)
    return Image.fromarray((colours * 255).astype(np.uint8)).resize(wanted.size, Image.Resampling.NEAREST)
