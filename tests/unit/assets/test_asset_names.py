"""Which paths, media types and hashes may come in."""

import pytest

from gateway.assets import names


@pytest.mark.parametrize(
    "path",
    [
        "photo.png",
        "models/checkpoints/x.safetensors",
        "büro/🦊.png",
        'say "cheese".jpg',
        "a b/c d.txt",
        "x" * 1024,
        "..a",
    ],
)
def test_paths_that_stay_in_their_folder_are_taken(path: str) -> None:
    assert names.path_complaint(path) is None


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("../etc/passwd", '".."'),
        ("a/../../b.png", '".."'),
        ("/etc/passwd", "absolute"),
        ("C:/windows/x.png", "absolute"),
        ("C:x.png", "drive"),
        ("..\\x.png", '".."'),
        ("a\\b.png", "backslash"),
        ("a\0.png", "NUL"),
        ("a\n.png", "control"),
        ("a\x7f.png", "control"),
        ("a//b.png", "empty part"),
        ("a/./b.png", "dot"),
        ("a/", "empty part"),
        ("half \ud83e.png", "surrogate"),
        ("x" * 1025, "longer"),
        ("🦊" * 257, "longer"),
    ],
)
def test_paths_that_could_do_harm_are_refused(path: str, complaint: str) -> None:
    assert complaint in str(names.path_complaint(path))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("image/png", "image/png"),
        (" Image/PNG ", "image/png"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ('a/b; q="x y"', 'a/b; q="x y"'),
        ("image/svg+xml", "image/svg+xml"),
        ("png", None),
        ("", None),
        ("image/", None),
        ("image/png\r\nSet-Cookie: a=b", None),
        ("text/plain; charset=\x00", None),
        ("ümage/png", None),
        ("image/png; " + "a=b; " * 100, None),
    ],
)
def test_media_types(text: str, kept: str | None) -> None:
    assert names.media_type(text) == kept


def test_hashes_are_kept_in_lower_case() -> None:
    digits = "AB" * 32
    assert names.content_hash(f"blake3:{digits}") == f"blake3:{digits.lower()}"
    assert names.content_hash("blake3:12") is None
    assert names.content_hash(f"sha256:{digits}") is None
    assert names.content_hash("../" + "a" * 64) is None
