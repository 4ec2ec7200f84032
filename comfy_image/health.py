"""The container's health check: ComfyUI answers, and the warm-up, where one was asked for, ended well."""

from __future__ import annotations

import http.client
import json
import os
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path


def main(environment: Mapping[str, str]) -> int:
    """Say what is wrong, or nothing."""
    complaint = check(environment)
    print(complaint or "healthy")
    return 1 if complaint else 0


def check(environment: Mapping[str, str]) -> str | None:
    """What keeps the worker from being healthy."""
    port = environment.get("WORKER_PORT") or "8188"
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/system_stats", timeout=5) as answer:
            json.loads(answer.read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"ComfyUI does not answer: {error}"
    if not environment.get("WARM_UP"):
        return None
    note = Path(environment.get("WORKER_DATA") or "/data") / "warmed-up.json"
    try:
        ending = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "warming up"
    return None if ending.get("ok") else f"the warm-up failed: {ending.get('error')}"


if __name__ == "__main__":
    sys.exit(main(os.environ))
