"""`comfy-gateway doctor`: what it finds, and the way out."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import sys
from pathlib import Path
from typing import Any

from tests.acceptance.program import call, up

FAKE = Path(__file__).parents[1] / "fixtures" / "fake_comfyui"


def examined(folder: Path, *arguments: str, **more: str) -> tuple[int, dict[str, dict[str, Any]], dict[str, Any]]:
    """Exit status, findings by name (the last of a name) and settings."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    base = ("doctor", "--json", "--data-dir", str(folder / "data"), "--port", port)
    found = call(folder, *base, *arguments, more=more)
    assert found.stderr == ""
    report = json.loads(found.stdout)
    assert report["ok"] is (found.returncode == 0)
    return found.returncode, {finding["name"]: finding for finding in report["checks"]}, report["settings"]


def test_a_machine_in_order(tmp_path: Path) -> None:
    status, findings, settings = examined(
        tmp_path, COMFY_GATEWAY_API_KEYS="app:0123456789abcdef", COMFY_GATEWAY_BLOBS=str(tmp_path / "blobs")
    )
    assert status == 0
    assert not [finding for finding in findings.values() if finding["state"] == "wrong"]
    for name in ("Python", "data directory", "address", "database", "blobs", "templates"):
        assert findings[name]["state"] == "ok", name
    assert settings["api_keys"] == [{"name": "app", "key": "**********"}]


def test_everything_that_is_wrong_is_told_with_the_way_out(tmp_path: Path) -> None:
    workflows = tmp_path / "workflows"
    workflows.mkdir()
    (workflows / "broken.json").write_text("{")
    status, findings, _ = examined(
        tmp_path,
        *("--comfyui", str(FAKE), "--comfyui-python", sys.executable, "--gpus", "all"),
        *("--worker", "http://127.0.0.1:9"),
        FAKE_COMFYUI=str(tmp_path),
        CUDA_VISIBLE_DEVICES="",
    )
    assert status == 1
    wrong = {name for name, finding in findings.items() if finding["state"] == "wrong"}
    assert wrong >= {"template broken", "GPUs", "worker", "PyTorch"}
    assert findings["ComfyUI"]["state"] == "ok"
    assert "requirements.txt" in findings["PyTorch"]["way_out"]
    assert "http://127.0.0.1:9" in findings["worker"]["found"]


def test_it_leaves_the_schema_of_an_older_version_to_the_next_start(tmp_path: Path) -> None:
    """A gateway of that version may be running on it."""
    examined(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "gateway.db", isolation_level=None)) as database:
        database.execute("UPDATE alembic_version SET version_num = '0001'")
        status, findings, _ = examined(tmp_path)
        assert (status, findings["database"]["state"]) == (0, "note")
        assert "older version" in findings["database"]["found"]
        assert database.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)


def test_beside_a_running_gateway(tmp_path: Path) -> None:
    with up(tmp_path, "--simulate", "1") as gateway:
        (worker,) = gateway.workers("idle", 1)
        status, findings, _ = examined(tmp_path)
        assert status == 0
        assert f"process {gateway.process.pid}" in findings["data directory"]["found"]
        assert f"sim1 at {worker['url']}: a simulator of ComfyUI" in findings["worker"]["found"]
        assert findings["worker"]["way_out"] is None


def test_the_table_for_people(tmp_path: Path) -> None:
    found = call(tmp_path, "doctor", "--data-dir", str(tmp_path / "data"), "--comfyui", "/nowhere")
    assert found.returncode == 1
    assert "✓   Python" in found.stdout
    assert "✗   ComfyUI" in found.stdout
    assert "Settings" in found.stdout
