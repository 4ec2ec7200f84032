"""Changes to pictures that need no GPU: another format, a smaller size, without what only its author should know.

Blocking and CPU-bound: call it in a thread. A picture that is to stay as it is comes back as the very same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from PIL import Image, ImageCms, ImageFile

from gateway.adapters import images, picture_notes
from gateway.domain import errors
from gateway.domain.pipelines import model


class _Kind(NamedTuple):
    """A format that can be written."""

    suffix: str
    modes: frozenset[str]  #: of pixels that it keeps as they are
    most: int = 2**31 - 1  #: the largest width and height
    transparent: bool = True
    moves: bool = False
    lossy: int | None = None  #: the quality that is used when none is asked for


_PLAIN: Final = frozenset({"RGB", "RGBA"})
_KINDS: Final = {
    "PNG": _Kind(".png", frozenset({*_PLAIN, "1", "L", "LA", "P", "I;16"}), moves=True),
    "JPEG": _Kind(".jpg", frozenset({"RGB", "L", "CMYK"}), 65_500, transparent=False, lossy=90),
    "WEBP": _Kind(".webp", _PLAIN, 16_383, moves=True, lossy=90),
    "AVIF": _Kind(".avif", _PLAIN, 65_536, moves=True, lossy=80),
    "GIF": _Kind(".gif", frozenset({*_PLAIN, "L", "P"}), 65_535, moves=True),
    "BMP": _Kind(".bmp", frozenset({"1", "L", "P", "RGB"}), transparent=False),
    "TIFF": _Kind(".tiff", frozenset({*_PLAIN, "1", "L", "LA", "P", "I;16", "CMYK"})),
}
_SPACES: Final = {b"RGB ": _PLAIN | {"P"}, b"GRAY": frozenset({"1", "L", "LA", "I;16"}), b"CMYK": frozenset({"CMYK"})}
_DEEP: Final = frozenset({"I", "I;16", "I;16B", "I;16L"})
_FRAME_MS: Final = 100  #: of a frame that does not say for how long it is shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A picture, done."""

    data: bytes
    content_type: str
    suffix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Film:
    """What was read: one frame, or all of an animation, upright, and all that is not pixels."""

    frames: Sequence[Image.Image]
    durations: Sequence[int]  #: milliseconds
    loop: int  #: how often it is played; 0: for ever
    notes: picture_notes.Notes
    tables: dict[int, list[int]] | None  #: how coarse a JPEG's numbers were


def finish(data: bytes, how: model.Finish, *, max_pixels: int = images.MAX_PIXELS) -> Finished:
    """The picture, changed.

    `InvalidInputs` as of `images.probe_image` for what is no sound picture, and `image_too_large` for one that is too
    wide or high for the format that was asked for; `cannot_be_written` for pixels of a kind that nobody draws.
    """
    with images.opened(data, max_pixels=max_pixels) as picture:
        source = "JPEG" if picture.format == "MPO" else picture.format or ""
        target = how.format.upper() if how.format else source
        size = _size(picture, how)
        if _stays(picture, how, size=size, target=target, source=source):
            return _finished(data, source)
        film = _film(picture, size, animated=_KINDS[target].moves)
    if how.metadata == "strip":
        film = _stripped(film)
    return _finished(_written(film, target, how), target)


def _finished(data: bytes, kind: str) -> Finished:
    return Finished(data=data, content_type=Image.MIME[kind], suffix=_KINDS[kind].suffix)


def _stays(picture: ImageFile.ImageFile, how: model.Finish, *, size: tuple[int, int], target: str, source: str) -> bool:
    recoded = how.quality is not None and _KINDS[target].lossy is not None
    same = target == source and size == picture.size and not recoded and how.metadata == "keep"
    if same:
        picture.load()  # a damaged one is told, here as elsewhere
    return same


def _size(picture: ImageFile.ImageFile, how: model.Finish) -> tuple[int, int]:
    """Of the picture as it lies in the file; the bounds are of the picture as it is seen."""
    width, height = picture.size
    lies = picture.getexif().get(_ORIENTATION) in _LYING
    most_width, most_height = (how.height, how.width) if lies else (how.width, how.height)
    scale = min(1.0, (most_width or width) / width, (most_height or height) / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


_ORIENTATION: Final = 0x0112
_LYING: Final = frozenset({5, 6, 7, 8})
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


# Reading.


def _film(picture: ImageFile.ImageFile, size: tuple[int, int], *, animated: bool) -> _Film:
    count = int(getattr(picture, "n_frames", 1)) if picture.format in {"GIF", "PNG", "WEBP", "AVIF"} else 1
    # An APNG may begin with a picture for those who know no animations.
    first = 1 if animated and count > 2 and picture.info.get("default_image") else 0
    orientation = picture.getexif().get(_ORIENTATION, 1)
    frames: list[Image.Image] = []
    durations: list[int] = []
    for number in range(first, count if animated else 1):
        picture.seek(number)
        picture.load()
        frames.append(_upright(_resized(picture, size), orientation))
        durations.append(round(picture.info.get("duration") or _FRAME_MS))
    picture.seek(0)
    picture.load()
    return _Film(
        frames=frames,
        durations=durations,
        loop=_plays(picture),
        notes=picture_notes.read(picture),
        tables=getattr(picture, "quantization", None) or None,
    )


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A copy in this size that knows nothing but its pixels."""
    changed = picture.size != size
    plain = _pixels(picture) if changed or getattr(picture, "is_animated", False) else picture
    made = plain.resize(size, Image.Resampling.LANCZOS) if changed else plain.copy()
    transparent = made.info.get("transparency")
    made.info = {} if transparent is None else {"transparency": transparent}
    return made


def _pixels(picture: Image.Image) -> Image.Image:
    """Pixels that can be mixed: no palette, no single bits, no single colour that means transparent."""
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    if picture.mode in _DEEP:
        return _of_eight_bits(picture)
    if picture.mode in {"RGB", "L", "CMYK"}:
        return picture
    return picture.convert("L" if picture.mode in {"1", "F"} else "RGB")


def _of_eight_bits(picture: Image.Image) -> Image.Image:
    """16 bits of grey as 8; Pillow's own conversion would cut what is brighter than 255."""
    import numpy as np

    return Image.fromarray((np.asarray(picture).clip(0, 65_535) >> 8).astype(np.uint8))


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def _plays(picture: ImageFile.ImageFile) -> int:
    """How often an animation is played, 0 for ever. A GIF counts the times after the first."""
    loop = picture.info.get("loop")
    if picture.format != "GIF":
        return int(loop or 0)
    return 1 if loop is None else loop + 1 if loop else 0


def _stripped(film: _Film) -> _Film:
    notes = film.notes.without(but_colours=True)
    return _Film(frames=film.frames, durations=film.durations, loop=film.loop, notes=notes, tables=film.tables)


# Writing.


def _written(film: _Film, target: str, how: model.Finish) -> bytes:
    kind = _KINDS[target]
    width, height = film.frames[0].size
    if max(width, height) > kind.most:
        message = f"{width}×{height} is more than the {kind.most} that a picture in {target} may be wide and high."
        raise _refusal("image_too_large", message)
    try:
        return _encoded(film, target, how)
    except (OSError, ValueError) as error:
        raise _refusal("cannot_be_written", f"It cannot be written as {target}: {error}.") from None


def _refusal(reason: str, message: str) -> errors.InvalidInputs:
    return errors.InvalidInputs(message, faults=(errors.Fault(reason=reason, message=message),))


def _encoded(film: _Film, target: str, how: model.Finish) -> bytes:
    kind = _KINDS[target]
    frames = [_fitting(frame, kind, film.notes.icc) for frame in film.frames]
    notes = film.notes
    if frames[0].mode not in _SPACES.get(notes.icc[16:20], frozenset()):
        notes = picture_notes.Notes(
            texts=notes.texts, exif=notes.exif, xmp=notes.xmp, comment=notes.comment, dpi=notes.dpi
        )
    out = io.BytesIO()
    given = picture_notes.options(notes, target) | _quality(film, target, how) | _animation(film, target)
    frames[0].save(out, target, append_images=frames[1:], **given)
    return out.getvalue()


def _fitting(frame: Image.Image, kind: _Kind, icc: bytes) -> Image.Image:
    """The frame with pixels that the format takes, on white where it knows nothing transparent."""
    if frame.has_transparency_data and not kind.transparent:
        seen = frame.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(white, seen).convert("RGB")
    if frame.mode in kind.modes and (frame.mode == "P" or "transparency" not in frame.info):
        return frame
    if frame.mode == "CMYK":
        return _of_screens(frame, icc)
    plain = _pixels(frame)
    return plain if plain.mode in kind.modes else plain.convert("RGBA" if plain.has_transparency_data else "RGB")


def _of_screens(frame: Image.Image, icc: bytes) -> Image.Image:
    """Colours of print as those of a screen, by their profile where they have one."""
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            screen = ImageCms.createProfile("sRGB")
            shown = ImageCms.profileToProfile(frame, profile, screen, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            shown = None
        if shown is not None:
            return shown
    return frame.convert("RGB")


def _quality(film: _Film, target: str, how: model.Finish) -> dict[str, Any]:
    lossy = _KINDS[target].lossy
    if lossy is None:
        return {}
    if how.quality is None and target == "JPEG" and film.tables:
        return {"qtables": film.tables, "optimize": True}  # as fine as it was
    return {"quality": how.quality or lossy} | ({"optimize": True} if target == "JPEG" else {})


def _animation(film: _Film, target: str) -> dict[str, Any]:
    if len(film.frames) == 1:
        return {}
    given: dict[str, Any] = {"save_all": True, "duration": list(film.durations), "loop": film.loop}
    if target == "GIF":
        given["disposal"] = 2
        given["loop"] = film.loop - 1 if film.loop > 1 else None if film.loop == 1 else 0
    if target == "AVIF":
        del given["loop"]  # it has no such thing; it goes on for ever
    return {key: value for key, value in given.items() if value is not None}
