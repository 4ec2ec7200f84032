"""How far pictures are apart: what an eye would not see is near, what it would is far."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageEnhance

from gateway.adapters import likeness
from gateway.domain import errors

HARBOUR = Path(__file__).parents[2] / "workflows" / "assets" / "harbour.png"


def encoded(picture: Image.Image, kind: str = "PNG", **given: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **given)
    return out.getvalue()


def harbour() -> Image.Image:
    with Image.open(HARBOUR) as picture:
        return picture.convert("RGB")


def spotted() -> Image.Image:
    picture = harbour()
    ImageDraw.Draw(picture).ellipse((205, 154, 307, 230), fill=(200, 180, 160))
    return picture


@pytest.mark.parametrize(
    ("made", "near"),
    [
        (lambda: encoded(harbour()), True),
        (lambda: encoded(harbour(), "JPEG", quality=70), True),
        (lambda: encoded(harbour(), "WEBP", quality=80), True),
        (lambda: encoded(ImageChops.offset(harbour(), 1, 0)), True),
        (lambda: encoded(ImageEnhance.Brightness(harbour()).enhance(1.02)), True),
        (lambda: encoded(ImageChops.offset(harbour(), 4, 0)), False),
        (lambda: encoded(ImageEnhance.Brightness(harbour()).enhance(1.1)), False),
        (lambda: encoded(spotted()), False),
        (lambda: encoded(harbour().convert("L")), False),
    ],
)
def test_near_and_far(made: Any, near: bool) -> None:
    found = likeness.compare(likeness.to_store(encoded(harbour())), made())

    assert found.why is None
    assert (found.distance <= likeness.TOLERANCE) is near


def test_the_same_is_no_distance_at_all() -> None:
    assert likeness.compare(likeness.to_store(encoded(harbour())), encoded(harbour())).distance == 0


def test_a_stored_picture_is_small_and_knows_how_large_it_was() -> None:
    stored = likeness.to_store(encoded(Image.new("RGB", (1024, 512))))

    with Image.open(io.BytesIO(stored)) as picture:
        assert (picture.size, picture.info) == ((384, 192), {"picture-size": "1024x512"})


def test_another_size_is_told() -> None:
    stored = likeness.to_store(encoded(Image.new("RGB", (1024, 512))))

    found = likeness.compare(stored, encoded(Image.new("RGB", (512, 256))))

    assert (found.distance, found.why) == (likeness.FAR, "it is 512x256, and 1024x512 was expected")


def test_each_frame_counts() -> None:
    frames = [Image.new("RGB", (64, 64), (40 * number, 0, 0)) for number in range(3)]
    film = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    other = encoded(
        frames[0], "WEBP", save_all=True, append_images=[frames[1], Image.new("RGB", (64, 64), "blue")], lossless=True
    )
    stored = likeness.to_store(film)

    assert likeness.compare(stored, film).distance == 0
    assert likeness.compare(stored, other).distance > 20
    assert likeness.compare(stored, encoded(frames[0])).why == "it has 1 frames, and 3 were expected"


def test_what_is_transparent_counts() -> None:
    clear, white = Image.new("RGBA", (32, 32), (255, 255, 255, 0)), Image.new("RGBA", (32, 32), "white")

    assert likeness.compare(likeness.to_store(encoded(clear)), encoded(white)).distance > 50


def test_expected_made_and_difference_are_shown_side_by_side() -> None:
    red, blue = Image.new("RGB", (100, 50), "red"), Image.new("RGB", (100, 50), "blue")

    found = likeness.compare(likeness.to_store(encoded(red)), encoded(blue))

    with Image.open(io.BytesIO(found.shown)) as sheet:
        assert sheet.size == (3 * 100 + 4 * 8, 50 + 22 + 8)
        assert [sheet.getpixel((8 + 108 * panel + 50, 40)) for panel in range(3)] == [
            (255, 0, 0),
            (0, 0, 255),
            (255, 255, 0),
        ]


def test_what_is_no_picture_is_told() -> None:
    with pytest.raises(errors.InvalidInputs):
        likeness.compare(likeness.to_store(encoded(harbour())), b"text")
