"""What every request passes: methods, paths, strangers' pages, health, documentation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway import ports
from gateway.api import auth
from gateway.domain import errors, model
from tests.integration.api.served import GRAPH, Api

Start = Callable[..., Awaitable[Api]]
UNKNOWN = "7f3d2c1b-9a8e-4d6f-b012-3c4d5e6f7a8b"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/v2/jobs", "GET, HEAD, POST"),
        ("OPTIONS", "/api/v2/jobs", "GET, HEAD, POST"),
        ("TRACE", "/api/v2/jobs", "GET, HEAD, POST"),
        ("POST", f"/api/v2/jobs/{UNKNOWN}", "GET, HEAD"),
        ("GET", f"/api/v2/jobs/{UNKNOWN}/cancel", "POST"),
        ("PATCH", f"/api/v2/assets/{UNKNOWN}", "DELETE, GET, HEAD"),
        ("GET", "/api/v2/assets/by-hash/blake3:00", "HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
    ],
)
async def test_wrong_methods(api: Api, method: str, path: str, allowed: str) -> None:
    answer = await api.client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert answer.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/nothing", "/api/v2", "/api/v2/jobs/a/b/c", "/api/v2/jobs//", "/%00", "/%ff"])
async def test_unknown_paths(api: Api, path: str) -> None:
    answer = await api.client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


WRONG_IDS = (
    "x", "0", UNKNOWN, UNKNOWN.upper(), UNKNOWN[:-1], f"{{{UNKNOWN}}}", "%00", "%ff", "..%2f..", "a" * 5000,
)  # fmt: skip


async def test_wrong_ids(api: Api) -> None:
    for id_ in WRONG_IDS:
        for path in (f"jobs/{id_}", f"jobs/{id_}/workflow", f"jobs/{id_}/events", f"assets/{id_}"):
            answer = await api.client.get(f"/api/v2/{path}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), path
        assert (await api.client.post(f"/api/v2/jobs/{id_}/cancel")).status_code == 404, id_
        assert (await api.client.delete(f"/api/v2/assets/{id_}")).status_code == 404, id_


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/v1/workers", "/api/v2/jobs", "/openapi.json", "/docs", "/metrics"]
)
async def test_head_is_get_without_a_body(api: Api, path: str) -> None:
    got, head = await api.client.get(path), await api.client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


async def test_trailing_slashes_do_not_matter(api: Api) -> None:
    assert (await api.client.get("/api/v2/jobs/")).json() == {"jobs": []}


async def test_upper_case_ids_are_the_same_ids(api: Api) -> None:
    job = await api.submit()
    assert (await api.job(job["id"].upper()))["id"] == job["id"]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1:1", 403),
        ("https://good.example", 404),
        (None, 404),
    ],
)
async def test_foreign_pages_change_nothing(start: Start, origin: str | None, status: int) -> None:
    api = await start(access=auth.Access(origins=("https://good.example",)))
    headers = {} if origin is None else {"Origin": origin}
    answer = await api.client.post(f"/api/v2/jobs/{UNKNOWN}/cancel", headers=headers)
    assert answer.status_code == status
    assert (await api.client.get("/v1/workers", headers=headers)).status_code == 200


async def test_allowed_pages_pass_their_preflight(start: Start) -> None:
    api = await start(access=auth.Access(origins=("https://good.example",)))
    asked = {"Origin": "https://good.example", "Access-Control-Request-Method": "POST"}
    answer = await api.client.options("/api/v2/jobs", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://good.example"
    stranger = await api.client.options("/api/v2/jobs", headers=asked | {"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in stranger.headers


async def test_our_own_pages_may(api: Api) -> None:
    answer = await api.client.post(f"/api/v2/jobs/{UNKNOWN}/cancel", headers={"Origin": api.url})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 403),
        ("evil.example:8180", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost:8180", 200),
        ("gateway", 200),
        ("192.168.0.9:8180", 200),
        ("[::1]:8180", 200),
        ("gpu.example", 200),
    ],
)
async def test_host_names_from_strangers_dns(start: Start, host: str, status: int) -> None:
    api = await start(access=auth.Access(guard_hosts=True), public_url="https://gpu.example/comfy")
    assert (await api.client.get("/v1/workers", headers={"Host": host})).status_code == status


async def test_links_follow_the_public_url(start: Start) -> None:
    api = await start(public_url="https://gpu.example/comfy")
    job = await api.submit()
    assert job["urls"]["self"] == f"/comfy/api/v2/jobs/{job['id']}"


async def test_links_follow_the_host_header(api: Api) -> None:
    job = await api.submit()
    claim = await api.driver.claim()
    await api.driver.output(claim, b"text", name="a.txt")
    for host, expected in (("gpu.example:81", "http://gpu.example:81/"), ('x"><script>', api.url)):
        answer = await api.client.get(job["urls"]["self"], headers={"Host": host})
        assert answer.json()["outputs"][0]["url"].startswith(expected)


async def test_health(api: Api) -> None:
    assert (await api.client.get("/healthz")).json() == {"status": "ok", "version": "0.0.test"}
    assert (await api.client.get("/api/v2/health")).json() == {"status": "healthy"}
    ready = (await api.client.get("/readyz")).json()
    assert (ready["status"], set(ready["checks"].values())) == ("ready", {"ok"})
    api.parts.stopping.set()
    stopping = await api.client.get("/readyz")
    assert (stopping.status_code, stopping.json()["error"]["code"]) == (503, "not_ready")
    assert stopping.headers["retry-after"] == "2"
    assert (await api.client.get("/healthz")).status_code == 200


async def test_a_store_that_cannot_be_used(start: Start, store: ports.Store) -> None:
    class Broken:
        """A database whose disk is full."""

        def __getattr__(self, name: str) -> Any:
            raise errors.StoreUnavailable("the disk is full")

    async def check() -> None:
        raise errors.StoreUnavailable("the disk is full")

    api = await start()
    broken = await start(store=replace(store, jobs=Broken(), check=check), fleet=api.fleet)
    answer = await broken.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["error"]["details"]["checks"]["store"] == "the disk is full"
    answer = await broken.client.get(f"/api/v2/jobs/{UNKNOWN}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert int(answer.headers["retry-after"]) > 0


async def test_a_defect_is_answered_without_internals(start: Start, store: ports.Store) -> None:
    class Defect:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("secret detail")

    api = await start(store=replace(store, jobs=Defect()))
    answer = await api.client.get(f"/api/v2/jobs/{UNKNOWN}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert (await api.client.get("/healthz")).status_code == 200


async def test_metrics(start: Start) -> None:
    key = auth.ApiKey.of("secret")
    api = await start(access=auth.Access(keys=(key,)))
    headers = {"Authorization": "Bearer secret"}
    await api.client.post("/api/v2/jobs", json={"workflow": _graph()}, headers=headers)
    await api.fleet.add("http://10.0.0.7:8188", worker_id="far")
    assert (await api.client.get("/metrics")).status_code == 401
    text = (await api.client.get("/metrics", headers=headers)).text
    assert 'comfy_gateway_jobs{status="queued"} 1.0' in text
    assert 'comfy_gateway_workers{state="starting"} 1.0' in text
    assert 'comfy_gateway_http_requests_total{method="POST",status="201"} 1.0' in text


async def test_the_documentation_needs_no_network(api: Api) -> None:
    page = await api.client.get("/", follow_redirects=True)
    assert page.headers["content-type"].startswith("text/html")
    assert "/api/v2/jobs/{id}/events" in page.text
    assert "<script" not in page.text
    assert "src=" not in page.text


async def test_keys_do_not_leak_their_length_or_scheme(start: Start) -> None:
    api = await start(access=auth.Access(keys=(auth.ApiKey.of("s3cret", tenant=model.TenantId("a")),)))
    for value, status in (
        ("Bearer s3cret", 200),
        ("bearer  s3cret", 200),
        ("Basic s3cret", 401),
        ("Bearer", 401),
        ("Bearers3cret", 401),
        ("Bearer s3crets", 401),
        ("Bearer \xff", 401),
    ):
        answer = await api.client.get("/v1/workers", headers={b"Authorization": value.encode("latin-1")})
        assert answer.status_code == status, value


def _graph() -> object:
    return GRAPH
