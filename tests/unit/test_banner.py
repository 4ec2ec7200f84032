"""What greets the person who started the gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import settings
from gateway.adapters import datadir
from gateway.supervisor import banner


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("http://127.0.0.1:8180", 'comfy-gateway run sdxl prompt="a red fox"'),
        ("http://127.0.0.1:8181", 'comfy-gateway run --url http://127.0.0.1:8181 sdxl prompt="a red fox"'),
        ("http://192.168.1.5:8180", 'comfy-gateway run --url http://192.168.1.5:8180 sdxl prompt="a red fox"'),
        ("https://gpus.example", 'comfy-gateway run --url https://gpus.example sdxl prompt="a red fox"'),
    ],
)
def test_the_command_that_is_shown_finds_the_gateway(url: str, command: str, tmp_path: Path) -> None:
    wanted = settings.load({"data_dir": tmp_path}, environment={})
    assert f"{command}   (" in banner.block(wanted, datadir.DataDir(path=tmp_path), url, [])
