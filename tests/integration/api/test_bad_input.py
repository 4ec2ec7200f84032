"""The table of bad input: each row gets its typed error with the place, and the gateway stays up.

Rows named 26b to 26n are bodies that wedge or kill a real worker, as recorded in comfyui-wire: they never get there.
"""

from __future__ import annotations

import asyncio
import copy
import io
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from PIL import Image

from tests.integration.api.served import Api

IMAGE = {"width": 16, "height": 16, "batch_size": 1, "color": 7}
GRAPH: dict[str, Any] = {
    "1": {"class_type": "EmptyImage", "inputs": IMAGE},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}


def graph(**nodes: Any) -> dict[str, Any]:
    """The sound graph with more nodes."""
    return copy.deepcopy(GRAPH) | nodes


def put(node: str, name: str, value: Any) -> dict[str, Any]:
    """The sound graph with one input changed."""
    changed = copy.deepcopy(GRAPH)
    changed[node]["inputs"][name] = value
    return changed


def order(workflow: Any, **more: Any) -> bytes:
    return orjson.dumps({"workflow": workflow, **more})


@dataclass(frozen=True, slots=True)
class Row:
    """A request to POST /api/v2/jobs and what comes of it."""

    name: str
    body: bytes
    status: int
    code: str
    place: dict[str, str] = field(default_factory=dict[str, str])
    headers: dict[str, str] = field(default_factory=dict[str, str])


UNREADABLE = [
    Row("nothing", b"", 400, "invalid_request"),
    Row("not JSON", b"workflow=1", 400, "invalid_request"),
    Row("half of it", order(GRAPH)[:-1], 400, "invalid_request"),
    Row("two documents", order(GRAPH) * 2, 400, "invalid_request"),
    Row("NaN", order(GRAPH).replace(b'"color":7', b'"color":NaN'), 400, "invalid_request"),
    Row("infinity", order(GRAPH).replace(b'"color":7', b'"color":-Infinity'), 400, "invalid_request"),
    Row("beyond a double", order(GRAPH).replace(b'"color":7', b'"color":1e999'), 400, "invalid_request"),
    Row("400 digits", order(GRAPH).replace(b'"color":7', b'"color":' + b"9" * 400), 400, "invalid_request"),
    Row("not UTF-8", b'{"workflow":"\xff"}', 400, "invalid_request"),
    Row("half a surrogate pair", b'{"workflow":"\\ud800"}', 400, "invalid_request"),
    Row("100,000 brackets", b'{"workflow":' + b"[" * 100_000, 400, "invalid_request"),
    Row("900 brackets", b'{"workflow":' + b"[" * 900 + b"]" * 900 + b"}", 422, "invalid_workflow"),
    Row("a byte order mark", b"\xef\xbb\xbf" + order(GRAPH), 400, "invalid_request"),
    Row("UTF-16", order(GRAPH).decode().encode("utf-16"), 400, "invalid_request"),
    Row("gzip that nobody asked for", zlib.compress(order(GRAPH)), 400, "invalid_request"),
    Row("an array", b"[]", 422, "invalid_request"),
    Row("null", b"null", 422, "invalid_request"),
    Row("a string", b'"workflow"', 422, "invalid_request"),
    Row("a number", b"1", 422, "invalid_request"),
]
ENVELOPE = [
    Row("an empty object", b"{}", 422, "invalid_request", {"field": "workflow"}),
    Row("a bare graph", orjson.dumps(GRAPH), 422, "invalid_request", {"field": "workflow"}),
    Row("a misspelt key", order(GRAPH, priorty=1), 422, "invalid_request", {"field": "priorty"}),
    Row("webhook_url", order(GRAPH, webhook_url="http://x"), 422, "invalid_request", {"field": "webhook_url"}),
    Row("inputs", order(GRAPH, inputs={}), 422, "invalid_request", {"field": "inputs"}),
    Row("a priority in words", order(GRAPH, priority="1"), 422, "invalid_request", {"field": "priority"}),
    Row("a true priority", order(GRAPH, priority=True), 422, "invalid_request", {"field": "priority"}),
    Row("a huge priority", order(GRAPH, priority=2**63), 422, "invalid_request", {"field": "priority"}),
    Row("null priority", order(GRAPH, priority=None), 422, "invalid_request", {"field": "priority"}),
    Row("metadata as text", order(GRAPH, metadata="a"), 422, "metadata_invalid"),
    Row("metadata with numbers", order(GRAPH, metadata={"a": 1}), 422, "metadata_invalid", {"field": "metadata.a"}),
    Row("metadata with a bad key", order(GRAPH, metadata={"a b": ""}), 422, "metadata_invalid"),
    Row("metadata with an empty key", order(GRAPH, metadata={"": ""}), 422, "metadata_invalid"),
    Row("too much metadata", order(GRAPH, metadata={str(n): "" for n in range(17)}), 422, "metadata_invalid"),
    Row("long metadata", order(GRAPH, metadata={"a": "é" * 129}), 422, "metadata_invalid"),
    Row("metadata with NUL", order(GRAPH, metadata={"a": "\0"}), 422, "metadata_invalid"),
    Row("an empty key", order(GRAPH), 422, "invalid_request", headers={"Idempotency-Key": ""}),
    Row("a long key", order(GRAPH), 422, "invalid_request", headers={"Idempotency-Key": "k" * 256}),
    Row("a key with a tab", order(GRAPH), 422, "invalid_request", headers={"Idempotency-Key": "a\tb"}),
    Row("26k preview_method", order(GRAPH, extra_data={"preview_method": []}), 422, "invalid_request",
        {"field": "extra_data.preview_method"}),
    Row("26l client_id", order(GRAPH, client_id=["x"]), 422, "invalid_request", {"field": "client_id"}),
    Row("26m client_id in extra_data", order(GRAPH, extra_data={"client_id": {"a": 1}}), 422, "invalid_request",
        {"field": "extra_data.client_id"}),
    Row("26n extra_pnginfo", order(GRAPH, extra_data={"extra_pnginfo": 5}), 422, "invalid_request",
        {"field": "extra_data.extra_pnginfo"}),
    Row("extra_data as a list", order(GRAPH, extra_data=[]), 422, "invalid_request", {"field": "extra_data"}),
    Row("a partner key that is a number", order(GRAPH, extra_data={"api_key_comfy_org": 1}), 422, "invalid_request",
        {"field": "extra_data.api_key_comfy_org"}),
]  # fmt: skip
WORKFLOWS = [
    Row("null", order(None), 422, "invalid_workflow"),
    Row("a list", order([GRAPH]), 422, "invalid_workflow"),
    Row("a string", order(orjson.dumps(GRAPH).decode()), 422, "invalid_workflow"),
    Row("an empty graph", order({}), 422, "invalid_workflow"),
    Row("UI format", order({"nodes": [], "links": [], "last_node_id": 0}), 422, "workflow_format_ui"),
    Row("no outputs", order({"1": GRAPH["1"]}), 422, "invalid_workflow"),
    Row("an unknown class", order(graph(x={"class_type": "Nope", "inputs": {"a": ["1", 0]}},
        y={"class_type": "SaveImage", "inputs": {"images": ["x", 0], "filename_prefix": "y"}})),
        422, "invalid_workflow", {"node": "x", "class_type": "Nope"}),
    Row("a dangling link", order(put("2", "images", ["9", 0])), 422, "invalid_workflow",
        {"node": "2", "field": "images", "reason": "dangling_link"}),
    Row("a link to itself", order(put("2", "images", ["2", 0])), 422, "invalid_workflow",
        {"reason": "dependency_cycle"}),
    Row("a node that is none", order(graph(x=5)), 422, "invalid_workflow", {"node": "x"}),
    Row("no class_type", order(graph(x={"inputs": {}})), 422, "invalid_workflow", {"node": "x"}),
    Row("class_type null", order(graph(x={"class_type": None, "inputs": {}})), 422, "invalid_workflow", {"node": "x"}),
    Row("26b no inputs", order(graph(x={"class_type": "EmptyImage"})), 422, "invalid_workflow",
        {"node": "x", "field": "inputs"}),
    Row("26c unconnected, dangling", order(graph(x={"class_type": "SaveImage", "inputs": {"images": ["9", 0]}})),
        422, "invalid_workflow", {"node": "x", "reason": "dangling_link"}),
    Row("26d unconnected cycle", order(graph(
        x={"class_type": "SaveImage", "inputs": {"images": ["y", 0]}},
        y={"class_type": "SaveImage", "inputs": {"images": ["x", 0]}},
        )), 422, "invalid_workflow", {"reason": "dependency_cycle"}),
    Row("26e unconnected, bad slot", order(graph(x={"class_type": "SaveImage", "inputs": {"images": ["1", -1]}})),
        422, "invalid_workflow", {"node": "x", "reason": "bad_link_slot"}),
    Row("26f failing output, dangling", order(graph(
        x={"class_type": "SaveImage", "inputs": {"images": ["9", 0], "filename_prefix": 5}})),
        422, "invalid_workflow", {"node": "x"}),
    Row("26g inputs null", order(graph(x={"class_type": "EmptyImage", "inputs": None})), 422, "invalid_workflow",
        {"node": "x", "field": "inputs"}),
    Row("26i inputs a list", order(graph(x={"class_type": "EmptyImage", "inputs": []})), 422, "invalid_workflow",
        {"node": "x", "field": "inputs"}),
    Row("26j inputs a string", order(graph(x={"class_type": "EmptyImage", "inputs": "a"})), 422, "invalid_workflow",
        {"node": "x", "field": "inputs"}),
    Row("a NUL in text", order(put("2", "filename_prefix", "a\0b")), 422, "invalid_workflow",
        {"node": "2", "field": "filename_prefix"}),
    Row("an integer over 64 bits", order(GRAPH).replace(b'"color":7', b'"color":18446744073709551616'), 422,
        "invalid_workflow", {"node": "1", "field": "color", "reason": "invalid_number"}),
    Row("a prefix that climbs", order(put("2", "filename_prefix", "../../etc/x")), 422, "invalid_workflow",
        {"node": "2", "field": "filename_prefix"}),
    Row("a prefix that climbs in Windows", order(put("2", "filename_prefix", "..\\..\\x")), 422, "invalid_workflow",
        {"node": "2", "field": "filename_prefix"}),
    Row("an absolute prefix", order(put("2", "filename_prefix", "/etc/x")), 422, "invalid_workflow",
        {"node": "2", "field": "filename_prefix"}),
    Row("an input file that climbs", order(graph(x={"class_type": "LoadImage", "inputs": {"image": "../x.png"}})),
        422, "invalid_workflow", {"node": "x", "field": "image"}),
    Row("an asset without an id", order(graph(x={"class_type": "LoadImage", "inputs":
        {"image": {"__type": "core/ASSET"}}})), 422, "missing_asset", {"node": "x", "field": "image"}),
    Row("an asset that nobody has", order(graph(x={"class_type": "LoadImage", "inputs":
        {"image": {"__type": "core/ASSET", "info": {"id": "9f8a1c0d-2b3e-4f56-8a7b-1c2d3e4f5a6b"}}}},
        y={"class_type": "SaveImage", "inputs": {"images": ["x", 0], "filename_prefix": "y"}})),
        422, "missing_asset"),
    Row("an asset with a NUL as id", order(graph(x={"class_type": "LoadImage", "inputs":
        {"image": {"__type": "core/ASSET", "info": {"id": "\0"}}}})), 422, "invalid_workflow", {"node": "x"}),
]  # fmt: skip


@pytest.mark.parametrize("table", [UNREADABLE, ENVELOPE, WORKFLOWS], ids=["unreadable", "envelope", "workflows"])
async def test_orders_that_cannot_be(api: Api, table: list[Row]) -> None:
    wrong = [f"{row.name}: {problem}" for row in table if (problem := await _problem(api, row))]
    assert wrong == []
    assert (await api.client.get("/api/v2/jobs")).json() == {"jobs": []}
    await _is_up(api)


async def _problem(api: Api, row: Row) -> str:
    """What is not as the row wants it."""
    headers = {"Content-Type": "application/json", **row.headers}
    answer = await api.client.post("/api/v2/jobs", content=row.body, headers=headers)
    error = answer.json()["error"]
    if (answer.status_code, error["code"]) != (row.status, row.code) or not error["message"]:
        return f"{answer.status_code} {error}"
    faults = (error["details"] or {}).get("faults", [])
    if row.place and not any(row.place.items() <= fault.items() for fault in faults):
        return f"no fault at {row.place} in {faults}"
    return ""


async def test_all_faults_come_at_once(api: Api) -> None:
    bad = put("1", "width", ["9", 0])
    bad["2"]["inputs"]["filename_prefix"] = "../x"
    bad["3"] = {"class_type": "EmptyImage"}
    answer = await api.client.post("/api/v2/jobs", json={"workflow": bad})
    error = answer.json()["error"]
    assert {fault["node"] for fault in error["details"]["faults"]} == {"1", "2", "3"}
    assert set(error["details"]["node_errors"]) == {"1", "2", "3"}


async def test_a_misspelt_key_is_suggested(api: Api) -> None:
    answer = await api.client.post("/api/v2/jobs", json={"workflow": GRAPH, "priorty": 1})
    assert "did you mean `priority`?" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("key", "hint"), [("client_id", ""), ("api_key_comfy", "; did you mean `extra_data.api_key_comfy_org`?")]
)
async def test_a_key_inside_an_object_is_compared_with_that_object_only(api: Api, key: str, hint: str) -> None:
    answer = await api.client.post("/api/v2/jobs", json={"workflow": GRAPH, "extra_data": {key: "x"}})
    assert answer.json()["error"]["message"] == f"`extra_data.{key}` is not known here{hint}"


@pytest.mark.parametrize(("name", "value"), [("limit", "0"), ("status", "done"), ("template", "a\0b")])
async def test_what_is_wrong_with_a_query_carries_the_name_that_the_client_sent(
    api: Api, name: str, value: str
) -> None:
    answer = await api.client.get("/api/v2/jobs", params={name: value})
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["error"]["details"]["faults"]] == [name]


HARMLESS = {
    "26h nested extra input": put("2", "extra", {"a": [1, {"b": 2}]}),
    "emoji": put("2", "filename_prefix", "🦊 é 中"),
    "an odd _meta": graph(x={"class_type": "EmptyImage", "inputs": IMAGE, "_meta": [1], "is_changed": []}),
    "a 10 MB prompt": graph(x={"class_type": "PreviewAny", "inputs": {"source": "a red fox " * 1_000_000}}),
    "5,000 nodes": graph(
        **{
            f"n{n}": {"class_type": "PreviewAny", "inputs": {"source": [f"n{n - 1}" if n else "1", 0]}}
            for n in range(5000)
        }
    ),
}


@pytest.mark.parametrize("name", HARMLESS)
async def test_odd_orders_that_are_fine(api: Api, name: str) -> None:
    answer = await api.client.post("/api/v2/jobs", json={"workflow": HARMLESS[name]})
    assert answer.status_code == 201, answer.text[:500]
    stored = (await api.client.get(f"{answer.json()['urls']['self']}/workflow")).json()["workflow"]
    assert stored["1"] == GRAPH["1"]
    assert "is_changed" not in stored.get("x", {})


async def test_a_body_over_its_limit_with_and_without_its_length(api: Api) -> None:
    limit = api.parts.limits.json_body

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(limit // 65536 + 2):
            yield b" " * 65536

    declared = await api.client.post("/api/v2/jobs", content=b" " * (limit + 1))
    streamed = await api.client.post("/api/v2/jobs", content=endless())
    for answer in (declared, streamed):
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")
        assert answer.json()["error"]["details"] == {"limit": limit}
    await _is_up(api)


@pytest.mark.parametrize("length", ["abc", "-1", "1, 2"])
async def test_a_length_that_is_none(api: Api, length: str) -> None:
    head = f"POST /api/v2/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{{}}"
    assert b" 400 " in await _raw(api, head.encode())
    await _is_up(api)


@pytest.mark.parametrize(
    "request_",
    [
        b"\x00\xff\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /api/v2/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_hardly_http(api: Api, request_: bytes) -> None:
    await _raw(api, request_)
    await _is_up(api)


async def test_a_client_that_goes_away_in_the_middle(api: Api) -> None:
    port = int(api.url.rpartition(":")[2])
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b'POST /api/v2/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{"workflow":')
        await writer.drain()
        writer.close()
    await _is_up(api)


LISTS = [
    ("limit=0", "invalid_request"),
    ("limit=101", "invalid_request"),
    ("limit=ten", "invalid_request"),
    ("limit=", "invalid_request"),
    ("status=done", "invalid_request"),
    ("status=queued,%00", "invalid_request"),
    ("cursor=nonsense", "invalid_cursor"),
    ("cursor=", "invalid_cursor"),
    ("cursor=%00", "invalid_cursor"),
    ("cursor=" + "a" * 5000, "invalid_cursor"),
    ("metadata[a b]=c", "invalid_metadata_filter"),
    ("metadata[]=c", "invalid_metadata_filter"),
    ("metadata[a]=%00", "invalid_metadata_filter"),
    ("metadata[a]=1&metadata[a]=2", "invalid_metadata_filter"),
    ("&".join(f"metadata[{n}]=1" for n in range(17)), "invalid_metadata_filter"),
    ("template=%00", "invalid_request"),
]


async def test_lists_that_cannot_be(api: Api) -> None:
    for query, code in LISTS:
        answer = await api.client.get(f"/api/v2/jobs?{query}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, code), query


async def test_uploads_that_cannot_be(api: Api) -> None:
    """A few of them: the uploads' own tests have the rest."""
    for path in ("../x.png", "/etc/passwd", "a\0b", "..\\x", ""):
        answer = await _upload(api, path, _picture())
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request"), path
    wrong = await api.client.post(
        "/api/v2/assets",
        data={"file_path": "x.png", "content_type": "image/png", "expected_hash": "blake3:" + "0" * 64},
        files={"file": ("x.png", _picture())},
    )
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (409, "hash_mismatch")
    nothing = await api.client.post("/api/v2/assets", content=b"x", headers={"Content-Type": "text/plain"})
    assert nothing.status_code in {400, 422}


async def _upload(api: Api, path: str, data: bytes) -> Any:
    return await api.client.post(
        "/api/v2/assets",
        data={"file_path": path, "content_type": "image/png"},
        files={"file": ("x.png", data, "image/png")},
    )


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    return buffer.getvalue()


async def _raw(api: Api, request: bytes) -> bytes:
    """What comes back for these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.url.rpartition(":")[2]))
    writer.write(request)
    if writer.can_write_eof():
        writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def _is_up(api: Api) -> None:
    assert (await api.client.get("/healthz")).status_code == 200
    assert (await api.submit())["status"] == "queued"
