"""The worker's entrypoint, run as a program, with a ComfyUI that only tells how it was started."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.unit.comfy_image import shelf

ROOT = Path(__file__).parents[3]
TELLS = """
import json, os, sys
from pathlib import Path
models = sorted(path.name for path in Path(os.environ["MODELS_DIR"]).rglob("[a-z]*.safetensors"))
print(json.dumps({"argv": sys.argv, "env": dict(os.environ), "pid": os.getpid(), "cwd": os.getcwd(), "models": models}))
"""
STAYS = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))
print("up", flush=True)
signal.pause()
"""


class Container:
    """Folders as the image has them, and a way to start the entrypoint in them."""

    def __init__(self, folder: Path, cards: int) -> None:
        self.folder = folder
        for name in ("ComfyUI", "dev"):
            (folder / name).mkdir()
        for number in range(cards):
            (folder / "dev" / f"nvidia{number}").touch()
        (folder / "dev" / "nvidiactl").touch()
        self.comfyui(TELLS)

    def comfyui(self, program: str) -> None:
        """Put another program in ComfyUI's place."""
        (self.folder / "ComfyUI" / "main.py").write_text(program)

    def environment(self, **variables: str) -> dict[str, str]:
        """A container's variables: these, and nothing of the test's own."""
        fixed = {
            "PATH": os.environ["PATH"],
            "COMFYUI_DIR": str(self.folder / "ComfyUI"),
            "WORKER_DATA": str(self.folder / "data"),
            "MODELS_DIR": str(self.folder / "models"),
            "WORKER_DEVICES": str(self.folder / "dev"),
        }
        return {**fixed, **variables}

    def start(self, *options: str, **variables: str) -> subprocess.Popen[str]:
        """Start the entrypoint."""
        return subprocess.Popen(
            [sys.executable, "-m", "comfy_image.entrypoint", *options],
            cwd=ROOT,
            env=self.environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options: str, **variables: str) -> dict[str, Any]:
        """Start it and return what ComfyUI told."""
        with self.start(*options, **variables) as started:
            out, err = started.communicate(timeout=30)
        assert (started.returncode, err) == (0, "")
        told = json.loads(out.splitlines()[-1])
        assert told["pid"] == started.pid, "ComfyUI must be the very process that was started"
        return told

    def refusal(self, *options: str, **variables: str) -> str:
        """Start it and return why it refused."""
        with self.start(*options, **variables) as started:
            out, err = started.communicate(timeout=30)
        assert (started.returncode, out) == (2, "")
        return err


@pytest.fixture
def container(tmp_path: Path) -> Container:
    """A container that sees one GPU."""
    return Container(tmp_path, cards=1)


def pairs(argv: Sequence[str]) -> dict[str, str]:
    """Options and their values."""
    return dict(zip(argv[1::2], argv[2::2], strict=True))


def test_one_comfyui_with_folders_of_its_own(container: Container) -> None:
    told = container.run()
    data = container.folder / "data"
    assert pairs(told["argv"]) == {
        "--listen": "0.0.0.0",
        "--port": "8188",
        "--output-directory": f"{data}/output",
        "--input-directory": f"{data}/input",
        "--temp-directory": f"{data}/temp",
        "--user-directory": f"{data}/user",
        "--database-url": f"sqlite:///{data}/user/comfyui.db",
    }
    assert sorted(path.name for path in data.iterdir()) == ["input", "output", "temp", "user"]
    assert told["cwd"] == str(container.folder / "ComfyUI")
    assert told["env"]["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "CUDA_VISIBLE_DEVICES" not in told["env"]


def test_variables_and_further_options(container: Container) -> None:
    told = container.run("--lowvram", "--preview-method", "auto", WORKER_PORT="9000", WORKER_LISTEN="127.0.0.1")
    assert told["argv"][-3:] == ["--lowvram", "--preview-method", "auto"]
    assert told["argv"][1:5] == ["--listen", "127.0.0.1", "--port", "9000"]


def test_the_chosen_gpu_is_passed_on(tmp_path: Path) -> None:
    told = Container(tmp_path, cards=4).run(CUDA_VISIBLE_DEVICES="GPU-5f2c", CUDA_DEVICE_ORDER="FASTEST_FIRST")
    assert told["env"]["CUDA_VISIBLE_DEVICES"] == "GPU-5f2c"
    assert told["env"]["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_without_a_gpu_only_when_asked(tmp_path: Path) -> None:
    container = Container(tmp_path, cards=0)
    assert "no GPU is visible" in container.refusal()
    told = container.run("--cpu")
    assert told["env"]["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(("chosen", "words"), [(None, "2 GPUs are visible"), ("0,1", "one GPU"), ("", "one GPU")])
def test_more_than_one_gpu_is_refused(tmp_path: Path, chosen: str | None, words: str) -> None:
    variables = {} if chosen is None else {"CUDA_VISIBLE_DEVICES": chosen}
    assert words in Container(tmp_path, cards=2).refusal(**variables)


@pytest.mark.parametrize(
    "option",
    [
        "--cuda-device",
        "--cuda-device=1",
        "--cuda-d",
        "--listen",
        "--port=1",
        "--output-directory",
        "--out",
        "--input-dir=/tmp",
        "--temp-directory",
        "--user-directory",
        "--base-directory",
        "--database-url",
    ],
)
def test_what_makes_a_worker_a_worker_is_not_open_to_options(container: Container, option: str) -> None:
    told = container.refusal(option, "1")
    assert option in told
    assert "set " in told


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"WORKER_PORT": "http"}, "not a port number"),
        ({"WORKER_PORT": "70000"}, "not a port number"),
        ({"COMFYUI_DIR": "/nonexistent"}, "no ComfyUI in /nonexistent"),
        ({"WORKER_DATA": "/dev/null/data"}, "must belong to user"),
    ],
)
def test_what_cannot_work_is_told(container: Container, variables: dict[str, str], words: str) -> None:
    assert words in container.refusal(**variables)


def test_signals_reach_comfyui(container: Container) -> None:
    container.comfyui(STAYS)
    with container.start() as started:
        assert started.stdout is not None
        assert started.stdout.readline().startswith("Starting")
        assert started.stdout.readline() == "up\n"
        started.send_signal(signal.SIGTERM)
        started.communicate(timeout=30)
    assert started.returncode == 42


def write_manifest(folder: Path, url: str, content: bytes) -> str:
    """A manifest with two groups of one file."""
    sha256 = hashlib.sha256(content).hexdigest()
    entries = [
        f'[[model]]\npath = "vae/{name}.safetensors"\nurl = "{url}/{name}"\nsha256 = "{sha256}"\ngroups = ["{name}"]\n'
        for name in ("one", "two")
    ]
    path = folder / "own.toml"
    path.write_text("\n".join(entries))
    return str(path)


@pytest.mark.parametrize(
    ("wanted", "there"),
    [("", []), ("one", ["one.safetensors"]), ("one, two", ["one.safetensors", "two.safetensors"])],
)
def test_models_come_first(container: Container, wanted: str, there: list[str]) -> None:
    (container.folder / "models").mkdir()
    with shelf.shelf(b"weights") as server:
        manifest = write_manifest(container.folder, server.url, b"weights")
        told = container.run(MODELS=wanted, MODELS_MANIFEST=manifest)
    assert told["models"] == there


def test_without_its_models_it_does_not_start(container: Container) -> None:
    with shelf.shelf(b"other weights") as server:
        manifest = write_manifest(container.folder, server.url, b"weights")
        with container.start(MODELS="one", MODELS_MANIFEST=manifest) as started:
            out, err = started.communicate(timeout=30)
    assert started.returncode == 1
    assert "failed   vae/one.safetensors" in out
    assert "does not start without its models" in err


def test_a_stop_while_models_come_is_obeyed(container: Container) -> None:
    reached = threading.Event()
    content = bytes(100_000)
    with shelf.shelf(content, shelf.drip(reached, 1000)) as server:
        manifest = write_manifest(container.folder, server.url, content)
        with container.start(MODELS="one", MODELS_MANIFEST=manifest) as started:
            assert reached.wait(30)
            started.send_signal(signal.SIGTERM)
            started.communicate(timeout=30)
    assert started.returncode == 130


def test_the_warm_up_ends_with_comfyui(container: Container) -> None:
    with container.start(WARM_UP="m.safetensors", WORKER_PORT="1") as started:
        assert started.wait(30) == 0
        out, err = started.communicate(timeout=30)  # the pipes close only when the warm-up is gone, too
    assert json.loads(out.splitlines()[-1])["pid"] == started.pid
    assert "Warm-up failed: ComfyUI ended" in err
