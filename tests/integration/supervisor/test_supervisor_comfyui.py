"""Asking a ComfyUI for its flags."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import psutil

from gateway.supervisor import comfyui

HANGS = """\
import os, pathlib, time
pathlib.Path("pid.new").write_text(str(os.getpid()))
os.replace("pid.new", "pid")
time.sleep(600)
"""


async def test_who_stops_waiting_for_a_comfyui_leaves_none_behind(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(HANGS)
    asking = asyncio.create_task(comfyui.inspect(tmp_path, Path(sys.executable), ""))
    async with asyncio.timeout(30):
        while not (tmp_path / "pid").exists():
            await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
