"""A gateway with one template and one worker, that answers as a test wants; and what a command tells meanwhile."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

AT = "2026-11-21T18:00:00.000Z"
PARAMETERS = ({"name": "prompt", "type": "string"}, {"name": "seed", "type": "seed"})
Answer = Callable[["StandIn", web.Request], Awaitable[web.Response]]


def refused(status: int, code: str, **headers: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": "no"}}, status=status, headers=headers)


async def taken(site: StandIn, request: web.Request) -> web.Response:
    """A job that goes on until it is canceled."""
    return web.json_response(site.take(await request.json()))


@dataclass(slots=True)
class StandIn:
    """A gateway with one template and one worker."""

    answer: Answer = taken  #: to orders
    cancel_answer: Answer | None = None  #: to cancels, where it does not come from here
    content: Answer | None = None  #: to downloads
    parameters: Sequence[Mapping[str, Any]] = PARAMETERS
    gone: bool = False  #: it breaks the connection of who looks for jobs
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    bodies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    keys: list[str] = field(default_factory=list[str])
    canceled: list[str] = field(default_factory=list[str])
    followed: asyncio.Event = field(default_factory=asyncio.Event)
    ending: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, body: dict[str, Any], status: str = "running") -> dict[str, Any]:
        job_id = f"job-{len(self.jobs)}"
        self.jobs[job_id] = {"id": job_id, "status": status, "created_at": AT, "completed_at": None, "outputs": []}
        self.jobs[job_id] |= {"error": None, "metadata": body["metadata"]}
        if status == "succeeded":
            self.jobs[job_id]["completed_at"] = AT
        self.bodies.append(body)
        return self.jobs[job_id]

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/templates", self._templates)
        app.router.add_get("/v1/templates/sd15", self._template)
        app.router.add_get("/v1/workers", self._workers)
        app.router.add_post("/v1/templates/sd15/jobs", self._order)
        app.router.add_post("/api/v2/jobs", self._order)
        app.router.add_post("/v1/batches", self._order)
        app.router.add_get("/api/v2/jobs", self._found)
        app.router.add_get("/api/v2/jobs/{id}", self._job)
        app.router.add_get("/api/v2/jobs/{id}/events", self._events)
        app.router.add_post("/api/v2/jobs/{id}/cancel", self._cancel)
        app.router.add_get("/api/v2/assets/{id}/content", self._content)
        app.router.add_get("/api/v2/assets/by-hash/{hash}", self._nothing)
        app.router.add_post("/api/v2/assets", self._upload)
        return app

    async def _templates(self, _: web.Request) -> web.Response:
        return web.json_response({"templates": [], "broken": []})

    async def _template(self, _: web.Request) -> web.Response:
        return web.json_response({"name": "sd15", "parameters": [*self.parameters]})

    async def _workers(self, _: web.Request) -> web.Response:
        return web.json_response({"workers": [{"id": "gpu0", "state": "idle"}]})

    async def _order(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers["Idempotency-Key"])
        return await self.answer(self, request)

    async def _found(self, request: web.Request) -> web.Response:
        if self.gone and request.transport is not None:
            request.transport.abort()
        filters = {name[9:-1]: wanted for name, wanted in request.query.items() if name.startswith("metadata[")}
        found = [job for job in self.jobs.values() if filters.items() <= job["metadata"].items()][::-1]
        return web.json_response({"jobs": found, "next_cursor": None})

    async def _job(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["id"])
        return refused(404, "not_found") if job is None else web.json_response(job)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        job = self.jobs.get(request.match_info["id"])
        if job is None:
            return refused(404, "not_found")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        self.followed.set()
        if job["completed_at"] is None:
            await self.ending.wait()
        return response

    async def _cancel(self, request: web.Request) -> web.Response:
        if self.cancel_answer is not None:
            return await self.cancel_answer(self, request)
        return web.json_response(self.end(request.match_info["id"]))

    def end(self, job_id: str) -> dict[str, Any]:
        """The job, canceled."""
        self.canceled.append(job_id)
        self.jobs[job_id] |= {"status": "canceled", "completed_at": AT}
        self.ending.set()
        return self.jobs[job_id]

    async def _nothing(self, _: web.Request) -> web.Response:
        return refused(404, "not_found")

    async def _upload(self, request: web.Request) -> web.Response:
        await request.post()
        return web.json_response({"id": "01a1fde9-37cb-72d1-b2e9-51d7b311338d"})

    async def _content(self, request: web.Request) -> web.Response:
        return web.Response(body=b"picture") if self.content is None else await self.content(self, request)


class Remarks(io.StringIO):
    """What is told on stderr; `heard` once it says what is waited for."""

    def __init__(self, waited_for: str) -> None:
        super().__init__()
        self.waited_for, self.heard = waited_for, asyncio.Event()

    def write(self, text: str, /) -> int:
        written = super().write(text)
        if self.waited_for in self.getvalue():
            self.heard.set()
        return written
