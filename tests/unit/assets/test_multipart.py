"""Multipart bodies, however they are cut into pieces on their way."""

from collections.abc import Sequence

import pytest
from fastapi import Request
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message

from gateway.api import multipart
from gateway.domain import errors

TYPE = "multipart/form-data; boundary=XX"


def request_of(pieces: Sequence[bytes], *, content_type: str | None = TYPE, length: int | None = None) -> Request:
    headers = [(b"content-type", content_type.encode())] if content_type is not None else []
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    waiting = [*pieces]

    async def receive() -> Message:
        piece = waiting.pop(0) if waiting else b""
        return {"type": "http.request", "body": piece, "more_body": bool(waiting)}

    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def body_of(*parts: tuple[str, bytes]) -> bytes:
    made = b"".join(b"--XX\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n" for head, data in parts)
    return made + b"--XX--\r\n"


def named(name: str, filename: str | None = None) -> str:
    rest = "" if filename is None else f'; filename="{filename}"'
    return f'Content-Disposition: form-data; name="{name}"{rest}'


async def read_all(request: Request, *, limit: int = 10**6) -> list[tuple[multipart.Part, bytes]]:
    reader = multipart.Reader(request, limit=limit)
    found: list[tuple[multipart.Part, bytes]] = []
    while (part := await reader.next_part()) is not None:
        found.append((part, b"".join([chunk async for chunk in reader.chunks()])))
    return found


async def test_parts_with_names_files_and_types() -> None:
    body = body_of(
        (named("a"), "🦊".encode()), (named("f", "x 🦊.png") + "\r\nContent-Type: image/png", b"\r\n--XX-\r\n")
    )
    (first, data), (second, more) = await read_all(request_of([body]))
    assert (first.name, first.filename, first.content_type, data) == ("a", None, None, "🦊".encode())
    assert (second.name, second.filename, second.content_type) == ("f", "x 🦊.png", "image/png")
    assert more == b"\r\n--XX-\r\n"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=200) | st.sampled_from([b"", b"\r\n", b"--XX", b"\r\n--X", b"\r\n--XX-"]), max_size=4),
    st.integers(1, 50),
)
async def test_the_pieces_do_not_matter(contents: list[bytes], size: int) -> None:
    contents = [data for data in contents if b"\r\n--XX" not in b"\r\n" + data + b"\r\n"]
    body = body_of(*((named(f"p{index}", "f"), data) for index, data in enumerate(contents)))
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert [data for _, data in await read_all(request_of(pieces))] == contents


async def test_a_part_that_nobody_reads_is_skipped() -> None:
    body = body_of((named("a"), b"1" * 1000), (named("b"), b"2"))
    reader = multipart.Reader(request_of([body[:50], body[50:]]), limit=10**6)
    names: list[str] = []
    while (part := await reader.next_part()) is not None:
        names.append(part.name)
    assert names == ["a", "b"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"--YY\r\n\r\n",
        b"--XX\r\n" + named("a").encode(),
        b"--XX\r\n" + named("a").encode() + b"\r\n\r\ndata",
        body_of((named("a"), b"1"))[:-5],
        body_of(("Content-Type: text/plain", b"1")),
        body_of(('Content-Disposition: attachment; name="a"', b"1")),
        body_of((named("a") + "\r\nX: " + "y" * 10_000, b"1")),
        body_of(*[(named(f"p{index}"), b"") for index in range(multipart.MAX_PARTS + 1)]),
    ],
)
async def test_what_is_no_form_is_malformed(body: bytes) -> None:
    with pytest.raises(errors.MalformedBody):
        await read_all(request_of([body] if body else []))


@pytest.mark.parametrize(
    "content_type", [None, "application/json", "multipart/form-data", "multipart/form-data; boundary=" + "x" * 300]
)
async def test_other_content_types_are_malformed(content_type: str | None) -> None:
    with pytest.raises(errors.MalformedBody):
        await read_all(request_of([b"{}"], content_type=content_type))


async def test_a_declared_length_past_the_limit_is_refused_unread() -> None:
    with pytest.raises(errors.PayloadTooLarge):
        multipart.Reader(request_of([], length=101), limit=100)


async def test_a_body_past_the_limit_is_refused_whatever_it_declared() -> None:
    with pytest.raises(errors.PayloadTooLarge):
        await read_all(request_of([body_of((named("a"), b"1" * 200))], length=50), limit=100)


async def test_text_is_utf_8_and_not_endless() -> None:
    for data in (b"\xff\xfe", b"x" * (multipart.MAX_TEXT + 1)):
        reader = multipart.Reader(request_of([body_of((named("a"), data))]), limit=10**6)
        part = await reader.next_part()
        assert part is not None
        with pytest.raises(errors.InvalidRequest):
            await reader.text(part)
