"""The gateway as the commands see it: one method a thing to ask for.

Connections that fail after the gateway was met once are tried again for a while, because a gateway that is restarted is
back within seconds. What orders something carries an idempotency key, so that trying again orders nothing twice.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import quote

import aiohttp
import orjson

from gateway.cli import connection, failures, shapes, sse

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0
_SILENCE_SECONDS = 45.0  #: a stream says something every 15 seconds
_PATIENCE_SECONDS = 20.0  #: how long a gateway that was met before may be away
LATER = frozenset({502, 503, 504})  #: statuses that pass
_PAGE = 100
_CHUNK = 1 << 18
_ADDED = ("name", "version", "workers", "runnable", "lacking")  #: what is told of a template that was added
_ALIAS = ("alias", "version", "candidate", "share")
_PAUSE = ("kind", "name", "running", "empty")
_JOB = ("id", "status")  #: what every job has

T = TypeVar("T")


@asynccontextmanager
async def connect(url: str, api_key: str | None = None) -> AsyncGenerator[Gateway]:
    """A client of the gateway at this URL. Nothing is sent yet."""
    base = connection.base(url)
    headers = {"User-Agent": "comfy-gateway-cli", **(connection.authorization(url, api_key) if api_key else {})}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_ANSWER_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as session:
        yield Gateway(session, base)


class Gateway:
    """A running gateway."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._met = False
        self.base = base

    # Templates.

    async def templates(self) -> Mapping[str, Any]:
        """All templates, and the broken files."""
        return await self._get("/v1/templates", "templates", "broken")

    async def template(self, name: str) -> shapes.Template:
        """One template with its parameters."""
        return shapes.Template.of(await self._get(_template(name), "name", "parameters"))

    async def preflight(self, name: str) -> Mapping[str, Any]:
        """A template checked against every worker."""
        return await self._get(f"{_template(name)}/preflight", "workers")

    async def add_template(
        self, name: str, parts: Sequence[tuple[str, str, bytes]], *, replace: bool
    ) -> Mapping[str, Any]:
        """Add a template, or replace one. `parts`: field, file name and bytes of each part of the form."""
        form = aiohttp.FormData()
        for field, file_name, data in parts:
            form.add_field(field, data, filename=file_name, content_type="application/octet-stream")
        if replace:
            return self._json(await self._ask("PUT", _template(name), data=form, again=False), *_ADDED)
        answer = await self._ask("POST", "/v1/templates", params={"name": name}, data=form, again=False)
        return self._json(answer, *_ADDED)

    async def remove_template(self, name: str) -> None:
        """Remove a template that was added."""
        await self._ask("DELETE", _template(name))

    async def template_versions(self, name: str) -> Mapping[str, Any]:
        """A template's versions and aliases."""
        return await self._get(f"{_template(name)}/versions", "versions", "aliases", "serves")

    async def move_alias(self, name: str, alias: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Point an alias to a version."""
        return await self._put(_alias(name, alias), body, *_ALIAS)

    async def remove_alias(self, name: str, alias: str) -> None:
        """Remove an alias."""
        await self._ask("DELETE", _alias(name, alias))

    async def roll_back(self, name: str, alias: str) -> Mapping[str, Any]:
        """Take back an alias' last move."""
        return await self._post(f"{_alias(name, alias)}/rollback", None, *_ALIAS)

    async def offer(self, name: str, alias: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give a candidate a share of an alias' orders."""
        return await self._put(f"{_alias(name, alias)}/candidate", body, *_ALIAS)

    async def withdraw(self, name: str, alias: str) -> Mapping[str, Any]:
        """Give the candidate no orders any more."""
        return self._json(await self._ask("DELETE", f"{_alias(name, alias)}/candidate"), *_ALIAS)

    # Orders.

    async def order_template(
        self, name: str, inputs: Mapping[str, Any], about: Mapping[str, Any], *, key: str | None = None
    ) -> shapes.Job:
        """Order one job of a template. `about` holds metadata and priority."""
        body = {"inputs": dict(inputs), **about}
        return shapes.Job.of(await self._post(f"{_template(name)}/jobs", body, *_JOB, key=key))

    async def order_workflow(self, workflow: Any, about: Mapping[str, Any], key: str | None = None) -> shapes.Job:
        """Order one job of an API-format graph."""
        return shapes.Job.of(await self._post("/api/v2/jobs", {"workflow": workflow, **about}, *_JOB, key=key))

    async def order_copies(
        self, name: str, inputs: Mapping[str, Any], about: Mapping[str, Any], *, n: int, key: str | None = None
    ) -> Sequence[str]:
        """Order one template n times, with the seeds seed, seed + 1, …: all or none. Returns the jobs' ids."""
        body = {"template": name, "inputs": dict(inputs), "n": n, **about}
        return [str(job) for job in (await self._post("/v1/batches", body, "job_ids", key=key))["job_ids"]]

    # Jobs.

    async def job(self, job_id: str) -> shapes.Job:
        """A job as it is now."""
        return shapes.Job.of(await self._get(f"/api/v2/jobs/{_part(job_id)}", *_JOB))

    async def placement(self, job_id: str) -> Mapping[str, Any]:
        """Why a job waits, or ran where it did."""
        return await self._get(f"/v1/jobs/{_part(job_id)}/placement", "status", "reason")

    async def jobs(self, filters: Mapping[str, str], *, limit: int) -> AsyncIterator[shapes.Job]:
        """Jobs, newest first."""
        cursor: str | None = None
        while limit > 0:
            page = {**filters, "limit": str(min(limit, _PAGE)), **({"cursor": cursor} if cursor else {})}
            answer = await self._get("/api/v2/jobs", "jobs", params=page)
            for item in answer["jobs"]:
                yield shapes.Job.of(item)
            limit -= len(answer["jobs"])
            cursor = answer.get("next_cursor")
            if not cursor:
                return

    async def cancel(self, job_id: str) -> shapes.Job:
        """Ask for a job's end."""
        return shapes.Job.of(await self._post(f"/api/v2/jobs/{_part(job_id)}/cancel", None, *_JOB))

    async def cancel_queue(self, wish: Mapping[str, Any]) -> Mapping[str, Any]:
        """Cancel everything that is queued; how many jobs this met."""
        return await self._post("/v1/queue/cancel", wish, "canceled", "canceling")

    async def pauses(self) -> Sequence[Mapping[str, Any]]:
        """What is paused."""
        return (await self._get("/v1/queue/pauses", "pauses"))["pauses"]

    async def pause(self, wish: Mapping[str, Any]) -> Mapping[str, Any]:
        """Pause something; the pause."""
        return await self._post("/v1/queue/pause", wish, *_PAUSE)

    async def resume(self, wish: Mapping[str, Any]) -> None:
        """End a pause."""
        headers = {"Content-Type": "application/json"}
        await self._ask("POST", "/v1/queue/resume", data=orjson.dumps(wish), headers=headers)

    async def prioritize(self, job_id: str, priority: int) -> shapes.Job:
        """Change a queued job's priority."""
        headers = {"Content-Type": "application/json"}
        path = f"/v1/jobs/{_part(job_id)}"
        answer = await self._ask("PATCH", path, data=orjson.dumps({"priority": priority}), headers=headers)
        return shapes.Job.of(self._json(answer, *_JOB))

    async def retry(self, job_id: str) -> shapes.Job:
        """Order an ended job again."""
        return shapes.Job.of(await self._post(f"/v1/jobs/{_part(job_id)}/retry", None, *_JOB))

    async def cancel_batch(self, batch_id: str) -> Mapping[str, Any]:
        """Cancel what has not ended of a batch; the batch."""
        return await self._post(f"/v1/batches/{_part(batch_id)}/cancel", None, "counts")

    async def events(self, job_id: str) -> AsyncIterator[sse.Event]:
        """A job's live stream, until the gateway ends it. Unreachable when it breaks."""
        decoder = sse.Decoder()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS)
        try:
            async with self._session.get(
                f"{self.base}/api/v2/jobs/{_part(job_id)}/events",
                headers={"Accept": "text/event-stream"},
                timeout=timeout,
            ) as response:
                await _refuse(response)
                async for chunk in response.content.iter_any():
                    for event in decoder.feed(chunk):
                        yield event
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error, sent=True) from None

    # Assets.

    async def has_bytes(self, content_hash: str) -> bool:
        """Whether these bytes are there already."""
        try:
            await self._ask("HEAD", f"/api/v2/assets/by-hash/{content_hash}")
        except failures.Refused as refused:
            if refused.http_status == 404:
                return False
            raise
        return True

    async def mint(self, content_hash: str, file_path: str) -> str:
        """An asset over bytes that are there already. Returns its id."""
        body = {"hash": content_hash, "file_path": file_path, "tags": ["input"]}
        return str((await self._post("/api/v2/assets/from-hash", body, "id"))["id"])

    async def upload(self, path: Path, *, file_path: str, content_type: str, content_hash: str) -> str:
        """Upload a file. Returns its asset's id. Bytes that come twice are kept once."""

        async def attempt() -> bytes:
            with path.open("rb") as file:
                form = aiohttp.FormData()
                form.add_field("content_type", content_type)
                form.add_field("file_path", file_path)
                form.add_field("expected_hash", content_hash)
                form.add_field("tags", "input")
                form.add_field("file", file, filename=file_path, content_type=content_type)
                timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
                return await self._once("POST", "/api/v2/assets", data=form, timeout=timeout)

        return str(self._json(await self._patiently(attempt, harmless=True), "id")["id"])

    async def download(self, asset_id: str, path: Path) -> None:
        """Write an asset's bytes to a file; a connection that breaks is a reason to begin anew."""
        await self._patiently(lambda: self._downloaded(asset_id, path), harmless=True)

    async def _downloaded(self, asset_id: str, path: Path) -> None:
        try:
            async with self._session.get(f"{self.base}/api/v2/assets/{_part(asset_id)}/content") as response:
                await _refuse(response)
                with path.open("wb") as file:
                    async for chunk in response.content.iter_chunked(_CHUNK):
                        file.write(chunk)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error, sent=True) from None

    # Workers.

    async def workers(self) -> Sequence[Mapping[str, Any]]:
        """All workers."""
        return (await self._get("/v1/workers", "workers"))["workers"]

    async def add_worker(self, url: str, *, worker_id: str | None, depth: int) -> Mapping[str, Any]:
        """Take a ComfyUI into use."""
        body = {"url": url, "depth": depth, **({"id": worker_id} if worker_id else {})}
        return await self._post("/v1/workers", body, "id", "state")

    async def remove_worker(self, worker_id: str, *, drain: bool) -> Mapping[str, Any] | None:
        """Remove a worker; the worker when it finishes something first."""
        answer = await self._ask(
            "DELETE", f"/v1/workers/{_part(worker_id)}", params={"drain": "true" if drain else "false"}
        )
        return orjson.loads(answer) if answer else None

    # Webhooks.

    async def deliveries(self, filters: Mapping[str, str], *, limit: int) -> AsyncIterator[Mapping[str, Any]]:
        """Webhook deliveries, newest first."""
        cursor: str | None = None
        while limit > 0:
            page = {**filters, "limit": str(min(limit, _PAGE)), **({"cursor": cursor} if cursor else {})}
            answer = await self._get("/v1/webhooks/deliveries", "deliveries", params=page)
            for item in answer["deliveries"]:
                yield item
            limit -= len(answer["deliveries"])
            cursor = answer.get("next_cursor")
            if not cursor:
                return

    async def delivery(self, delivery_id: str) -> Mapping[str, Any]:
        """One webhook delivery."""
        return await self._get(f"/v1/webhooks/deliveries/{_part(delivery_id)}", "id")

    async def redeliver(self, delivery_id: str) -> Mapping[str, Any]:
        """Tell it again."""
        return await self._post(f"/v1/webhooks/deliveries/{_part(delivery_id)}/redeliver", None, "id")

    # The wire.

    async def _get(self, path: str, *has: str, params: Mapping[str, str] | None = None) -> Any:
        return self._json(await self._ask("GET", path, params=params), *has)

    async def _post(self, path: str, body: Mapping[str, Any] | None = None, *has: str, key: str | None = None) -> Any:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key or str(uuid.uuid4())}
        data = None if body is None else orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)
        return self._json(await self._ask("POST", path, data=data, headers=headers), *has)

    async def _put(self, path: str, body: Mapping[str, Any], *has: str) -> Any:
        headers = {"Content-Type": "application/json"}
        return self._json(await self._ask("PUT", path, data=orjson.dumps(body), headers=headers), *has)

    def _json(self, data: bytes, *has: str) -> Any:
        """The object in an answer; one that has not what a gateway says is of somebody else."""
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise self._stranger() from None
        if not isinstance(found, dict) or any(name not in found for name in has):
            raise self._stranger()
        return cast("dict[str, Any]", found)

    def _stranger(self) -> failures.Unreachable:
        return failures.Unreachable(f"what answers at {self.base} is not a gateway", way_out="check --url")

    async def _ask(self, method: str, path: str, *, again: bool = True, **more: Any) -> bytes:
        """One request. Connections that fail are tried again where that can do no harm."""
        if not again:
            return await self._once(method, path, **more)
        return await self._patiently(lambda: self._once(method, path, **more), harmless=method != "POST")

    async def _patiently(self, attempt: Callable[[], Awaitable[T]], *, harmless: bool) -> T:
        """What comes of it, for a while again and again while a gateway that was met before is away.

        `harmless`: it may be done twice, so that one may have arrived.
        """
        met, until = self._met, math.inf
        while True:
            try:
                return await attempt()
            except (failures.Unreachable, failures.Refused) as error:
                if not met or not _passes(error, harmless=harmless) or time.monotonic() > until:
                    raise
                until = min(until, time.monotonic() + _PATIENCE_SECONDS)
            await asyncio.sleep(0.25)

    async def _once(self, method: str, path: str, **more: Any) -> bytes:
        try:
            async with self._session.request(method, self.base + path, allow_redirects=False, **more) as response:
                await _refuse(response)
                self._met = True
                return await response.read()
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(error, sent=False) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error, sent=True) from None

    def _unreachable(self, error: Exception, *, sent: bool) -> failures.Unreachable:
        if isinstance(error, aiohttp.ClientConnectorError):
            reason, way_out = (
                _reason(error),
                "start one with `comfy-gateway up --simulate 2`, or say where it is: --url",
            )
        elif isinstance(error, TimeoutError):
            reason, way_out = "it does not answer", "see the gateway's log"
        else:
            reason, way_out = f"the connection broke ({error or type(error).__name__})", "see the gateway's log"
        return failures.Unreachable(f"no gateway at {self.base}: {reason}", way_out=way_out, sent=sent)


def _passes(error: failures.Unreachable | failures.Refused, *, harmless: bool) -> bool:
    """Whether to ask again: it stops, or starts, or its store is away for a moment."""
    if isinstance(error, failures.Unreachable):
        return harmless or not error.sent
    return harmless and error.http_status in LATER


def _part(name: str) -> str:
    """A name as one part of a path."""
    if name in {"", ".", ".."}:
        raise failures.Wrong(f"{name!r} is no name")
    return quote(name, safe="")


def _template(name: str) -> str:
    return f"/v1/templates/{_part(name)}"


def _alias(name: str, alias: str) -> str:
    return f"{_template(name)}/aliases/{_part(alias)}"


def _reason(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error.os_error, ConnectionRefusedError):
        return "the connection was refused"
    return error.os_error.strerror or str(error)


async def _refuse(response: aiohttp.ClientResponse) -> None:
    """Refused when the answer is an error."""
    if response.status < 300:
        return
    body = await response.read()
    try:
        answer = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        answer = {}
    later = response.headers.get("Retry-After", "")
    raise failures.Refused(
        response.status,
        answer if isinstance(answer, dict) else {},
        retry_after=float(later) if later.isdecimal() else None,
    )
