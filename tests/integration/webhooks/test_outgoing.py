"""The guard of outgoing requests over real sockets, and how answers are read."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import time
from collections.abc import AsyncGenerator, Mapping, Sequence

import httpx
import pytest
import respx

from gateway.adapters import outgoing
from gateway.domain import errors, targets
from tests.integration.webhooks.receiver import Receiver, receiving

NOTHING = targets.Targets()
PRIVATE = targets.Targets(private=True)


@contextlib.asynccontextmanager
async def sending(
    allowed: targets.Targets, *, resolve: outgoing.Resolve | None = None
) -> AsyncGenerator[outgoing.Outgoing]:
    client = outgoing.Outgoing(allowed, clock=time.time, resolve=resolve)
    try:
        yield client
    finally:
        await client.close()


async def post(client: outgoing.Outgoing, url: str, *, seconds: float = 5.0) -> int:
    return (await client.post(url, headers={"x-test": "1"}, body=b"{}", seconds=seconds)).status


def port_of(receiver: Receiver) -> int:
    return httpx.URL(receiver.url).port or 80


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "LOCALHOST", "127.1", "2130706433", "0x7f000001", "0x7f.1"),
        *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]"),
    ],
)
async def test_private_addresses_are_refused_in_every_notation(host: str) -> None:
    async with receiving() as receiver, sending(NOTHING) as client:
        with pytest.raises(errors.TargetRefused):
            await post(client, f"http://{host}:{port_of(receiver)}/hook")
        assert receiver.got == []


async def test_an_octal_address_is_no_url() -> None:
    async with receiving() as receiver, sending(NOTHING) as client:
        with pytest.raises(errors.TargetError):
            await post(client, f"http://0177.0.0.1:{port_of(receiver)}/hook")
        assert receiver.got == []


async def test_loopback_of_ipv6_is_refused() -> None:
    async with receiving("::1") as receiver, sending(NOTHING) as client:
        with pytest.raises(errors.TargetRefused):
            await post(client, receiver.url)
        assert receiver.got == []


async def test_a_name_that_resolves_to_a_private_address_is_refused() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["10.0.0.1", "::ffff:127.0.0.1", "169.254.169.254"]

    async with sending(NOTHING, resolve=resolve) as client:
        with pytest.raises(errors.TargetRefused, match="private"):
            await post(client, "http://hooks.example/")


async def test_the_address_that_was_judged_is_the_one_that_is_used() -> None:
    """A name server that says something else the second time is not asked a second time."""
    answers = [["127.0.0.1"], ["10.255.255.1"]]
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers.pop(0)

    async with receiving() as receiver, sending(PRIVATE, resolve=resolve) as client:
        assert await post(client, f"http://hooks.example:{port_of(receiver)}/hook?a=1") == 204
        (got,) = receiver.got
        assert got.headers["host"] == f"hooks.example:{port_of(receiver)}"
        assert (got.path, got.body, got.headers["x-test"]) == ("/hook?a=1", b"{}", "1")
    assert asked == ["hooks.example"]


async def test_only_the_allowed_addresses_of_a_name_are_used() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["169.254.169.254", "127.0.0.1"]

    allowed = targets.Targets(networks=(ipaddress.ip_network("127.0.0.1"),))
    async with receiving() as receiver, sending(allowed, resolve=resolve) as client:
        assert await post(client, f"http://hooks.example:{port_of(receiver)}/") == 204


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_private_addresses_that_are_allowed_are_reached(host: str) -> None:
    async with receiving() as receiver, sending(PRIVATE) as client:
        assert await post(client, f"http://{host}:{port_of(receiver)}/hook") == 204


async def test_a_redirect_is_not_followed() -> None:
    async with receiving() as inside, receiving() as outside, sending(PRIVATE) as client:
        outside.answers.append({"status": 307, "headers": {"Location": inside.url}})
        assert await post(client, outside.url) == 307
        assert inside.got == []


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "file:///etc/passwd", "unix:///tmp/x", "http://", "nonsense"])
async def test_other_schemes_are_refused(url: str) -> None:
    async with sending(PRIVATE) as client:
        with pytest.raises(errors.TargetError):
            await post(client, url)


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy, receiving() as receiver, sending(PRIVATE) as client:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert await post(client, receiver.url) == 204
        assert proxy.got == []


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with sending(PRIVATE) as client:
            with pytest.raises(errors.TargetUnreachable):
                await post(client, f"http://127.0.0.1:{taken.getsockname()[1]}/")


async def test_a_name_that_does_not_exist() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with sending(PRIVATE, resolve=resolve) as client:
        with pytest.raises(errors.TargetUnreachable, match="cannot be resolved"):
            await post(client, "http://nowhere.example/")


async def test_an_answer_that_does_not_come_in_time() -> None:
    async with receiving() as receiver, sending(PRIVATE) as client:
        receiver.hold.clear()
        with pytest.raises(errors.TargetUnreachable, match="no answer in"):
            await post(client, receiver.url, seconds=0.2)


async def test_an_answer_that_makes_no_sense() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"what?\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server, sending(PRIVATE) as client:
        with pytest.raises(errors.TargetUnreachable):
            await post(client, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


async def test_a_body_without_end_is_not_waited_for() -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536
        writer.close()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    async with server, sending(PRIVATE) as client:
        assert await post(client, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/") == 200
    assert sent < 1024 * outgoing.ANSWER_BYTES  # what the sockets between them hold, and no more


async def test_a_connection_is_used_again() -> None:
    async with receiving() as receiver, sending(PRIVATE) as client:
        for _ in range(3):
            receiver.answers.append({"status": 200, "text": "thanks"})
            assert await post(client, receiver.url) == 200


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "120"}, 120.0),
        ({"Retry-After": " 7 "}, 7.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:02:00 GMT"}, 20.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "9" * 400}, 999_999_999.0),
    ],
)
@respx.mock
async def test_when_to_come_back(headers: Mapping[str, str], seconds: float | None) -> None:
    respx.post("https://hooks.example/in").mock(return_value=httpx.Response(503, headers=headers))
    client = outgoing.Outgoing(NOTHING, clock=lambda: 100.0)
    answer = await client.post("https://hooks.example/in", headers={}, body=b"", seconds=5.0)
    assert (answer.status, answer.retry_after) == (503, seconds)
    await client.close()
