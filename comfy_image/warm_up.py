"""Load a model before anybody waits for it: run one tiny graph on this worker, then leave a note for the health check.

    python -m comfy_image.warm_up --url http://127.0.0.1:8188 --note FILE CHECKPOINT|GRAPH.json

Started with --detach it goes on in the background and outlives the caller, which is about to become ComfyUI.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

_SILENT = (OSError, ValueError, http.client.HTTPException)


class WarmUpError(Exception):
    """The graph did not run; the message is ComfyUI's where it gave one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for ComfyUI, and for which process."""

    deadline: float
    poll_s: float
    pid: int | None

    def pause(self, complaint: str) -> None:
        """Wait a little, unless it is in vain."""
        if time.monotonic() > self.deadline:
            raise WarmUpError(f"{complaint} in time")
        if self.pid is not None and not _lives(self.pid):
            raise WarmUpError("ComfyUI ended")
        time.sleep(self.poll_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="warm_up", description=__doc__, allow_abbrev=False)
    parser.add_argument("what", help="a checkpoint file of ComfyUI's list, or a graph in API format (.json)")
    parser.add_argument("--url", required=True)
    parser.add_argument("--note", type=Path, required=True, help="where to write how it ended")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds for start and graph together")
    parser.add_argument("--poll", type=float, default=1.0, help="seconds between two looks")
    parser.add_argument("--pid", type=int, help="ComfyUI's process; give up when it has ended")
    parser.add_argument("--detach", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.detach and os.fork():
        return 0
    try:
        patience = Patience(deadline=time.monotonic() + asked.timeout, poll_s=asked.poll, pid=asked.pid)
        seconds = run(graph_of(asked.what), asked.url, patience)
    except (WarmUpError, OSError, ValueError) as error:
        print(f"Warm-up failed: {error}", file=sys.stderr, flush=True)
        asked.note.write_text(json.dumps({"ok": False, "error": str(error)}))
        return 1
    print(f"Warmed up with {asked.what} in {seconds:.1f} s", flush=True)
    asked.note.write_text(json.dumps({"ok": True, "seconds": round(seconds, 1)}))
    return 0


def graph_of(what: str) -> dict[str, Any]:
    """Read the graph, or make the smallest one that loads this checkpoint whole: model, text encoder and VAE."""
    if what.endswith(".json"):
        return cast(dict[str, Any], json.loads(Path(what).read_text(encoding="utf-8")))

    def node(class_type: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": class_type, "inputs": inputs}

    sampling = {"seed": 0, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name=what),
        "2": node("CLIPTextEncode", text="warm-up", clip=["1", 1]),
        "3": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "4": node("KSampler", model=["1", 0], positive=["2", 0], negative=["2", 0], latent_image=["3", 0], **sampling),
        "5": node("VAEDecode", samples=["4", 0], vae=["1", 2]),
        "6": node("PreviewImage", images=["5", 0]),
    }


def run(graph: dict[str, Any], url: str, patience: Patience) -> float:
    """Wait for ComfyUI, run the graph, and return how long the graph took."""
    while not _answers(url):
        patience.pause("ComfyUI does not answer")
    started = time.monotonic()
    prompt_id = str(uuid.uuid4())
    answer = _ask(f"{url}/prompt", {"prompt": graph, "prompt_id": prompt_id, "client_id": "warm-up"})
    prompt_id = str(answer.get("prompt_id", prompt_id))
    while (entry := _entry(url, prompt_id)) is None:
        patience.pause("the graph did not end")
    status = cast(dict[str, Any], entry.get("status") or {})
    if status.get("status_str") != "success":
        raise WarmUpError(f"ComfyUI could not run the graph: {_reason(status)}")
    return time.monotonic() - started


def _reason(status: dict[str, Any]) -> str:
    for kind, facts in cast(list[Any], status.get("messages") or []):
        if kind == "execution_error":
            return f"{facts.get('node_type')}: {facts.get('exception_message')}"
    return "it gave no reason"


def _entry(url: str, prompt_id: str) -> dict[str, Any] | None:
    """The graph's history, once there is one; a ComfyUI that is loading gigabytes may be slow to answer."""
    try:
        return _ask(f"{url}/history/{prompt_id}").get(prompt_id)
    except _SILENT:
        return None


def _answers(url: str) -> bool:
    try:
        _ask(f"{url}/system_stats")
    except (WarmUpError, *_SILENT):
        return False
    return True


def _ask(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  this worker's own address
            return cast(dict[str, Any], json.loads(answer.read()))
    except urllib.error.HTTPError as error:
        with error:
            raise WarmUpError(f"ComfyUI said {error.code}: {error.read(2000).decode(errors='replace')}") from error


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
