"""`comfy-gateway demo`, as `make demo` calls it."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.acceptance.program import COMMAND, alive, call, environment, until

PICTURES = {
    "sdxl-7-1.png",
    "sdxl-8-1.png",
    "sdxl-9-1.png",
    "edit-soft_light-1.png",
    "edit-multiply-1.png",
    "contact-sheet-1.png",
}


def temporary(folder: Path) -> Path:
    """A folder for temporary files of this test's own."""
    made = folder / "tmp"
    made.mkdir()
    return made


@pytest.mark.slow
def test_three_templates_over_two_workers(tmp_path: Path) -> None:
    aside = temporary(tmp_path)
    out = tmp_path / "demo-output"
    out.mkdir()
    (out / "mine.png").write_text("mine")
    with socket.socket() as taken:  # somebody has the gateway's usual port
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8180))
            taken.listen()
        except OSError:
            pass  # somebody really has
        done = call(tmp_path, "demo", more={"TMPDIR": str(aside)})
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == PICTURES | {"mine.png"}
    for name in PICTURES:
        with Image.open(out / name) as picture:
            assert picture.width >= 256
            picture.load()
    lines = {
        line.rsplit("demo-output/", 1)[1].strip(): line.split() for line in done.stdout.splitlines() if ".png" in line
    }
    assert set(lines) == PICTURES
    assert {word for line in lines.values() for word in line} >= {"sim1", "sim2"}
    assert "Simulated: no model drew them." in done.stdout
    assert sum("comfy-gateway " in line for line in done.stdout.partition("What next")[2].splitlines()) == 3
    assert list(aside.glob("comfy-gateway-demo-*")) == []


@pytest.mark.slow
def test_killed_it_leaves_no_process_behind(tmp_path: Path) -> None:
    aside = temporary(tmp_path)
    with subprocess.Popen(
        [COMMAND, "demo", "--json"],
        cwd=tmp_path,
        env=environment(TMPDIR=str(aside)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stderr is not None
        for line in demo.stderr:
            if "running on" in line:
                break
        family = [each.pid for each in psutil.Process(demo.pid).children(recursive=True)]
        assert len(family) >= 4
        demo.send_signal(signal.SIGKILL)
        demo.communicate()
    until(lambda: not alive(family), "all processes to be gone")


@pytest.mark.slow
def test_ctrl_c_ends_it_in_order(tmp_path: Path) -> None:
    aside = temporary(tmp_path)
    with subprocess.Popen(
        [COMMAND, "demo", "--json"],
        cwd=tmp_path,
        env=environment(TMPDIR=str(aside)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stderr is not None
        for line in demo.stderr:
            if "running on" in line:
                break
        family = [each.pid for each in psutil.Process(demo.pid).children(recursive=True)]
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
        assert demo.returncode == 130
    assert alive(family) == []
    assert list(aside.glob("comfy-gateway-demo-*")) == []
