"""The ASGI application, from its parts."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import RedirectResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.api import (
    assets,
    batches,
    errors,
    guard,
    health,
    jobs,
    measure,
    openapi,
    pauses,
    placement,
    priorities,
    queue,
    retrying,
    template_versions,
    template_writing,
    templates,
    webhooks,
    workers,
)
from gateway.api.parts import Parts


class _App(FastAPI):
    """FastAPI without the layers that ours stand in for: errors are `LastResort`'s, bodies are bounded where they are
    read, and nothing is traced."""

    def build_middleware_stack(self) -> ASGIApp:
        """Our middleware around the router."""
        app: ASGIApp = AsyncExitStackMiddleware(self.router)
        app = ExceptionMiddleware(app, handlers=self.exception_handlers)
        for layer in reversed(self.user_middleware):
            app = layer.cls(app, *layer.args, **layer.kwargs)
        return app


def build_app(parts: Parts) -> FastAPI:
    """The application that answers with these parts. It starts nothing and stops nothing."""
    app = _routed(parts.version)
    app.state.parts = parts
    errors.install(app)
    # The last one added is the first one passed.
    app.add_middleware(guard.Guard, access=parts.access, public_url=parts.public_url)
    if parts.access.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(parts.access.origins), allow_methods=["*"], allow_headers=["*"]
        )
    app.add_middleware(errors.LastResort)
    app.add_middleware(measure.Measure, metrics=parts.metrics)
    return app


def document(version: str) -> dict[str, Any]:
    """Our OpenAPI document, without anything that could answer."""
    return _routed(version).openapi()


def _routed(version: str) -> FastAPI:
    """All routes, flat: an included router would be matched twice."""
    app = _App(
        title="comfy-gateway",
        version=version,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False},
    )
    app.router.routes.append(Route("/", _home, include_in_schema=False))
    plain = (jobs.plain_router, assets.plain_router)
    of_templates = (templates, template_writing, template_versions)
    of_queue = (placement, priorities, queue, pauses)
    modules = (jobs, assets, *of_templates, batches, *of_queue, retrying, workers, webhooks, health, openapi)
    for router in (*plain, *(module.router for module in modules)):
        app.router.routes.extend(router.routes)
    app.openapi = openapi.of(app, version=version)
    return app


async def _home(_request: object) -> RedirectResponse:
    return RedirectResponse("docs")  # relative: we may be mounted under a prefix
