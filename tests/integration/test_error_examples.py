"""Each error that a caller or an author may meet, provoked: the answers stand as examples on docs/reference/errors.md.

To write them anew: `WRITE_DOCS=1 pytest tests/integration/test_error_examples.py`, then
`python tests/unit/test_errors_page.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import app, simulator
from tests.conftest import Start

RECORDED = Path(__file__).parents[1] / "fixtures" / "errors" / "examples.json"
KEYS = ("admin:0123456789abcdef-root admin", "shop@shop:0123456789abcdef-shop max_queued=1")
SHOP = {"Authorization": "Bearer 0123456789abcdef-shop"}
GRAPH: dict[str, Any] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "blue"}},
}
SAVED: dict[str, Any] = {"nodes": [{"id": 1, "type": "EmptyImage"}], "links": [], "version": 0.4}
NOBODYS = "01890a5d-ac96-774b-bcce-b302099a8057"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def changed(**inputs: Any) -> dict[str, Any]:
    """The plain graph, its first node with other inputs."""
    return {**GRAPH, "1": {**GRAPH["1"], "inputs": {**GRAPH["1"]["inputs"], **inputs}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request that is refused. `{job}`, `{output}` … in its path and body are what the site has."""

    code: str
    path: str
    method: str = "POST"
    body: Any = None
    raw: str | None = None  #: a body that is no JSON
    form: Mapping[str, Any] | None = None
    files: Mapping[str, tuple[str, bytes]] = field(default_factory=dict[str, tuple[str, bytes]])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    strict: bool = False  #: of the gateway with keys and limits, and without workers
    shown: Mapping[str, str] = field(default_factory=dict[str, str])  #: headers that belong to the example


EDIT = "/v1/templates/edit/jobs"
JOBS = "/api/v2/jobs"
ASKS = (
    Ask(code="invalid_request", path="/v1/batches", body={"template": "edit", "n": 0, "prioritty": 3}),
    Ask(code="invalid_request", path=JOBS, raw='{"workflow": '),
    Ask(code="invalid_workflow", path=JOBS, body={"workflow": changed(width="wide")}),
    Ask(code="invalid_inputs", path=EDIT, body={"inputs": {"widht": 64, "amount": 3, "tone": "louder"}}),
    Ask(code="workflow_format_ui", path=JOBS, body={"workflow": SAVED}),
    Ask(code="missing_asset", path=EDIT, body={"inputs": {"image": {"asset_id": NOBODYS}}}),
    Ask(code="idempotency_key_reuse", path=EDIT, body={"inputs": {}}, shown={"Idempotency-Key": "{used}"}),
    Ask(code="deadline_too_soon", path=EDIT, body={"inputs": {}, "deadline_ms": 1}),
    Ask(
        code="no_picture",
        path="/v1/templates/node_execution_error/jobs",
        body={"inputs": {}},
        shown={"Prefer": "wait=60", "Accept": "image/*"},
    ),
    Ask(code="metadata_invalid", path=EDIT, body={"inputs": {}, "metadata": {"my key": "x"}}),
    Ask(code="invalid_metadata_filter", method="GET", path=f"{JOBS}?metadata[my key]=x"),
    Ask(code="invalid_cursor", method="GET", path=f"{JOBS}?cursor=second"),
    Ask(code="unauthorized", method="GET", path=JOBS, strict=True),
    Ask(code="forbidden", path="/v1/workers", body={"url": "http://10.0.0.7:8188"}, headers=SHOP, strict=True),
    Ask(code="not_found", method="GET", path="/v1/templates/edti"),
    Ask(code="method_not_allowed", method="DELETE", path="/v1/templates"),
    Ask(
        code="blob_not_found",
        path="/api/v2/assets/from-hash",
        body={"hash": f"blake3:{'0' * 64}", "file_path": "fox.png"},
    ),
    Ask(code="output_unavailable", method="GET", path="/api/v2/assets/{lost}/content"),
    Ask(code="not_queued", method="PATCH", path="/v1/jobs/{graph_job}", body={"priority": 10}),
    Ask(code="conflict", path="/v1/jobs/{graph_job}/retry"),
    Ask(
        code="hash_mismatch",
        path="/api/v2/assets",
        form={"file_path": "fox.txt", "content_type": "text/plain", "expected_hash": f"blake3:{'0' * 64}"},
        files={"file": ("fox.txt", b"a fox")},
    ),
    Ask(code="asset_in_use", method="DELETE", path="/api/v2/assets/{output}"),
    Ask(code="payload_too_large", path=JOBS, body={"workflow": changed(note="x" * 3000)}, headers=SHOP, strict=True),
    Ask(
        code="range_not_satisfiable",
        method="GET",
        path="/api/v2/assets/{output}/content",
        shown={"Range": "bytes=9000000-"},
    ),
    Ask(code="queue_full", path=JOBS, body={"workflow": GRAPH}, headers=SHOP, strict=True),
    Ask(code="too_many_streams", method="GET", path="/api/v2/jobs/{queued}/events", headers=SHOP, strict=True),
    Ask(code="template_waiting", path="/v1/templates/saved/jobs", body={"inputs": {}}, headers=SHOP, strict=True),
    Ask(
        code="invalid_template",
        path="/v1/templates",
        form={"name": "fox"},
        files={
            "workflow": ("fox.json", json.dumps(GRAPH).encode()),
            "sidecar": ("fox.toml", b'[parameters.size]\ntype = "integer"\ntarget = "1.widht"\n'),
        },
    ),
)
FAILING = {
    "node_execution_error": {"class_type": "WTRaise", "inputs": {"image": ["1", 0], "kind": "matmul"}},
    "out_of_memory": {"class_type": "WTRaise", "inputs": {"image": ["1", 0], "kind": "oom"}},
    "timeout": {"class_type": "WTSleep", "inputs": {"image": ["1", 0], "seconds": 60.0, "tag": "", "steps": 600}},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Two gateways, and what is there to ask for."""

    plain: httpx.AsyncClient
    strict: httpx.AsyncClient
    known: Mapping[str, str]


@pytest.fixture
async def site(start_gateway: Start, tmp_path: Path) -> AsyncIterator[Site]:
    own = tmp_path / "workflows"
    own.mkdir()
    (own / "saved.json").write_text(json.dumps(SAVED))
    for name, node in FAILING.items():
        save = {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": name}}
        (own / f"{name}.json").write_text(json.dumps({"1": GRAPH["1"], "3": node, "2": save}))
        (own / f"{name}.toml").write_text('[limits]\ntries = 1\nrun = "1s"\n')
    options = simulator.Options(node_packs=frozenset({"wiretest"}), card="instant")
    plain = await start_gateway(workers=1, options=options, data_dir=tmp_path / "plain", workflows=(own,))
    limits: Any = {"json_body": 2000, "streams": 1}
    strict = await start_gateway(
        workers=0, data_dir=tmp_path / "strict", workflows=(own,), api_keys=KEYS, limits=limits
    )
    async with client(plain) as one, client(strict) as two:
        queued = (await two.post(JOBS, json={"workflow": GRAPH}, headers={**SHOP, "Prefer": "wait=0"})).json()["id"]
        known = {**await _things(one, tmp_path / "plain"), "queued": queued}
        async with two.stream("GET", f"{JOBS}/{queued}/events", headers=SHOP):
            yield Site(plain=one, strict=two, known=known)


def client(gateway: app.Gateway) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=gateway.url, timeout=60, headers={"Prefer": "wait=60"})


async def _things(asking: httpx.AsyncClient, data: Path) -> dict[str, str]:
    """A job that has ended, its output, one whose bytes are gone, and a key that was used."""
    used = {"Idempotency-Key": "order-1042"}
    kept = (await asking.post(EDIT, json={"inputs": {}}, headers=used)).json()
    graph = (await asking.post(JOBS, json={"workflow": GRAPH})).json()
    lost = graph["outputs"][0]
    digest = lost["hash"].removeprefix("blake3:")
    for path in (data / "blobs").rglob(f"*{digest[4:]}*"):
        path.unlink() if path.is_file() else shutil.rmtree(path)
    known = {"used": "order-1042", "graph_job": graph["id"], "output": kept["outputs"][0]["id"], "lost": lost["id"]}
    return {name: str(value) for name, value in known.items()}


def filled(text: str, known: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: known.get(found[1], found[0]), text)


async def asked(site: Site, ask: Ask) -> httpx.Response:
    there = site.strict if ask.strict else site.plain
    shown = {name: filled(value, site.known) for name, value in ask.shown.items()}
    given: dict[str, Any] = {"headers": {**ask.headers, **shown}}
    if ask.raw is not None:
        given |= {"content": ask.raw, "headers": {**given["headers"], "Content-Type": "application/json"}}
    elif ask.files:
        given |= {"data": ask.form, "files": ask.files}
    elif ask.body is not None:
        given["json"] = ask.body
    return await there.request(ask.method, filled(ask.path, site.known), **given)


def example(ask: Ask, answer: httpx.Response) -> dict[str, Any]:
    """What the page shows."""
    body = ask.raw if ask.raw is not None else None if ask.body is None else json.dumps(ask.body, ensure_ascii=False)
    if ask.files:
        parts = [f"{name}={value}" for name, value in (ask.form or {}).items()]
        body = "\n".join([*parts, *(f"{name}=@{file}: {data.decode()}" for name, (file, data) in ask.files.items())])
    lines = [f"{ask.method} {ask.path}", *(f"{name}: {value}" for name, value in ask.shown.items())]
    request = settled(filled("\n".join(lines), {"used": "order-1042"}))
    return {
        "code": ask.code,
        "request": request,
        "body": shortened(body),
        "status": answer.status_code,
        "answer": json.loads(settled(json.dumps(answer.json()))),
    }


#: What is another each time, or with another version of a library, and what the page has instead.
VARYING = (
    (re.compile(r"\{(graph_job|output|lost|queued)\}"), NOBODYS),
    (UUID, NOBODYS),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:8188"),
    (re.compile(r"outside of \d+ bytes"), "outside of 236786 bytes"),
    (re.compile(r"bytes blake3:[0-9a-f]{64} are"), f"bytes blake3:{'6f' * 32} are"),
    (re.compile(r"ran for [\d.]+ s"), "ran for 1.1 s"),
    (
        re.compile(r"in about [\d.e-]+ s \(nine in ten such by [\d.e-]+ s\)"),
        "in about 0.2 s (nine in ten such by 0.3 s)",
    ),
    (re.compile(r'"p50": \d+, "p90": \d+'), '"p50": 200, "p90": 300'),
)


def settled(text: str) -> str:
    """The text without what varies."""
    for what, instead in VARYING:
        text = what.sub(instead, text)
    return text


def shortened(body: str | None) -> str | None:
    return None if body is None else re.sub(r"x{20,}", "xxx…", body)


async def failures(site: Site) -> list[dict[str, Any]]:
    """Jobs that fail, and what they say."""
    ordered = await asyncio.gather(
        *(site.plain.post(f"/v1/templates/{name}/jobs", json={"inputs": {}}) for name in FAILING)
    )
    return [
        {"code": name, "job": True, "answer": json.loads(settled(json.dumps(trimmed(answer.json()["error"]))))}
        for name, answer in zip(FAILING, ordered, strict=True)
    ]


def trimmed(error: Mapping[str, Any]) -> dict[str, Any]:
    """The error without its traceback, which is full of paths of this machine."""
    return {**error, "traceback": "…"} if error.get("traceback") else dict(error)


async def test_each_is_answered_as_the_page_shows(site: Site) -> None:
    answers = [example(ask, await asked(site, ask)) for ask in ASKS]
    assert [(each["code"], each["answer"]["error"]["code"]) for each in answers] == [(ask.code,) * 2 for ask in ASKS]
    found = [*answers, *await failures(site)]
    if os.environ.get("WRITE_DOCS"):
        RECORDED.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == json.loads(RECORDED.read_text())
