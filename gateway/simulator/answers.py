"""Answers in JSON, as aiohttp's own would look."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.simulator import wire


def json_response(value: Any, status: int = 200) -> web.Response:
    """Answer JSON."""
    return raw_json(wire.dumps(value), status)


def raw_json(body: bytes, status: int = 200) -> web.Response:
    """Answer what is JSON already."""
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")
