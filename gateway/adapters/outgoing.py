"""Requests to addresses that clients choose (decision 13 of the design): one client, guarded where it connects.

A name is resolved once for a connection, every address it has is judged, and the connection goes to one that was
allowed: what a name server says a moment later does not matter, and neither does the notation (`127.1`, `0x7f000001`,
`2130706433` resolve like names). Certificates are checked against the name. Redirects are not followed, answers are
read up to a limit, and everything together has a time limit. Proxies of the environment are not used: they would
resolve names themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import ipaddress
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, cast

import httpcore
import httpx

from gateway import ports
from gateway.domain import deliveries, errors, targets

ANSWER_BYTES: Final = (
    64 * 1024
)  #: of an answer's body; nobody reads it, but a connection that was read can be used again
DRAIN_SECONDS: Final = 2.0
ADDRESSES: Final = 4  #: of one name that are tried
IDLE_SECONDS: Final = 30.0
_UNREACHABLE: Final = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]  #: a name's addresses as text; OSError


class Outgoing:
    """`ports.Outgoing` over httpx."""

    def __init__(self, allowed: targets.Targets, *, clock: ports.Clock, resolve: Resolve | None = None) -> None:
        backend = _Guarded(allowed, resolve or _resolve)
        pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=None,  # who sends bounds how many there are
            max_keepalive_connections=16,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=backend,
        )
        self._clock = clock
        self._client = httpx.AsyncClient(transport=_Transport(pool), trust_env=False, timeout=None, headers={})  # noqa: S113 - `asyncio.timeout` bounds all of it

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes, seconds: float) -> deliveries.Answer:
        """POST and read the answer's status; TargetRefused, TargetUnreachable."""
        try:
            async with (
                asyncio.timeout(seconds),
                self._client.stream("POST", url, headers=dict(headers), content=body) as response,
            ):
                await _drain(response)
                return deliveries.Answer(
                    status=response.status_code,
                    retry_after=_seconds(response.headers.get("retry-after"), now=self._clock()),
                )
        except TimeoutError:
            raise errors.TargetUnreachable(f"There was no answer in {seconds:g} seconds.") from None
        except _UNREACHABLE as error:
            raise errors.TargetUnreachable(_why(error)) from error

    async def close(self) -> None:
        """Drop all connections."""
        await self._client.aclose()


async def _drain(response: httpx.Response) -> None:
    """Read the body as far as that is cheap. The answer is known without it, so nothing that goes wrong here counts."""
    size = 0
    with contextlib.suppress(TimeoutError, *_UNREACHABLE):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for chunk in response.aiter_raw():
                size += len(chunk)
                if size > ANSWER_BYTES:
                    return


def _why(error: Exception) -> str:
    text = str(error).strip()
    return f"The connection failed: {text[:300]}." if text else f"The connection failed ({type(error).__name__})."


def _seconds(retry_after: str | None, *, now: float) -> float | None:
    """`Retry-After` in seconds from now: a number or a date; None for anything else."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connects only to addresses that were judged."""

    def __init__(self, allowed: targets.Targets, resolve: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._inner = cast(httpcore.AsyncNetworkBackend, httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first allowed address of this host that answers."""
        failed: Exception | None = None
        for address in await self._judged(host, port):
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:
                failed = error
        raise failed or errors.TargetUnreachable(f"{host} has no address.")

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Never."""
        raise errors.TargetRefused("Nothing is sent to sockets of this machine.")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def _judged(self, host: str, port: int) -> Sequence[str]:
        """The addresses of this host that may be reached; TargetRefused when there are only others."""
        try:
            found = list(dict.fromkeys(await self._resolve(host, port)))
        except (OSError, UnicodeError) as error:
            raise errors.TargetUnreachable(f"The name {host} cannot be resolved: {error}.") from None
        refusals = {each: self._allowed.refusal(ipaddress.ip_address(each.partition("%")[0])) for each in found}
        allowed = [each for each, refusal in refusals.items() if refusal is None]
        if found and not allowed:
            raise errors.TargetRefused(f"Nothing is sent to {host}: {refusals[found[0]]}, which is not allowed here.")
        return allowed[:ADDRESSES]


async def _resolve(host: str, port: int) -> Sequence[str]:
    """The system's resolver, on a thread of its own: a name server that hangs holds up nobody else, and no exit."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Sequence[str]] = loop.create_future()

    def settle(addresses: Sequence[str] | None, error: Exception | None) -> None:
        if found.done():
            return
        if error is not None:
            found.set_exception(error)
        else:
            found.set_result(addresses or ())

    def look() -> None:
        addresses: Sequence[str] | None = None
        failed: Exception | None = None
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
            addresses = [str(info[4][0]) for info in infos]
        except (OSError, UnicodeError) as error:
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, addresses, failed)

    threading.Thread(target=look, name="resolve", daemon=True).start()
    return await found


class _Transport(httpx.AsyncBaseTransport):
    """httpx over a connection pool of our own: httpx has no way to say how connections are made."""

    def __init__(self, pool: httpcore.AsyncConnectionPool) -> None:
        self._pool = pool

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        stream = cast(AsyncIterator[bytes], answer.stream)
        return httpx.Response(status_code=answer.status, headers=answer.headers, stream=_Body(stream))

    async def aclose(self) -> None:
        """Drop all connections."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    """An answer's body as httpx takes it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        """Give the connection back, or close it when it was not read to its end."""
        await self._stream.aclose()
