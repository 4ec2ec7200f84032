"""Pictures that are changed without a GPU: what they become, and what stays with them."""

from __future__ import annotations

import functools
import io
import json
from typing import Any

import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from gateway.adapters import finishing
from gateway.domain import errors
from gateway.domain.embedded import reading
from gateway.domain.pipelines.model import Finish, Format
from gateway.domain.templates import media

FORMATS: tuple[Format, ...] = ("png", "jpeg", "webp", "avif")
PROMPT = {"3": {"class_type": "KSampler", "inputs": {"text": "ein Füchslein"}}}
WORKFLOW = {"nodes": [], "links": []}
RED, BLUE = (220, 30, 30), (30, 30, 220)


def encoded(picture: Image.Image, kind: str = "PNG", **given: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **given)
    return out.getvalue()


def halves(size: tuple[int, int] = (40, 20), mode: str = "RGB") -> Image.Image:
    """Left red, right blue."""
    picture = Image.new("RGB", size, RED)
    picture.paste(BLUE, (size[0] // 2, 0, *size))
    return picture.convert(mode)


def carrying(size: tuple[int, int] = (40, 20)) -> bytes:
    """A PNG as ComfyUI saves it."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text("prompt", json.dumps(PROMPT))
    texts.add_text("workflow", json.dumps(WORKFLOW))
    return encoded(halves(size), pnginfo=texts, icc_profile=profile())


@functools.cache  # it holds the time at which it was made
def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def photo(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Cam: made by hand"
    return encoded(halves(), "JPEG", exif=exif, quality=95)


def moving(kind: str, *, frames: int = 3, **given: Any) -> bytes:
    made = [Image.new("RGB", (24, 16), (60 * number, 0, 90)) for number in range(frames)]
    return encoded(made[0], kind, save_all=True, append_images=made[1:], duration=[50, 120, 80][:frames], **given)


def opened(data: bytes) -> Any:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def near(found: Any, wanted: Any, most: int = 24) -> bool:
    return all(abs(a - b) <= most for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("target", FORMATS)
def test_any_picture_becomes_any_format(source: str, target: Format) -> None:
    made = finishing.finish(encoded(halves(), source), Finish(format=target, quality=90))

    kind = media.sniff(made.data)
    assert kind is not None
    assert (made.content_type, made.suffix) == (kind.media_type, kind.suffix) == (f"image/{target}", made.suffix)
    picture = opened(made.data).convert("RGB")
    assert picture.size == (40, 20)
    assert near(picture.getpixel((5, 10)), RED)
    assert near(picture.getpixel((35, 10)), BLUE)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("width", [None, 10])
def test_every_kind_of_pixel(mode: str, target: Format, width: int | None) -> None:
    picture = Image.new("I;16", (20, 20), 40_000) if mode == "I;16" else Image.new("L", (20, 20), 156).convert(mode)

    made = finishing.finish(encoded(picture, "TIFF"), Finish(format=target, width=width))

    assert opened(made.data).size == ((width or 20),) * 2
    if mode not in {"1", "I;16"}:
        assert near(opened(made.data).convert("RGB").getpixel((5, 5)), (156,) * 3)
    if mode == "I;16" and target != "png":
        assert near((opened(made.data).convert("L").getpixel((5, 5)),), (156,))


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (20, None, (20, 10)),
        (None, 5, (10, 5)),
        (20, 5, (10, 5)),
        (1000, 1000, (40, 20)),  # it never grows
        (1, None, (1, 1)),
        (None, None, (40, 20)),
    ],
)
def test_sizes(width: int | None, height: int | None, size: tuple[int, int]) -> None:
    made = finishing.finish(encoded(halves()), Finish(width=width, height=height))

    assert opened(made.data).size == size
    assert opened(made.data).format == "PNG"


@pytest.mark.parametrize("how", [Finish(), Finish(format="png"), Finish(width=40), Finish(quality=50)])
def test_a_picture_that_is_to_stay_is_the_same_bytes(how: Finish) -> None:
    data = carrying()

    assert finishing.finish(data, how).data == data


@pytest.mark.parametrize("target", ["jpeg", "webp", "avif"])
def test_quality_counts(target: Format) -> None:
    noise = Image.effect_noise((128, 128), 90).convert("RGB")

    sizes = [
        len(finishing.finish(encoded(noise), Finish(format=target, quality=quality)).data) for quality in (20, 60, 95)
    ]

    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("target", ["png", "jpeg", "webp"])
def test_the_workflow_can_be_read_from_what_was_kept(target: Format) -> None:
    made = finishing.finish(carrying(), Finish(format=target, width=30))

    assert reading.read_workflow(made.data) == PROMPT
    assert opened(made.data).info["icc_profile"] == profile()


@pytest.mark.parametrize("between", ["webp", "jpeg", "avif"])
def test_texts_come_back_from_other_formats(between: Format) -> None:
    there = finishing.finish(carrying(), Finish(format=between))
    back = finishing.finish(there.data, Finish(format="png"))

    texts = opened(back.data).text
    assert {key: json.loads(texts[key]) for key in ("prompt", "workflow")} == {"prompt": PROMPT, "workflow": WORKFLOW}


def test_parameters_of_a1111_go_into_the_user_comment_and_back() -> None:
    texts = PngImagePlugin.PngInfo()
    words = "a fox – rot\nSteps: 20, Sampler: Euler"
    texts.add_itxt("parameters", words)

    there = finishing.finish(encoded(halves(), pnginfo=texts), Finish(format="jpeg"))

    comment = opened(there.data).getexif().get_ifd(0x8769)[0x9286]
    assert comment == b"UNICODE\0" + words.encode("utf-16-be")
    back = finishing.finish(there.data, Finish(format="png"))
    assert opened(back.data).text["parameters"] == words


def test_a_workflow_too_large_for_a_jpeg_is_left_out_and_the_prompt_stays() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("prompt", json.dumps(PROMPT))
    texts.add_text("workflow", json.dumps({"nodes": ["x" * 70_000]}))

    made = finishing.finish(encoded(halves(), pnginfo=texts), Finish(format="jpeg"))

    assert reading.read_workflow(made.data) == PROMPT
    assert len(opened(made.data).getexif().tobytes()) < 1_000


@pytest.mark.parametrize("target", [None, *FORMATS])
@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_what_is_stripped_is_gone_but_for_the_colours(source: str, target: Format | None) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Secretmaker"
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0secretword"
    texts = PngImagePlugin.PngInfo()
    texts.add_text("prompt", "secretprompt")
    given: dict[str, Any] = {"exif": exif, "icc_profile": profile(), "quality": 95, "xmp": b"<x:xmpmeta>secretxmp"}
    given |= {"pnginfo": texts} if source == "PNG" else {"comment": b"secretcomment"} if source == "JPEG" else {}

    made = finishing.finish(encoded(halves(), source, **given), Finish(format=target, metadata="strip"))

    assert b"secret" not in made.data.lower()
    assert opened(made.data).info["icc_profile"] == profile()
    assert not opened(made.data).getexif()


def test_exif_and_xmp_are_kept_across_formats() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    data = encoded(halves(), "JPEG", exif=exif, xmp=b"<x:xmpmeta/>")

    for target in FORMATS:
        made = opened(finishing.finish(data, Finish(format=target, width=20)).data)
        assert made.getexif()[0x010F] == "Maker", target
        assert made.info["xmp"] == b"<x:xmpmeta/>", target


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("metadata", ["keep", "strip"])
def test_pictures_are_turned_upright(orientation: int, metadata: Any) -> None:
    data = photo(orientation)
    seen = opened(data)
    wanted = ImageOps.exif_transpose(seen).resize((20, 10) if orientation < 5 else (5, 10))

    made = opened(finishing.finish(data, Finish(format="png", width=20, height=10, metadata=metadata)).data)

    assert made.size == wanted.size
    assert 0x0112 not in made.getexif()
    for point in ((1, 1), (made.width - 2, made.height - 2)):
        assert near(made.getpixel(point), wanted.getpixel(point), 60)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_what_is_transparent_is_white_in_a_jpeg(mode: str) -> None:
    if mode in {"RGBA", "LA"}:
        data = encoded(Image.new(mode, (16, 16), 0))
    elif mode == "P":
        data = encoded(Image.new("P", (16, 16), 0), transparency=0)
    else:
        data = encoded(Image.new("RGB", (16, 16), (1, 2, 3)), transparency=(1, 2, 3))

    made = finishing.finish(data, Finish(format="jpeg"))

    assert near(opened(made.data).convert("RGB").getpixel((8, 8)), (255, 255, 255), 3)
    clear = opened(finishing.finish(data, Finish(format="webp")).data)
    assert clear.getpixel((8, 8))[3] == 0


@pytest.mark.parametrize("source", ["GIF", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("target", ["png", "webp", "avif"])
def test_animations_go_on_moving(source: str, target: Format) -> None:
    made = opened(finishing.finish(moving(source), Finish(format=target, width=12)).data)

    assert made.n_frames == 3
    assert made.size == (12, 8)
    durations: list[int] = []
    for number in range(3):
        made.seek(number)
        made.load()
        durations.append(round(made.info["duration"]))
        assert near(made.convert("RGB").getpixel((6, 4)), (60 * number, 0, 90), 30)
    assert durations == [50, 120, 80]


def test_an_animation_is_its_first_frame_in_a_jpeg() -> None:
    made = opened(finishing.finish(moving("GIF"), Finish(format="jpeg")).data)

    assert near(made.getpixel((6, 4)), (0, 0, 90))


@pytest.mark.parametrize(("loop", "plays"), [(None, 1), (0, 0), (2, 3)])
def test_how_often_a_gif_is_played(loop: int | None, plays: int) -> None:
    data = moving("GIF", **({} if loop is None else {"loop": loop}))

    made = finishing.finish(data, Finish(format="webp"))

    assert opened(made.data).info["loop"] == plays
    again = opened(finishing.finish(data, Finish(width=12)).data)
    assert (again.format, again.info.get("loop")) == ("GIF", loop)


def test_a_picture_for_those_who_know_no_animations_is_no_frame() -> None:
    still, *frames = (Image.new("RGB", (8, 8), (80 * number, 0, 0)) for number in range(3))
    data = encoded(still, save_all=True, append_images=frames, default_image=True, duration=70)

    made = opened(finishing.finish(data, Finish(format="webp", quality=100)).data)

    assert made.n_frames == 2
    assert near(made.convert("RGB").getpixel((4, 4)), (80, 0, 0))


def test_a_jpeg_stays_as_fine_as_it_was() -> None:
    data = encoded(Image.effect_noise((64, 64), 60).convert("RGB"), "JPEG", quality=40)

    made = finishing.finish(data, Finish(metadata="strip"))

    assert opened(made.data).quantization == opened(data).quantization


@pytest.mark.parametrize(
    ("data", "how", "most", "reason"),
    [
        (b"", Finish(), 10**6, "not_an_image"),
        (b"%PDF-1.7", Finish(format="png"), 10**6, "not_an_image"),
        (carrying()[:200], Finish(format="webp"), 10**6, "image_truncated"),
        (encoded(halves(), "JPEG")[:300], Finish(), 10**6, "image_truncated"),
        (encoded(Image.new("1", (16_400, 1))), Finish(format="webp"), 10**6, "image_too_large"),
        (encoded(Image.new("1", (300, 300))), Finish(format="webp"), 89_999, "image_too_large"),
        (moving("WEBP"), Finish(format="png"), 1_000, "image_too_large"),
    ],
)
def test_refusals(data: bytes, how: Finish, most: int, reason: str) -> None:
    with pytest.raises(errors.InvalidInputs) as caught:
        finishing.finish(data, how, max_pixels=most)

    assert [fault.reason for fault in caught.value.faults] == [reason]
