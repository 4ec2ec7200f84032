"""Ranges and file names of downloads."""

import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api import content
from gateway.domain import errors


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-9", (0, 10)),
        ("bytes=3-", (3, 10)),
        ("bytes=-4", (6, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=5-99", (5, 10)),
        ("Bytes = 2 - 3", (2, 4)),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("", None),
    ],
)
def test_ranges(header: str, part: tuple[int, int] | None) -> None:
    assert content.parse_range(header, 10) == part


@pytest.mark.parametrize(
    "header",
    [
        "bytes=10-",
        "bytes=99-100",
        "bytes=5-4",
        "bytes=-0",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=-1-2",
        "bytes=٣-٤",
    ],
)
def test_ranges_that_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(errors.RangeNotSatisfiable):
        content.parse_range(header, 10)


def test_no_range_of_nothing() -> None:
    with pytest.raises(errors.RangeNotSatisfiable):
        content.parse_range("bytes=0-", 0)


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("photo.png", 'inline; filename="photo.png"'),
        ("folder/photo (1).png", 'inline; filename="photo (1).png"'),
        ("../../etc/passwd", 'inline; filename="passwd"'),
        ("C:\\x\\y.png", 'inline; filename="y.png"'),
        ("a\r\nSet-Cookie: x.png", "inline; filename=\"aSet-Cookie_ x.png\"; filename*=UTF-8''aSet-Cookie%3A%20x.png"),
        ('say "hi".png', "inline; filename=\"say _hi_.png\"; filename*=UTF-8''say%20%22hi%22.png"),
        ("🦊.png", "inline; filename=\"_.png\"; filename*=UTF-8''%F0%9F%A6%8A.png"),
        ("", 'inline; filename="file"'),
        ("..", 'inline; filename="file"'),
    ],
)
def test_file_names(path: str, header: str) -> None:
    assert content.disposition("inline", path) == header


@given(st.text(st.characters(codec=None), max_size=300))
def test_any_name_makes_a_header_that_is_one_line_of_ascii(path: str) -> None:
    header = content.disposition("attachment", path)
    assert header.isascii()
    assert header.isprintable()
    _, quoted, name = header.partition("filename*=UTF-8''")
    if quoted:
        assert "/" not in urllib.parse.unquote(name)
