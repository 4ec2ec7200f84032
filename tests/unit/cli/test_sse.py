"""Server-sent events, whole and cut anywhere."""

from __future__ import annotations

import pytest

from gateway.cli import sse

STREAM = (
    b"event: status\ndata: {}\n\n"
    b": keepalive\n\n"
    b"id: 7\nretry: 10\nevent: progress\ndata: {\ndata: }\n\n"
    b"data:no name\n\n"
    b"event: empty\n\n"
)
EVENTS = [
    sse.Event(name="status", data="{}"),
    sse.Event(name="progress", data="{\n}"),
    sse.Event(name="message", data="no name"),
]


def decoded(*chunks: bytes) -> list[sse.Event]:
    decoder = sse.Decoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_is_read_however_its_lines_end(end: bytes) -> None:
    # A lone CR at the very end may be half of a CRLF: what follows tells.
    assert decoded(STREAM.replace(b"\n", end), b":") == EVENTS


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_it_may_be_cut_anywhere(end: bytes) -> None:
    stream = STREAM.replace(b"\n", end)
    for cut in range(len(stream)):
        assert decoded(stream[:cut], stream[cut:]) == EVENTS
    assert decoded(*(stream[at : at + 1] for at in range(len(stream)))) == EVENTS


def test_a_character_may_be_cut() -> None:
    data = "data: ä\n\n".encode()
    assert decoded(data[:7], data[7:]) == [sse.Event(name="message", data="ä")]


def test_what_is_not_complete_is_no_event() -> None:
    assert decoded(b"event: status\ndata: {}\n") == []
