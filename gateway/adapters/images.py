"""Is this a picture that a worker can load, and how big is it? Answered by Pillow, under a limit against bombs.

Blocking and CPU-bound: call it in a thread.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image, ImageFile, UnidentifiedImageError

from gateway.domain import errors

MAX_PIXELS = 100_000_000

#: What ComfyUI's LoadImage reads and people send. Pillow knows more, some of it by starting other programs.
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What a picture is."""

    width: int
    height: int
    media_type: str
    frames: int


def probe_image(data: bytes, *, max_pixels: int = MAX_PIXELS, parameter: str | None = None) -> ImageFacts:
    """The facts of this picture, after decoding its first frame.

    Raises `InvalidInputs` with one fault: `not_an_image`, `image_too_large` (more than `max_pixels` in all frames,
    told from its header before anything is decoded) or `image_truncated`.
    """
    with opened(data, max_pixels=max_pixels, parameter=parameter) as picture:
        return _facts(picture, max_pixels, parameter)


@contextmanager
def opened(
    data: bytes, *, max_pixels: int = MAX_PIXELS, parameter: str | None = None
) -> Generator[ImageFile.ImageFile]:
    """The picture, with Pillow's complaints about it as `InvalidInputs`, as `probe_image` tells them."""
    with warnings.catch_warnings():
        # Pillow warns of pictures above a limit of its own; ours is checked before anything is decoded.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=_known_formats()) as picture:
                _refuse_pixels(picture, max_pixels, parameter)
                yield picture
        except UnidentifiedImageError:
            listed = ", ".join(_known_formats())
            raise _refusal("not_an_image", f"This is no picture that we can open ({listed}).", parameter) from None
        except Image.DecompressionBombError:
            raise _refusal("image_too_large", f"It has far more than {max_pixels} pixels.", parameter) from None
        except (OSError, SyntaxError, ValueError, EOFError, OverflowError) as error:
            raise _refusal("image_truncated", f"The picture is damaged: {error}.", parameter) from None


def _known_formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def refuse_bomb(data: bytes, *, max_pixels: int = MAX_PIXELS) -> None:
    """Raise `InvalidInputs` (`image_too_large`) for a picture of more than `max_pixels` in all frames, told from its
    header. Anything that this cannot open may pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=_known_formats()) as picture:
                _refuse_pixels(picture, max_pixels, None)
        except Image.DecompressionBombError:
            raise _refusal("image_too_large", f"It has more than {max_pixels} pixels.", None) from None
        except (OSError, SyntaxError, ValueError, EOFError, OverflowError):
            return


def _refuse_pixels(picture: ImageFile.ImageFile, max_pixels: int, parameter: str | None) -> int:
    """How many frames the picture has; `image_too_large` when they are too many pixels."""
    width, height = picture.size
    frames = int(getattr(picture, "n_frames", 1))
    if width * height * frames > max_pixels:
        size = f"{width}×{height}" + (f" in {frames} frames" if frames > 1 else "")
        raise _refusal("image_too_large", f"{size} is more than {max_pixels} pixels.", parameter)
    return frames


def _facts(picture: ImageFile.ImageFile, max_pixels: int, parameter: str | None) -> ImageFacts:
    frames = _refuse_pixels(picture, max_pixels, parameter)
    width, height = picture.size
    picture.load()
    # A phone's JPEG may hold a second picture (MPO); whoever reads it as a JPEG sees the first.
    kind = "JPEG" if picture.format == "MPO" else picture.format or ""
    media_type = Image.MIME.get(kind, "application/octet-stream")
    return ImageFacts(width=width, height=height, media_type=media_type, frames=frames)


def _refusal(reason: str, message: str, parameter: str | None) -> errors.InvalidInputs:
    fault = errors.Fault(reason=reason, message=message, parameter=parameter)
    return errors.InvalidInputs(f"{parameter or 'The picture'}: {message}", faults=(fault,))
