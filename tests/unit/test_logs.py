"""Log lines: ours and those of libraries look the same, and a stream that cannot be written stops nobody."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import orjson
import pytest
import structlog

from gateway import logs


class Full(io.StringIO):
    """A stream on a disk without room."""

    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Logging as the other tests expect it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_our_lines_and_those_of_libraries_look_the_same() -> None:
    stream = io.StringIO()
    logs.configure("json", stream=stream)
    structlog.get_logger("gateway.test").info("job_claim", job="1", reason=None)
    logging.getLogger("library").info("job_claim")
    ours, theirs = (orjson.loads(line) for line in stream.getvalue().splitlines())
    assert ours == {"event": "job_claim", "job": "1", "level": "info", "timestamp": ours["timestamp"]}
    assert theirs == {"event": "job_claim", "level": "info", "timestamp": theirs["timestamp"]}


def test_an_exception_is_told_whole() -> None:
    stream = io.StringIO()
    logs.configure("json", stream=stream)
    try:
        int("odd")
    except ValueError:
        structlog.get_logger("gateway.test").exception("broke")
    (line,) = (orjson.loads(line) for line in stream.getvalue().splitlines())
    assert (line["event"], line["level"]) == ("broke", "error")
    assert line["exception"].endswith("with base 10: 'odd'")


def test_quiet_tells_errors_only() -> None:
    stream = io.StringIO()
    logs.configure("json", stream=stream, quiet=True)
    log = structlog.get_logger("gateway.test")
    log.warning("strange")
    log.error("wrong")
    assert [orjson.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["wrong"]


def test_what_cannot_be_written_stops_nobody() -> None:
    logs.configure("json", stream=Full())
    structlog.get_logger("gateway.test").info("job_claim")
