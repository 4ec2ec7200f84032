"""Log lines: for people on a terminal, JSON otherwise. What libraries log through `logging` looks the same."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO

import orjson
import structlog

Format = Literal["console", "json"]

_QUIET = ("alembic", "aiohttp.access", "httpx", "uvicorn.access", "websockets")


def format_of(wanted: Literal["auto", "console", "json"], stream: TextIO | None = None) -> Format:
    """The format that `auto` means: lines for people where people look."""
    if wanted != "auto":
        return wanted
    return "console" if (stream or sys.stderr).isatty() else "json"


def configure(form: Format, *, stream: TextIO | None = None, quiet: bool = False) -> None:
    """Send all log lines of this program to `stream` (stderr) in this form; only errors if `quiet`."""
    level = logging.ERROR if quiet else logging.INFO
    target = stream or sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if form == "json" else "%H:%M:%S", utc=form == "json"),
        _plain,
    ]
    rendering = _rendering(form, target)
    structlog.configure(
        processors=[*shared, *rendering],
        logger_factory=lambda *_: _Lines(target),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Lines:
    """Our own lines, straight to where they go: on the way of every job, `logging` would cost more than the line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write a line. What cannot be written (a full disk, a reader that is gone) is no reason to stop working."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = exception = msg


def _rendering(form: Format, target: TextIO) -> list[structlog.typing.Processor]:
    if form == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
    return [
        _lines_below,
        structlog.dev.ConsoleRenderer(
            colors=target.isatty(), pad_event_to=24, exception_formatter=structlog.dev.plain_traceback
        ),
    ]


def _lines_below(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What has several lines of its own (the end of a worker's log) is shown below, as it is."""
    for name in [name for name, value in event.items() if isinstance(value, str) and "\n" in value.strip()]:
        if name not in {"event", "exception", "stack"}:
            event["stack"] = f"{name}:\n{event.pop(name)}"
    return event


def _json(event: Mapping[str, Any], **_: object) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _plain(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop what does not apply, so that a line holds facts only; str enums read as their value."""
    return {key: str(value) if isinstance(value, str) else value for key, value in event.items() if value is not None}
