"""Make `tests/fixtures/wire/*.json.gz` from the recordings of real servers: what a replay needs, nothing else.

python tests/conformance/tools/trim_recordings.py /work/shared/comfyui-wire
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[2] / "fixtures" / "wire"
HEADERS = ("Content-Type", "Content-Disposition", "X-Content-Type-Options", "Allow", "Vary", "Cache-Control")
REQUEST_HEADERS = ("Origin", "Range")
LONG = 400
_KEPT_EMPTY = ("t", "body", "raw", "json", "text")


def shortened(value: Any) -> Any:
    """Cut tracebacks and long texts."""
    if isinstance(value, dict):
        return {key: ["<traceback>"] if key == "traceback" and item else shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shortened(item) for item in value]
    if isinstance(value, str) and len(value) > LONG:
        return "<tensor>" if value.startswith("tensor(") else value[:40] + "<cut>"
    return value


def http(event: dict[str, Any]) -> dict[str, Any]:
    """Trim a request and its answer."""
    sent = event.get("request_headers") or {}
    got = event.get("response_headers") or {}
    trimmed = {
        "kind": "http",
        "t": event["t"],
        "label": event.get("label"),
        "method": event["method"],
        "path": event["path"],
        "query": event.get("query"),
        "headers": {name: sent[name] for name in REQUEST_HEADERS if name in sent},
        "body": event.get("request_body"),
        "raw": event.get("request_body_raw"),
        "status": event.get("status"),
        "elapsed": event.get("elapsed_ms"),
        "json": shortened(event.get("response_json")),
        "text": shortened(event.get("response_text")),
        "magic": (event.get("response_head_hex") or "")[:11] or None,
        "answer_headers": {name: got[name] for name in HEADERS if name in got},
        "failed": event.get("client_exception"),
    }
    return {key: value for key, value in trimmed.items() if value is not None and (value or key in _KEPT_EMPTY)}


def trim(event: dict[str, Any]) -> dict[str, Any] | None:
    """Trim one event."""
    match event["kind"]:
        case "http":
            return http(event)
        case "ws_text":
            return {"kind": "text", "t": event["t"], "conn": event["conn"], "json": shortened(event["json"])}
        case "ws_binary":
            kept = ("event_type", "image_type", "metadata", "node_id", "text")
            return {"kind": "binary", "t": event["t"], "conn": event["conn"]} | {
                key: event[key] for key in kept if key in event
            }
        case "ws_connecting" | "ws_open" | "ws_closed" | "ws_send" | "note":
            kept = ("conn", "query", "json", "text", "msg_type", "path")
            return {"kind": event["kind"].removeprefix("ws_"), "t": event["t"]} | {
                key: event[key] for key in kept if key in event
            }
        case _:
            return None


def read(path: Path) -> dict[str, Any]:
    """Read one recording."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    events = [trimmed for line in lines[1:] if (trimmed := trim(line)) is not None]
    return {"description": lines[0]["description"], "events": events}


def main(source: Path) -> None:
    """Write one file a version."""
    TARGET.mkdir(parents=True, exist_ok=True)
    for version, folders in {"0.33": ["v0.33"], "0.3.64": [".", "v0.33/also_on_0.3.64"]}.items():
        found = {path.stem: read(path) for folder in folders for path in sorted((source / folder).glob("*.jsonl"))}
        data = json.dumps(found, separators=(",", ":")).encode()
        (TARGET / f"{version}.json.gz").write_bytes(gzip.compress(data, 9, mtime=0))
        sys.stdout.write(f"{version}: {len(found)} recordings, {len(data)} bytes\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
