"""What a picture carries beside its pixels, and where each format keeps it.

The texts of a PNG have no place in other formats. There they go where ComfyUI itself puts them: into EXIF's fields for
texts, as `prompt:{…}` and `workflow:{…}`; and back from there. A1111's `parameters` are in the user comment, as A1111
has them. So whoever reads one format's workflow finds it in the other, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from PIL import Image, ImageFile, PngImagePlugin

_PROMPT: Final = 0x0110  #: EXIF's field for a camera's model
_FIRST_OTHER: Final = 0x010F  #: ComfyUI counts down from here
_LAST_OTHER: Final = 0x0106
_ORIENTATION: Final = 0x0112
_OWN_DIRECTORY: Final = 0x8769
_USER_COMMENT: Final = 0x9286
_UNICODE: Final = b"UNICODE\0"
_PARAMETERS: Final = "parameters"
_KEYED: Final = re.compile(r"([A-Za-z][\w .-]{0,78}):(?=\s*[\[{\"])")
_MOST_IN_JPEG: Final = 65_500  #: bytes of EXIF; a segment's length has 16 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What is beside the pixels."""

    texts: Mapping[str, str] = field(default_factory=dict[str, str])  #: as the text chunks of a PNG
    exif: bytes = b""  #: without orientation and without those of `texts` that were in it
    xmp: bytes = b""
    icc: bytes = b""
    comment: bytes = b""  #: of JPEG and GIF
    dpi: tuple[float, float] | None = None

    def without(self, *, but_colours: bool) -> Notes:
        """Nothing; or only what says which colours the pixels mean."""
        return Notes(icc=self.icc if but_colours else b"")


def read(picture: ImageFile.ImageFile) -> Notes:
    """What this picture carries. It has been loaded, since a PNG may have texts behind its pixels."""
    info = picture.info
    exif = picture.getexif()
    texts = {**dict(_of_exif(exif)), **dict(_of_png(picture))}
    exif.pop(_ORIENTATION, None)
    return Notes(
        texts=texts,
        exif=exif.tobytes() if len(exif) else b"",
        xmp=_bytes(info.get("xmp")),
        icc=_bytes(info.get("icc_profile")),
        comment=_bytes(info.get("comment")),
        dpi=_dpi(info.get("dpi")),
    )


def options(notes: Notes, kind: str) -> dict[str, Any]:
    """How Pillow is told to write these into a picture of this kind."""
    given: dict[str, Any] = {"icc_profile": notes.icc or None}
    if kind == "PNG":
        given |= {"pnginfo": _png_texts(notes), "exif": notes.exif}
    elif kind in {"JPEG", "WEBP", "AVIF", "TIFF"}:
        given |= {"exif": _exif(notes, most=_MOST_IN_JPEG if kind == "JPEG" else None), "xmp": notes.xmp}
    if kind in {"JPEG", "GIF"}:
        given["comment"] = notes.comment or b""
    if kind in {"PNG", "JPEG", "TIFF"} and notes.dpi is not None:
        given["dpi"] = notes.dpi
    return {key: value for key, value in given.items() if value is not None and (value != b"" or key == "comment")}


# Reading.


def _of_png(picture: ImageFile.ImageFile) -> Iterator[tuple[str, str]]:
    if not isinstance(picture, PngImagePlugin.PngImageFile):
        return
    for key, value in picture.text.items():
        if key != "XML:com.adobe.xmp":  # Pillow gives it as `xmp`
            yield key, str(value)
    for kind, content, *_ in picture.private_chunks:
        key, found, rest = content.partition(b"\0")
        if kind == b"comf" and found:  # ComfyUI's animations
            yield key.decode("latin-1"), rest.decode("utf-8", "replace")


def _of_exif(exif: Image.Exif) -> Iterator[tuple[str, str]]:
    """Texts that came from a PNG or from ComfyUI; they leave this EXIF."""
    for tag in range(_LAST_OTHER, _PROMPT + 1):
        value = exif.get(tag)
        keyed = _KEYED.match(value) if isinstance(value, str) else None
        if keyed is not None:
            yield keyed[1], exif.pop(tag)[keyed.end() :]
    comment = exif.get_ifd(_OWN_DIRECTORY).get(_USER_COMMENT)
    if isinstance(comment, bytes) and comment.startswith(_UNICODE):
        text = comment.removeprefix(_UNICODE).decode("utf-16-be", "replace")
        if "Steps:" in text:  # as A1111 writes it; any other comment stays
            del exif.get_ifd(_OWN_DIRECTORY)[_USER_COMMENT]
            yield _PARAMETERS, text


def _bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) else b""


def _dpi(value: object) -> tuple[float, float] | None:
    match value:
        case (int() | float() as x, int() | float() as y) if x > 0 and y > 0:
            return float(x), float(y)
        case _:
            return None


# Writing.


def _png_texts(notes: Notes) -> PngImagePlugin.PngInfo:
    written = PngImagePlugin.PngInfo()
    for key, value in notes.texts.items():
        if value.isascii():
            written.add_text(key, value)
        else:
            written.add_itxt(key, value)
    if notes.xmp:
        written.add_itxt("XML:com.adobe.xmp", notes.xmp.decode("utf-8", "replace"))
    return written


def _exif(notes: Notes, *, most: int | None) -> bytes:
    """The EXIF with the texts in it; the largest of them are left out where they would not fit."""
    texts = dict(notes.texts)
    while True:
        data = _with_texts(notes.exif, texts)
        if most is None or len(data) <= most:
            return data
        if not texts:
            return b""
        del texts[max(texts, key=lambda key: len(texts[key]))]


def _with_texts(before: bytes, texts: Mapping[str, str]) -> bytes:
    exif = Image.Exif()
    if before:
        exif.load(before)
    free = iter(tag for tag in range(_FIRST_OTHER, _LAST_OTHER, -1) if tag not in exif)
    for key, value in texts.items():
        if key == _PARAMETERS:
            exif.get_ifd(_OWN_DIRECTORY)[_USER_COMMENT] = _UNICODE + value.encode("utf-16-be", "replace")
            continue
        tag = _PROMPT if key == "prompt" and _PROMPT not in exif else next(free, None)
        if tag is not None:
            exif[tag] = f"{key}:{value}"
    return exif.tobytes() if len(exif) or exif.get_ifd(_OWN_DIRECTORY) else b""
