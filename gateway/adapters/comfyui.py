"""One ComfyUI over its own HTTP and websocket API (the WorkerClient port).

Facts this file rests on, each recorded from a real server (tests/fixtures/wire):

- `POST /prompt` takes our prompt id. A 4xx is a definite no. A 5xx is not: a prompt may be queued although the answer
  was 500, so it counts as unknown.
- Newer servers cancel one prompt atomically (`POST /api/jobs/{id}/cancel`, which for an unknown id does nothing).
  Older ones know `/queue {"delete"}` for what waits and `/interrupt {"prompt_id"}` for what runs. Between the two a
  prompt can begin to run, so the interrupt comes second. It checks and then acts: what runs next could be hit when the
  prompt ends between the two, so nothing of ours may wait behind it (depth 1), and only what runs right now is
  interrupted. Nothing global is ever called: a worker may have other users.
- A socket that is not read stops everybody's frames on that server, so whoever listens must always drain.
- The feature-flags handshake must be the first message; it makes previews carry their node's id.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson
import websockets
from websockets.asyncio.client import ClientConnection, connect

from gateway.domain import errors
from gateway.domain.comfy import answers, frames, history

_CONNECT_SECONDS: Final = 5.0
_PING_SECONDS: Final = 20.0
_CHUNK: Final = 256 * 1024
_NOBODYS: Final = "00000000-0000-4000-8000-000000000000"  #: an id that no prompt has
_FREE_ALL: Final = orjson.dumps({"unload_models": True, "free_memory": True})
_HELLO: Final = orjson.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds to wait for a worker's answers. `submit` is what a worker's lease has to outlast."""

    answer: float = 15.0
    submit: float = 30.0
    object_info: float = 120.0  #: some disks need over a minute to list their models
    transfer_idle: float = 60.0  #: between two chunks of a file


class ComfyClient:
    """The WorkerClient of one URL. Build it inside a running event loop."""

    def __init__(self, url: str, *, timeouts: Timeouts | None = None) -> None:
        self.url = url.rstrip("/")
        self._timeouts = timeouts or Timeouts()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=64, ttl_dns_cache=30),
            timeout=aiohttp.ClientTimeout(total=self._timeouts.answer, sock_connect=_CONNECT_SECONDS),
            json_serialize=lambda value: orjson.dumps(value).decode(),
        )
        self._cancels_atomically: bool | None = None

    async def facts(self) -> answers.WorkerFacts:
        """`GET /system_stats`."""
        return answers.parse_system_stats(await self._get("/system_stats"))

    async def object_info(self) -> Mapping[str, object]:
        """`GET /object_info`; WorkerFault when it is not an object."""
        info = await self._get("/object_info", timeout=self._timeouts.object_info)
        if not isinstance(info, dict) or not info:
            raise errors.WorkerFault("GET /object_info did not answer with node classes")
        return info

    async def submit(self, graph: bytes, *, prompt_id: str, client_id: str, secret: str | None) -> answers.Accepted:
        """`POST /prompt`; WorkerRefused carries ComfyUI's error body."""
        extra = {"api_key_comfy_org": secret} if secret else {}
        rest = orjson.dumps({"prompt_id": prompt_id, "client_id": client_id, "extra_data": extra})
        body = b'{"prompt":' + graph + b"," + rest[1:]
        answer = await self._call("POST", "/prompt", body=body, timeout=self._timeouts.submit)
        return answers.parse_accepted(answer)

    async def queue(self) -> answers.QueueSnapshot:
        """`GET /queue`."""
        return answers.parse_queue(await self._get("/queue"))

    async def history(self, prompt_id: str) -> history.HistoryEntry | None:
        """`GET /history/{prompt_id}`."""
        return history.parse_entry(await self._get(f"/history/{prompt_id}"), prompt_id)

    async def cancel(self, prompt_id: str) -> None:
        """Cancel one prompt, atomically where the server can; that it was accepted is no proof that it stopped."""
        if self._cancels_atomically is not False and await self._cancel_atomically(prompt_id):
            return
        await self.withdraw(prompt_id)
        if prompt_id in (await self.queue()).running:
            await self._call("POST", "/interrupt", body=orjson.dumps({"prompt_id": prompt_id}))

    async def withdraw(self, prompt_id: str) -> None:
        """`POST /queue {"delete"}`: every server does it under the lock with which it takes its next prompt, so what
        has begun runs on, and what has not never begins (recording 10). The answer does not tell which."""
        await self._call("POST", "/queue", body=orjson.dumps({"delete": [prompt_id]}))

    async def cancels_atomically(self) -> bool:
        """Whether this server can stop one prompt without any risk for the next. Asks anew: it may be another version
        than before."""
        return await self._cancel_atomically(_NOBODYS)

    async def _cancel_atomically(self, prompt_id: str) -> bool:
        """Cancel by the newer route; False when this server has none."""
        try:
            await self._call("POST", f"/api/jobs/{prompt_id}/cancel", body=b"")
        except errors.WorkerRefused as refused:
            if refused.http_status not in {404, 405}:
                raise
            self._cancels_atomically = False
        else:
            self._cancels_atomically = True
        return self._cancels_atomically

    async def forget(self, prompt_ids: Sequence[str]) -> None:
        """`POST /history {"delete"}`: drop these entries, and no others."""
        await self._call("POST", "/history", body=orjson.dumps({"delete": list(prompt_ids)}))

    async def free(self) -> None:
        """`POST /free`: models and results are dropped between two prompts. One that comes right after a prompt can be
        lost until the next has ended (recording 30): whoever needs it says it again a moment later."""
        await self._call("POST", "/free", body=_FREE_ALL)

    async def log(self) -> tuple[answers.LogLine, ...]:
        """`GET /internal/logs/raw`: the newest lines that it printed; none when this server does not show them."""
        try:
            return answers.parse_log(await self._get("/internal/logs/raw"))
        except errors.WorkerRefused:
            return ()

    async def view(self, file: history.OutputFile) -> AsyncGenerator[bytes, None]:
        """`GET /view` in chunks; NotFound when the file is gone."""
        query = {"filename": file.filename, "subfolder": file.subfolder, "type": file.folder}
        patience = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=self._timeouts.transfer_idle
        )
        with self._foreign_errors("GET /view"):
            async with self._session.get(f"{self.url}/view", params=query, timeout=patience) as response:
                if response.status == 404:
                    raise errors.NotFound(f"{file.path} is gone from the worker")
                if response.status != 200:
                    raise errors.WorkerFault(f"GET /view of {file.path} answered {response.status}")
                async for chunk in response.content.iter_chunked(_CHUNK):
                    yield chunk

    async def upload(self, name: str, chunks: AsyncIterator[bytes]) -> str:
        """`POST /upload/image` into the input folder, overwriting: names are made from content, so the same name is
        the same bytes. Returns the name that loader nodes take, subfolder included."""
        source = _Source(chunks)
        form = aiohttp.FormData()
        form.add_field("image", source.chunks(), filename=name, content_type="application/octet-stream")
        form.add_field("overwrite", "true")
        form.add_field("type", "input")
        form.add_field("subfolder", "gateway")
        patience = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=self._timeouts.transfer_idle
        )
        with source.own_error(), self._foreign_errors("POST /upload/image"):
            async with self._session.post(f"{self.url}/upload/image", data=form, timeout=patience) as response:
                answer = self._read("POST /upload/image", response.status, await response.read())
        if not isinstance(answer, dict) or not isinstance(answer.get("name"), str):
            raise errors.WorkerFault("POST /upload/image did not answer with a name")
        subfolder = answer.get("subfolder")
        return f"{subfolder}/{answer['name']}" if subfolder else answer["name"]

    def listen(self, client_id: str) -> AbstractAsyncContextManager[Socket]:
        """Connect `/ws` and say hello."""
        return _listen(self.url, client_id)

    async def close(self) -> None:
        """Drop all connections."""
        await self._session.close()

    async def _get(self, path: str, *, timeout: float | None = None) -> Any:
        return await self._call("GET", path, timeout=timeout)

    async def _call(self, method: str, path: str, *, body: bytes | None = None, timeout: float | None = None) -> Any:
        headers = {"Content-Type": "application/json"} if body is not None else None
        patience = aiohttp.ClientTimeout(total=timeout or self._timeouts.answer, sock_connect=_CONNECT_SECONDS)
        with self._foreign_errors(f"{method} {path}"):
            async with self._session.request(
                method, f"{self.url}{path}", data=body, headers=headers, timeout=patience
            ) as response:
                return self._read(f"{method} {path}", response.status, await response.read())

    @staticmethod
    def _read(what: str, status: int, content: bytes) -> Any:
        """The parsed answer; raises by its status."""
        try:
            answer: Any = orjson.loads(content) if content else None
        except orjson.JSONDecodeError:
            answer = None
        if 200 <= status < 300:
            return answer
        body = answer if isinstance(answer, dict) else {}
        if 400 <= status < 500:
            raise errors.WorkerRefused(answers.refusal(body or {"error": status}), http_status=status, body=body)
        raise errors.WorkerFault(f"{what} answered {status}")

    @contextlib.contextmanager
    def _foreign_errors(self, what: str):
        """Map aiohttp's errors at the border."""
        try:
            yield
        except TimeoutError:
            raise errors.WorkerUnreachable(f"{self.url} did not answer {what} in time") from None
        except aiohttp.ClientConnectorError as error:
            raise errors.WorkerUnreachable(f"{self.url} {_no_way(error.os_error)}", refused=True) from error
        except (aiohttp.ClientError, OSError) as error:
            raise errors.WorkerUnreachable(f"{self.url} cannot be reached ({what}: {_brief(error)})") from error


class _Source:
    """What is sent. aiohttp takes an error of the source for one of the connection: this keeps them apart."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._error: errors.GatewayError | None = None

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in self._chunks:
                yield chunk
        except errors.GatewayError as error:
            self._error = error
            raise

    @contextlib.contextmanager
    def own_error(self):
        """Raise the source's own error instead of what became of it."""
        try:
            yield
        except errors.WorkerError:
            if self._error is not None:
                raise self._error from None
            raise


class Socket:
    """An open websocket; iterate to drain it."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def __aiter__(self) -> AsyncIterator[frames.Frame]:
        try:
            async for message in self._connection:
                if isinstance(message, str):
                    yield frames.decode_text(_loads(message))
                else:
                    yield frames.decode_binary(message, _loads)
        except (websockets.ConnectionClosed, OSError) as error:
            raise errors.WorkerUnreachable(f"the websocket broke ({_brief(error)})") from error


@asynccontextmanager
async def _listen(url: str, client_id: str) -> AsyncGenerator[Socket, None]:
    parts = urlsplit(url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    address = f"{scheme}://{parts.netloc}{parts.path}/ws?clientId={client_id}"
    try:
        connection = await connect(
            address,
            open_timeout=_CONNECT_SECONDS,
            ping_interval=_PING_SECONDS,
            ping_timeout=_PING_SECONDS,
            close_timeout=1,
            max_size=None,
            max_queue=256,
            compression=None,
        )
    except (TimeoutError, OSError, websockets.WebSocketException) as error:
        raise errors.WorkerUnreachable(f"{url} refuses the websocket ({_brief(error)})") from error
    try:
        with contextlib.suppress(websockets.ConnectionClosed):
            await connection.send(_HELLO)
        yield Socket(connection)
    finally:
        with contextlib.suppress(asyncio.CancelledError, OSError, websockets.WebSocketException):
            await connection.close()


def _loads(data: str | bytes) -> object:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _no_way(error: OSError) -> str:
    """Why there is no connection, without errno and addresses."""
    if isinstance(error, ConnectionRefusedError):
        return "refused the connection"
    return f"cannot be reached ({error.strerror or _brief(error)})"


def _brief(error: BaseException) -> str:
    return str(error) or type(error).__name__
