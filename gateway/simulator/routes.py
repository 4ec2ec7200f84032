"""HTTP: one table of routes, each also under `/api`, with ComfyUI's statuses and bodies.

An unknown path answers 404 to a GET and 405 to anything else, because a real server has its web page's files
mounted at the root.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from aiohttp import web

from gateway.simulator import about, faults, transfers, wire, worklog
from gateway.simulator.accepting import UUID, Acceptance
from gateway.simulator.answers import json_response, raw_json
from gateway.simulator.catalog import Catalog
from gateway.simulator.control import Control
from gateway.simulator.execution import Executor
from gateway.simulator.files import Files
from gateway.simulator.jobs_api import BadQuery, JobsApi
from gateway.simulator.options import Card, Options
from gateway.simulator.prompt_queue import Entry, PromptQueue
from gateway.simulator.sockets import Socket, Sockets
from gateway.simulator.validation import Validator

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
#: What a handler of a real server stumbles over, and answers 500 to.
_STUMBLES = (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError, OSError)
_JOBS_PREFIX = "/jobs"


class ConnectionLost(Exception):
    """A scripted fault: the connection is cut instead of an answer."""


class Routes:
    """All that is answered over HTTP."""

    def __init__(
        self,
        *,
        options: Options,
        card: Card,
        catalog: Catalog,
        validator: Validator,
        files: Files,
        queue: PromptQueue,
        sockets: Sockets,
        executor: Executor,
        script: faults.Script,
        log: worklog.WorkLog,
    ) -> None:
        self._options = options
        self._card = card
        self._catalog = catalog
        self._acceptance = Acceptance(options, validator)
        self._files = files
        self._queue = queue
        self._sockets = sockets
        self._executor = executor
        self._script = script
        self._worklog = log
        self._jobs = JobsApi(queue, executor)
        self._info: bytes | None = None
        self._max_body = int(options.max_upload_mb * 1024 * 1024)
        self._table: dict[str, dict[str, Handler]] = {
            "/ws": {"GET": self._ws},
            "/prompt": {"GET": self._get_prompt, "POST": self._post_prompt},
            "/queue": {"GET": self._get_queue, "POST": self._post_queue},
            "/history": {"GET": self._get_history, "POST": self._post_history},
            "/interrupt": {"POST": self._post_interrupt},
            "/free": {"POST": self._post_free},
            "/view": {"GET": self._view},
            "/upload/image": {"POST": self._upload_image},
            "/upload/mask": {"POST": self._upload_mask},
            "/object_info": {"GET": self._object_info},
            "/models": {"GET": self._models},
            "/embeddings": {"GET": self._embeddings},
            "/extensions": {"GET": self._extensions},
            "/features": {"GET": self._features},
            "/system_stats": {"GET": self._system_stats},
            "/internal/logs/raw": {"GET": self._logs},
            **Control(options.name, script, log).table,
        }

    def make_request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        """Make a request that takes bodies up to the upload limit."""
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=self._max_body)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if _is_foreign(request):
            return web.Response(status=403)
        path = request.path
        is_api = path.startswith("/api/")
        if is_api:
            path = path[4:]
        try:
            if self._script and not path.startswith("/simulator"):
                await self._strike(path)
            return await self._dispatch(request, path, is_api=is_api)
        except ConnectionLost:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        except web.HTTPException as answer:
            headers = {
                name: value for name, value in answer.headers.items() if name not in {"Content-Type", "Content-Length"}
            }
            return web.Response(status=answer.status, text=answer.text, headers=headers)
        except _STUMBLES:
            return web.Response(status=500, text="500 Internal Server Error\n\nServer got itself in trouble")

    async def _strike(self, path: str) -> None:
        slow = self._script.request(("slow_http",), path)
        if slow is not None:
            await asyncio.sleep(slow.seconds)
        if path.startswith("/history"):
            slow = self._script.request(("slow_history",), path)
            if slow is not None:
                await asyncio.sleep(slow.seconds)
        fault = self._script.request(("http_error",), path)
        if fault is not None:
            raise _http_error(fault.status)

    async def _dispatch(self, request: web.BaseRequest, path: str, *, is_api: bool) -> web.StreamResponse:
        methods = self._table.get(path)
        if methods is None:
            methods = self._by_prefix(request, path, is_api=is_api)
        method = "GET" if request.method == "HEAD" else request.method
        handler = methods.get(method)
        if handler is not None:
            return await handler(request)
        if request.method == "OPTIONS":
            return web.Response()
        if method == "GET":
            return web.Response(status=404, content_type="application/octet-stream")
        raise web.HTTPMethodNotAllowed(request.method, sorted({"GET", "HEAD", *methods}))

    def _by_prefix(self, request: web.BaseRequest, path: str, *, is_api: bool) -> dict[str, Handler]:
        """Find a route with a part in its path."""
        head, _, rest = path.lstrip("/").partition("/")
        if head == "history" and rest:
            return {"GET": lambda _: self._get_history_of(urllib.parse.unquote(rest))}
        if head == "object_info" and rest:
            return {"GET": lambda _: self._object_info_of(rest)}
        if head == "models" and rest:
            return {"GET": lambda _: self._models_in(rest)}
        if is_api and self._options.has_jobs_api and head == "jobs":
            return self._jobs_route(request)
        if is_api and self._options.is_new and head in ("assets", "tags"):
            return dict.fromkeys(("GET", "POST"), self._assets_disabled)
        return {}

    def _jobs_route(self, request: web.BaseRequest) -> dict[str, Handler]:
        parts = request.rel_url.raw_path.removeprefix("/api/jobs").strip("/").split("/")
        job_id = urllib.parse.unquote(parts[0])
        if parts == [""]:
            return {"GET": self._get_jobs}
        if parts == ["cancel"]:
            return {"POST": self._cancel_jobs, "GET": lambda _: self._get_job("cancel")}
        if len(parts) == 1:
            return {"GET": lambda _: self._get_job(job_id)}
        if len(parts) == 2 and parts[1] == "cancel":
            return {"POST": lambda _: self._cancel_job(job_id)}
        return {}

    # ---- websocket and the state of the queue

    async def _ws(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._sockets.serve(request, self._greet)

    def _greet(self, socket: Socket) -> None:
        status = {"exec_info": {"queue_remaining": len(self._queue)}}
        self._sockets.send("status", {"status": status, "sid": socket.sid}, socket.sid)
        if self._executor.last_node is not None and self._executor.client_id == socket.sid:
            self._sockets.send("executing", {"node": self._executor.last_node}, socket.sid)

    async def _get_prompt(self, request: web.BaseRequest) -> web.Response:
        del request
        return json_response({"exec_info": {"queue_remaining": len(self._queue)}})

    async def _post_prompt(self, request: web.BaseRequest) -> web.Response:
        if self._script and self._script.request(("post_lost_before",), "/prompt") is not None:
            raise ConnectionLost
        body, is_odd = wire.loads(await request.read())
        entry, answer = self._acceptance.accept(body)
        if entry is not None:
            entry.is_odd = is_odd
            self._worklog.received(entry.prompt_id, entry.number)
            self._script.accepted(entry)
            self._queue.put(entry)
            if self._script:
                await self._spoil_answer(entry)
        return answer

    async def _spoil_answer(self, entry: Entry) -> None:
        slow = self._script.find(("slow_post",), entry) or self._script.find(("slow_post",))
        if slow is not None:
            await asyncio.sleep(slow.seconds)
        if self._script.find(("post_lost_after",), entry) is not None:
            raise ConnectionLost

    async def _get_queue(self, request: web.BaseRequest) -> web.Response:
        del request
        running = [entry.listed() for entry in self._queue.running]
        pending = [entry.listed() for entry in self._queue.pending()]
        return self._prompts({"queue_running": running, "queue_pending": pending})

    def _prompts(self, value: Any) -> web.Response:
        """Answer with prompts in it; NaN in them is spelled out, as a real server does."""
        return raw_json(wire.dumps_lenient(value) if self._queue.is_odd else wire.dumps(value))

    async def _post_queue(self, request: web.BaseRequest) -> web.Response:
        body, _ = wire.loads(await request.read())
        if "clear" in body and body["clear"]:  # noqa: RUF019 - the body may be a list
            self._queue.clear()
        if "delete" in body:
            for prompt_id in body["delete"]:
                self._queue.delete(prompt_id)
        return web.Response()

    async def _post_interrupt(self, request: web.BaseRequest) -> web.Response:
        try:
            body, _ = wire.loads(await request.read())
        except ValueError:
            body = {}
        prompt_id = body.get("prompt_id")
        if not prompt_id or self._queue.find_running(prompt_id) is not None:
            self._executor.interrupt()
        return web.Response()

    async def _post_free(self, request: web.BaseRequest) -> web.Response:
        body, _ = wire.loads(await request.read())
        self._executor.free(
            unload=bool(body.get("unload_models", False)),
            forget=bool(body.get("free_memory", False)),
            lost=bool(self._script) and self._script.request(("free_lost",), "/free") is not None,
        )
        return web.Response()

    # ---- history

    async def _get_history(self, request: web.BaseRequest) -> web.Response:
        limit = request.query.get("max_items")
        offset = request.query.get("offset")
        page = self._queue.page(
            int(limit) if limit is not None else None, int(offset) if offset else -1 if offset is None else 0
        )
        return self._prompts(dict(page))

    async def _get_history_of(self, prompt_id: str) -> web.Response:
        record = self._queue.history.get(prompt_id)
        return self._prompts({} if record is None else {prompt_id: record})

    async def _post_history(self, request: web.BaseRequest) -> web.Response:
        body, _ = wire.loads(await request.read())
        if "clear" in body and body["clear"]:  # noqa: RUF019 - the body may be a list
            self._queue.history.clear()
        if "delete" in body:
            for prompt_id in body["delete"]:
                self._queue.history.pop(prompt_id, None)
        return web.Response()

    # ---- files

    async def _view(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._script:
            if self._script.request(("view_missing",), "/view") is not None:
                return web.Response(status=404)
            slow = self._script.request(("slow_view",), "/view")
            if slow is not None:
                await asyncio.sleep(slow.seconds)
        return await transfers.view(request, self._files, is_new=self._options.is_new)

    async def _upload_image(self, request: web.BaseRequest) -> web.Response:
        return await transfers.upload(request, self._files, is_mask=False, limit=self._max_body)

    async def _upload_mask(self, request: web.BaseRequest) -> web.Response:
        return await transfers.upload(request, self._files, is_mask=True, limit=self._max_body)

    # ---- what this worker is and has

    async def _object_info(self, request: web.BaseRequest) -> web.Response:
        del request
        return json_response(self._catalog.entries())

    async def _object_info_of(self, name: str) -> web.Response:
        return json_response({} if self._catalog.get(name) is None else {name: self._catalog.entry(name)})

    async def _models(self, request: web.BaseRequest) -> web.Response:
        del request
        return json_response(list(about.folders(self._options)))

    async def _models_in(self, folder: str) -> web.Response:
        known = {*about.folders(self._options), *self._options.models}
        if folder not in known:
            return web.Response(status=404)
        return json_response(list(self._options.files(folder)))

    async def _embeddings(self, request: web.BaseRequest) -> web.Response:
        del request
        return json_response([name.rsplit(".", 1)[0] for name in self._options.files("embeddings")])

    async def _extensions(self, request: web.BaseRequest) -> web.Response:
        del request
        return json_response([])

    async def _features(self, request: web.BaseRequest) -> web.Response:
        del request
        return json_response(about.features(self._options))

    async def _system_stats(self, request: web.BaseRequest) -> web.Response:
        del request
        return json_response(about.stats(self._options, self._card, sum(self._executor.resident.values())))

    async def _logs(self, request: web.BaseRequest) -> web.Response:
        del request
        entries = [{"t": datetime.fromtimestamp(at).isoformat(), "m": text} for at, text in self._worklog.printed]  # noqa: DTZ006 - local time, as there
        return json_response({"entries": entries, "size": {"cols": 80, "rows": 24}})

    async def _assets_disabled(self, request: web.BaseRequest) -> web.Response:
        del request
        text = "Assets system is disabled. Start the server with --enable-assets to use this feature."
        return json_response({"error": {"code": "SERVICE_DISABLED", "message": text, "details": {}}}, 503)

    # ---- the newer job routes

    async def _get_jobs(self, request: web.BaseRequest) -> web.Response:
        try:
            return json_response(self._jobs.list(request.query))
        except BadQuery as complaint:
            return json_response({"error": str(complaint)}, 400)

    async def _get_job(self, job_id: str) -> web.Response:
        found = self._jobs.get(job_id)
        return json_response({"error": "Job not found"}, 404) if found is None else json_response(found)

    async def _cancel_job(self, job_id: str) -> web.Response:
        return json_response({"cancelled": self._jobs.cancel(job_id)})

    async def _cancel_jobs(self, request: web.BaseRequest) -> web.Response:
        try:
            body, _ = wire.loads(await request.read())
        except ValueError:
            return json_response({"error": "Request body must be valid JSON"}, 400)
        ids = body.get("job_ids") if isinstance(body, dict) else None
        if not isinstance(ids, list):
            return json_response({"error": "job_ids must be a list"}, 400)
        invalid = [str(item) for item in ids if not isinstance(item, str) or not UUID.fullmatch(item)]
        if invalid:
            return json_response({"error": "job_ids contains invalid id(s)", "invalid_ids": invalid}, 400)
        cancelled = [self._jobs.cancel(item) for item in ids]
        return json_response({"cancelled": any(cancelled)})


def _http_error(status: int) -> web.HTTPException:
    error = web.HTTPInternalServerError(text="500 Internal Server Error\n\nServer got itself in trouble")
    error.set_status(status)
    return error


def _is_foreign(request: web.BaseRequest) -> bool:
    """Whether another site's page asks a loopback server."""
    origin = request.headers.get("Origin")
    if origin is None:
        return False
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return True
    host = urllib.parse.urlsplit(f"//{request.headers.get('Host', '').lower()}")
    source = urllib.parse.urlsplit(origin.lower())
    if host.hostname not in ("127.0.0.1", "localhost", "::1") or not source.netloc:
        return False
    if source.port is None or host.port is None:
        return host.hostname != source.hostname
    return host.netloc != source.netloc
