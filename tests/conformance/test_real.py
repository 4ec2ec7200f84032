"""A real ComfyUI answers what was recorded, too: `COMFYUI_URL=http://127.0.0.1:8188 make conformance`.

Start it fresh, on its own directories, with the folder `wiretest` beside this file in its `custom_nodes`; the
recordings of its version are played. What kills a server, and what needs its disk or other options, is left out.
"""

from __future__ import annotations

import os

import httpx
import pytest

from tests.conformance import playing, recordings, scenarios

URL = os.environ.get("COMFYUI_URL", "")
pytestmark = [
    pytest.mark.real_comfyui,
    pytest.mark.skipif(not URL, reason="needs a real ComfyUI: set COMFYUI_URL"),
]
#: What differs from install to install: which model files are there.
_NEEDS_MODELS = ("05", "24", "25", "30")


def _version() -> str:
    version: str = httpx.get(f"{URL}/system_stats").json()["system"]["comfyui_version"]
    return "0.3.64" if version.startswith("0.3.") else "0.33"


def _names() -> list[str]:
    if not URL:
        return ["all"]
    version = _version()
    chosen: list[str] = []
    for name in playing.playable(version):
        scenario = scenarios.of(name)
        number = name.split("_", maxsplit=1)[0]
        if scenario is None or scenario.deadly or scenario.needs_disk or scenario.options or number in _NEEDS_MODELS:
            continue
        chosen.append(name)
    return chosen


@pytest.mark.parametrize("name", _names())
async def test_recording(name: str) -> None:
    """The server gives the recorded statuses, bodies and frames."""
    await playing.to_server(URL, recordings.load(_version())[name])
