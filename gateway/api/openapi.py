"""Our OpenAPI document, and a page that shows it without any script, so that it works without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from pydantic.json_schema import models_json_schema

from gateway.api import schemas

router = APIRouter(include_in_schema=False)

_OPEN = frozenset({"/healthz", "/readyz", "/api/v2/health"})
_TITLE = "comfy-gateway"
_DESCRIPTION = (
    "One endpoint in front of all your ComfyUI GPUs. `/api/v2` is the Comfy API v2, so its official SDKs work "
    "unchanged; `/v1` adds templates, batches and workers. Every error is an `ErrorEnvelope`."
)
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "`Authorization: Bearer <key>`, where keys are configured.",
}
_SIGNED = "Content URLs of answers carry a signature and need no key."


def of(app: FastAPI, *, version: str) -> Callable[[], dict[str, Any]]:
    """A function for `app.openapi`: the document, made once."""
    made: dict[str, Any] = {}

    def document() -> dict[str, Any]:
        if not made:
            made.update(_document(app, version))
        return made

    return document


def _document(app: FastAPI, version: str) -> dict[str, Any]:
    document = get_openapi(title=_TITLE, version=version, description=f"{_DESCRIPTION} {_SIGNED}", routes=app.routes)
    components: dict[str, Any] = document.setdefault("components", {})
    components["securitySchemes"] = {"bearerAuth": _BEARER}
    components["schemas"] |= _stream_schemas()
    document["security"] = [{"bearerAuth": []}, {}]
    for path, _, operation in operations(document):
        if path in _OPEN:
            operation["security"] = []
    return document


def _stream_schemas() -> dict[str, Any]:
    """The payloads of event streams, which no route names as an answer."""
    _, made = models_json_schema(
        [(schemas.StatusEvent, "serialization"), (schemas.PreviewEvent, "serialization")],
        ref_template="#/components/schemas/{model}",
    )
    return made["$defs"]


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation of everything in the document."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


@router.get("/openapi.json")
async def openapi_json(request: Request) -> dict[str, Any]:
    """The document."""
    return request.app.openapi()


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The document as a page."""
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return HTMLResponse(_page(request.app.openapi()), headers=headers)


_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
code{background:#f2f2f2;padding:.1em .3em;border-radius:3px} summary{cursor:pointer;padding:.3rem 0}
.m{display:inline-block;width:4.5rem;font-weight:600} details{border-bottom:1px solid #ddd} .s{color:#666}
pre{white-space:pre-wrap;margin:.5rem 0} @media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}
code{background:#2a2a2a} details{border-color:#333} .s{color:#999} a{color:#8bf}}
"""


def _page(document: Mapping[str, Any]) -> str:
    groups: dict[str, list[str]] = {}
    for path, method, operation in operations(document):
        groups.setdefault(operation.get("tags", ["other"])[0], []).append(_operation(path, method, operation))
    sections = "".join(f"<h2>{escape(tag)}</h2>{''.join(rows)}" for tag, rows in groups.items())
    info = document["info"]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>"
        f"<h1>{escape(info['title'])} <span class=s>{escape(info['version'])}</span></h1>"
        f"<p>{escape(info['description'])}</p>"
        f"<p>The whole document, for tools: <a href='openapi.json'>openapi.json</a></p>{sections}</html>"
    )


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    takes = "".join(
        f"<li><code>{escape(each['name'])}</code> <span class=s>in {escape(each['in'])}</span> "
        f"{escape(each.get('description', ''))}</li>"
        for each in operation.get("parameters", ())
    )
    answers = "".join(
        f"<li><code>{escape(status)}</code> {escape(each.get('description', ''))}</li>"
        for status, each in operation.get("responses", {}).items()
    )
    return (
        f"<details><summary><span class=m>{method}</span><code>{escape(path)}</code> "
        f"<span class=s>{escape(operation.get('summary', ''))}</span></summary>"
        f"<pre>{escape(operation.get('description', ''))}</pre><ul>{takes}</ul><ul>{answers}</ul></details>"
    )
