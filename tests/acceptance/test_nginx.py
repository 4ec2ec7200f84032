"""The shipped `nginx/`, read by a real nginx, in front of two gateways that do as they are told.

What must arrive before something else happens is proven by permission, not by time: the stand-in sends its next frame
only when the test has seen the one before, and the test sends its next chunk only when the stand-in has got the last.
"""

from __future__ import annotations

import asyncio
import io
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from tests.acceptance.nginx_front import (
    NGINX,
    PATIENCE_S,
    Front,
    front,
    hang_up,
    lay_out,
    nginx_command,
    plain,
    stand_in,
)

pytestmark = [
    pytest.mark.nginx,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed: apt-get install nginx"),
]


async def test_the_shipped_files_are_accepted_without_a_warning(tmp_path: Path) -> None:
    lay_out(tmp_path, [8180], {})
    checked = subprocess.run([*nginx_command(tmp_path), "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr
    assert "[emerg]" not in checked.stderr


async def test_an_answer_and_a_refusal_of_the_gateway_pass_untouched(tmp_path: Path) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        body = {"error": {"code": "store_unavailable", "message": "locked", "details": None}}
        return web.json_response(body, status=503, headers={"Retry-After": "7"})

    async with (
        stand_in(refuse) as gateway,
        front(tmp_path, [gateway.port]) as nginx,
        nginx.client.get(f"{nginx.url}/api/v2/jobs/1?x=a%20b") as answer,
    ):
        assert (answer.status, answer.headers["Retry-After"]) == (503, "7")
        assert (await answer.json())["error"]["message"] == "locked"
    assert gateway.seen == ["GET /api/v2/jobs/1?x=a%20b"]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        # With a length, unlike with chunks, a buffering nginx would wait for the whole.
        ("/api/v2/jobs/1/events", {"Content-Length": "75"}),
        ("/v1/batches/1/events", {"Content-Length": "75"}),
        ("/api/v2/jobs/1/events", {}),
        ("/anything/else", {"X-Accel-Buffering": "no"}),
    ],
)
async def test_each_event_arrives_while_the_next_is_not_even_made(
    tmp_path: Path, path: str, headers: dict[str, str]
) -> None:
    may_go_on = asyncio.Semaphore(0)

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **headers})
        await response.prepare(request)
        for number in range(3):
            await response.write(f"event: progress\ndata: {number}\n\n".encode())
            await may_go_on.acquire()
        return response

    async with (
        stand_in(stream) as gateway,
        front(tmp_path, [gateway.port]) as nginx,
        nginx.client.get(nginx.url + path, headers={"Accept-Encoding": "gzip"}) as answer,
    ):
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert "Content-Encoding" not in answer.headers
        for number in range(3):
            frame = await answer.content.readuntil(b"\n\n")
            assert frame == f"event: progress\ndata: {number}\n\n".encode()
            may_go_on.release()
        assert await answer.content.read() == b""


async def test_a_client_that_leaves_a_stream_frees_the_gateway(tmp_path: Path) -> None:
    left = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": hello\n\n")
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return response

    async with stand_in(stream) as gateway, front(tmp_path, [gateway.port]) as nginx:
        async with nginx.client.get(f"{nginx.url}/api/v2/jobs/1/events") as answer:
            await answer.content.readuntil(b"\n\n")
        async with asyncio.timeout(PATIENCE_S):
            await left.wait()


async def test_an_upload_streams_through(tmp_path: Path) -> None:
    chunk = b"x" * 70_000
    arrived = asyncio.Semaphore(0)

    async def swallow(request: web.Request) -> web.StreamResponse:
        total = 0
        async for part in request.content.iter_any():
            for _ in range((total + len(part)) // len(chunk) - total // len(chunk)):
                arrived.release()
            total += len(part)
        return web.json_response({"bytes": total}, status=201)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield chunk
            async with asyncio.timeout(PATIENCE_S):
                await arrived.acquire()  # the gateway has this chunk before the next one exists

    async with stand_in(swallow) as gateway, front(tmp_path, [gateway.port]) as nginx:
        async with nginx.client.post(f"{nginx.url}/api/v2/assets", data=chunks()) as answer:
            assert (answer.status, await answer.json()) == (201, {"bytes": 350_000})
        assert not any(path.is_file() for path in (tmp_path / "body").rglob("*"))


@pytest.mark.parametrize(("path", "size"), [("/api/v2/assets", 3 * 2**30), ("/api/v2/jobs", 200 * 2**20)])
async def test_a_body_over_the_limit_is_refused_in_the_envelope(tmp_path: Path, path: str, size: int) -> None:
    async with stand_in() as gateway, front(tmp_path, [gateway.port]) as nginx:
        head = f"POST {path} HTTP/1.1\r\nHost: gateway\r\nContent-Length: {size}\r\n\r\n"
        status, _, body = await raw(nginx, head)
    assert status == 413
    assert orjson.loads(body)["error"]["code"] == "payload_too_large"
    assert gateway.seen == []


async def test_a_body_of_20_mb_reaches_the_gateway(tmp_path: Path) -> None:
    async def measure(request: web.Request) -> web.StreamResponse:
        return web.json_response({"bytes": len(await request.read())})

    async with (
        stand_in(measure) as gateway,
        front(tmp_path, [gateway.port]) as nginx,
        nginx.client.post(f"{nginx.url}/v1/templates/edit/jobs", data=io.BytesIO(b"x" * 20_000_000)) as answer,
    ):
        assert await answer.json() == {"bytes": 20_000_000}


async def raw(nginx: Front, head: str) -> tuple[int, str, bytes]:
    """Send these bytes and read one whole answer: status, head, body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", nginx.port)
    writer.write(head.encode())
    async with asyncio.timeout(PATIENCE_S):
        answer_head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line for line in answer_head.split("\r\n") if line.lower().startswith("content-length:"))
        body = await reader.readexactly(int(length.split(":")[1]))
    writer.close()
    await writer.wait_closed()
    return int(answer_head.split(" ")[1]), answer_head, body


async def test_without_a_gateway_the_502_is_in_the_envelope(tmp_path: Path) -> None:
    async with stand_in() as gone, stand_in() as gone_too:
        places = [gone.port, gone_too.port]
    async with front(tmp_path, places) as nginx:
        for method, path in (("GET", "/api/v2/jobs"), ("POST", "/api/v2/jobs"), ("POST", "/api/v2/assets")):
            async with nginx.client.request(method, nginx.url + path, data=b"{}") as answer:
                assert (answer.status, answer.content_type) == (502, "application/json")
                assert answer.headers["Retry-After"] == "2"
                error = (await answer.json())["error"]
                assert error["code"] == "upstream_unreachable"
                assert len(error["details"]["request_id"]) == 32
        async with nginx.client.get(f"{nginx.url}/nginx-health") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")


async def test_a_gateway_that_is_down_costs_no_request(tmp_path: Path) -> None:
    async with stand_in() as gone:
        pass
    async with stand_in() as alive, front(tmp_path, [gone.port, alive.port]) as nginx:
        for method in ("GET", "POST", "GET", "POST"):
            async with nginx.client.request(method, f"{nginx.url}/api/v2/jobs", data=b"{}") as answer:
                assert answer.status == 200
    assert len(alive.seen) == 4


@pytest.mark.parametrize("path", ["/api/v2/jobs", "/api/v2/assets", "/v1/templates/edit/jobs", "/v1/workers"])
async def test_a_post_that_was_sent_is_never_sent_again(tmp_path: Path, path: str) -> None:
    async with (
        stand_in(hang_up) as one,
        stand_in(hang_up) as other,
        front(tmp_path, [one.port, other.port]) as nginx,
        nginx.client.post(nginx.url + path, data=b"{}") as answer,
    ):
        assert answer.status == 502
        assert (await answer.json())["error"]["code"] == "upstream_unreachable"
    assert len(one.seen) + len(other.seen) == 1


async def test_a_get_is_tried_on_the_other_gateway(tmp_path: Path) -> None:
    tries: list[str] = []

    async def fail_first(request: web.Request) -> web.StreamResponse:
        tries.append(request.path)
        return await (hang_up(request) if len(tries) == 1 else plain(request))

    async with (
        stand_in(fail_first) as one,
        stand_in(fail_first) as other,
        front(tmp_path, [one.port, other.port]) as nginx,
        nginx.client.get(f"{nginx.url}/api/v2/jobs/1") as answer,
    ):
        assert answer.status == 200
    assert (len(one.seen), len(other.seen)) == (1, 1)


async def test_requests_go_to_the_gateway_with_fewer_open_ones(tmp_path: Path) -> None:
    free = asyncio.Event()
    held = asyncio.Event()

    async def hold_events(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/events"):
            held.set()
            await free.wait()
        return await plain(request)

    async with (
        stand_in(hold_events) as one,
        stand_in(hold_events) as other,
        front(tmp_path, [one.port, other.port]) as nginx,
    ):
        stream = asyncio.create_task(nginx.client.get(f"{nginx.url}/api/v2/jobs/1/events"))
        async with asyncio.timeout(PATIENCE_S):
            await held.wait()
        busy, idle = (one, other) if one.seen else (other, one)
        for _ in range(10):
            async with nginx.client.get(f"{nginx.url}/api/v2/jobs/1") as answer:
                assert answer.status == 200
        free.set()
        (await stream).close()
    assert (len(busy.seen), len(idle.seen)) == (1, 10)


async def test_a_gateway_that_does_not_answer_is_a_504(tmp_path: Path) -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    shorter = {"proxy_read_timeout 900s": "proxy_read_timeout 50ms"}
    async with (
        stand_in(never) as one,
        stand_in(never) as other,
        front(tmp_path, [one.port, other.port], shorter) as nginx,
        nginx.client.post(f"{nginx.url}/api/v2/jobs", data=b"{}") as answer,
    ):
        assert (answer.status, answer.headers["Retry-After"]) == (504, "5")
        assert (await answer.json())["error"]["code"] == "upstream_unreachable"
    assert len(one.seen) + len(other.seen) == 1


async def test_what_a_client_claims_about_itself_does_not_get_through(tmp_path: Path) -> None:
    lies = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Prefix": "/evil",
        "X-Real-IP": "6.6.6.6",
        "X-Request-Id": "mine",
        "Forwarded": "for=6.6.6.6",
    }
    async with stand_in() as gateway, front(tmp_path, [gateway.port]) as nginx:
        async with nginx.client.get(f"{nginx.url}/api/v2/jobs", headers=lies) as answer:
            assert answer.status == 200
        host = f"127.0.0.1:{nginx.port}"
        got = gateway.headers[0]
    assert {name: got.get(name) for name in lies if name != "X-Request-Id"} == {
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": host,
        "X-Forwarded-Prefix": None,
        "X-Real-IP": "127.0.0.1",
        "Forwarded": None,
    }
    assert got["Host"] == host
    assert len(got["X-Request-Id"]) == 32


async def test_ranges_validators_and_credentials_pass(tmp_path: Path) -> None:
    content = bytes(range(256)) * 40

    async def serve(request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer key"
        headers = {"ETag": '"b3"', "Accept-Ranges": "bytes", "Content-Type": "image/png"}
        if request.headers.get("If-None-Match") == '"b3"':
            return web.Response(status=304, headers=headers)
        if request.headers.get("Range") == "bytes=16-31" and request.headers.get("If-Range") == '"b3"':
            headers["Content-Range"] = f"bytes 16-31/{len(content)}"
            return web.Response(status=206, body=content[16:32], headers=headers)
        return web.Response(body=content, headers=headers)

    async with stand_in(serve) as gateway, front(tmp_path, [gateway.port]) as nginx:
        url = f"{nginx.url}/api/v2/assets/1/content?signature=secret"
        key = {"Authorization": "Bearer key", "Accept-Encoding": "gzip"}
        async with nginx.client.get(url, headers=key) as answer:
            assert (answer.headers["ETag"], await answer.read()) == ('"b3"', content)
        async with nginx.client.get(url, headers={**key, "Range": "bytes=16-31", "If-Range": '"b3"'}) as answer:
            assert (answer.status, await answer.read()) == (206, content[16:32])
            assert answer.headers["Content-Range"] == f"bytes 16-31/{len(content)}"
        async with nginx.client.get(url, headers={**key, "If-None-Match": '"b3"'}) as answer:
            assert answer.status == 304
        async with nginx.client.head(url, headers=key) as answer:
            assert answer.headers["Content-Length"] == str(len(content))
    log = (tmp_path / "access.log").read_text()
    assert "/api/v2/assets/1/content" in log
    assert "secret" not in log


async def test_what_nginx_cannot_read_is_refused_in_the_envelope(tmp_path: Path) -> None:
    async with stand_in() as gateway, front(tmp_path, [gateway.port]) as nginx:
        for head, status, code in (
            ("GET /api/v2/jobs HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "invalid_request"),
            (f"GET /api/v2/jobs HTTP/1.1\r\nHost: a\r\nX-Long: {'x' * 40_000}\r\n\r\n", 400, "invalid_request"),
            ("TRACE /api/v2/jobs HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_not_allowed"),
        ):
            got, _, body = await raw(nginx, head)
            assert (got, orjson.loads(body)["error"]["code"]) == (status, code)
    assert gateway.seen == []


async def test_metrics_are_for_the_monitoring_only(tmp_path: Path) -> None:
    outside = {"    allow 127.0.0.1;\n": ""}
    async with (
        stand_in() as gateway,
        front(tmp_path, [gateway.port], outside) as nginx,
        nginx.client.get(f"{nginx.url}/metrics") as answer,
    ):
        assert (answer.status, (await answer.json())["error"]["code"]) == (403, "forbidden")
    assert gateway.seen == []


async def test_the_rate_limit_of_the_example_works_once_uncommented(tmp_path: Path) -> None:
    uncommented = {
        "# limit_req_zone $binary_remote_addr": "limit_req_zone $binary_remote_addr",
        "rate=10r/s": "rate=1r/m",
        "# limit_req zone=comfy_gateway_orders burst=50 nodelay": "limit_req zone=comfy_gateway_orders burst=1 nodelay",
    }
    async with stand_in() as gateway, front(tmp_path, [gateway.port], uncommented) as nginx:
        for _ in range(2):
            async with nginx.client.post(f"{nginx.url}/api/v2/jobs", data=b"{}") as answer:
                assert answer.status == 200
        async with nginx.client.post(f"{nginx.url}/api/v2/jobs", data=b"{}") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
            assert (await answer.json())["error"]["code"] == "rate_limited"
        async with nginx.client.get(f"{nginx.url}/api/v2/jobs/1") as answer:
            assert answer.status == 200
    assert len(gateway.seen) == 3


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed: apt-get install openssl")
async def test_the_tls_example_serves_and_says_so_to_the_gateway(tmp_path: Path) -> None:
    key, certificate = tmp_path / "privkey.pem", tmp_path / "fullchain.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make.split(), *names], check=True, capture_output=True)
    own = {"/etc/ssl/comfy-gateway/fullchain.pem": str(certificate), "/etc/ssl/comfy-gateway/privkey.pem": str(key)}
    async with stand_in() as gateway, front(tmp_path, [gateway.port], own, tls=True) as nginx:
        trust = ssl.create_default_context(cafile=str(certificate))
        async with nginx.client.get(f"https://127.0.0.1:{nginx.tls_port}/api/v2/jobs", ssl=trust) as answer:
            assert answer.status == 200
        async with nginx.client.post(f"{nginx.url}/api/v2/jobs?a=b", data=b"{}", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (308, "https://127.0.0.1/api/v2/jobs?a=b")
    assert [headers["X-Forwarded-Proto"] for headers in gateway.headers] == ["https"]
