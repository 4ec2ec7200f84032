"""`comfy-gateway up --comfyui`: a folder with ComfyUI's own flags and a simulator behind them."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.program import Running, alive, call, until, up

FAKE = Path(__file__).parents[1] / "fixtures" / "fake_comfyui"
QUICK = {
    "COMFY_GATEWAY_RESTART__FIRST_DELAY": "0.05",
    "COMFY_GATEWAY_RESTART__MOST_DELAY": "0.1",
    "COMFY_GATEWAY_RESTART__GIVE_UP_AFTER": "3",
}


@contextmanager
def up_with(folder: Path, *arguments: str, **more: str) -> Generator[Running]:
    """The gateway over the fake ComfyUI, whose control folder is `folder`."""
    where = ("--comfyui", str(FAKE), "--comfyui-python", sys.executable)
    with up(folder, *where, *arguments, more={"FAKE_COMFYUI": str(folder), **QUICK, **more}) as gateway:
        yield gateway


def facts(gateway: Running, worker: str) -> dict[str, Any]:
    """What a worker's process was given."""
    path = gateway.data / "workers" / worker / "facts.json"
    until(path.is_file, str(path))
    return json.loads(path.read_text())


def test_each_process_is_pinned_and_has_folders_of_its_own(tmp_path: Path) -> None:
    arguments = ("--gpus", "1,GPU-8c187e23-aaaa", "--workers-per-gpu", "2", "--comfyui-args", "--lowvram")
    with up_with(tmp_path, *arguments, COMFY_GATEWAY_API_KEYS="app:0123456789abcdef", VIRTUAL_ENV="/ours") as gateway:
        gateway.says("gateway_ready")
        names = {"gpu1": "1", "gpu1b": "1", "gpu8c187e23": "GPU-8c187e23-aaaa", "gpu8c187e23b": "GPU-8c187e23-aaaa"}
        ports: set[str] = set()
        for name, visible in names.items():
            given = facts(gateway, name)
            line, environment = given["arguments"], given["environment"]
            base = gateway.data / "workers" / name
            assert environment["CUDA_VISIBLE_DEVICES"] == visible
            assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
            assert not {"COMFY_GATEWAY_API_KEYS", "VIRTUAL_ENV"} & set(environment)
            assert given["folder"] == str(FAKE)
            pairs = dict(itertools.pairwise(line))
            assert pairs["--listen"] == "127.0.0.1"
            assert pairs["--output-directory"] == str(base / "output")
            assert pairs["--input-directory"] == str(base / "input")
            assert pairs["--temp-directory"] == str(base)
            assert pairs["--user-directory"] == str(base / "user")
            assert pairs["--database-url"] == f"sqlite:///{base / 'user' / 'comfyui.db'}"
            assert "--lowvram" in line
            assert not {"--cpu", "--cuda-device"} & set(line)
            assert (base / "user").is_dir()
            assert "fake ComfyUI starting" in (gateway.data / "logs" / f"{name}.log").read_text()
            ports.add(pairs["--port"])
        assert len(ports) == 4


def test_without_a_gpu_it_runs_on_the_cpu(tmp_path: Path) -> None:
    with up_with(tmp_path, "--gpus", "none") as gateway:
        given = facts(gateway, "cpu0")
        assert "--cpu" in given["arguments"]
        assert given["environment"]["CUDA_VISIBLE_DEVICES"] == ""
        # It answers as a simulator, which is what it is; real and simulated never mix, alone it may work.
        (worker,) = gateway.workers("idle", 1)
        assert (worker["id"], worker["kind"], worker["pid"]) == ("cpu0", "local", given["pid"])


def test_flags_that_a_version_lacks_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    with up_with(tmp_path, "--gpus", "none") as gateway:
        line = facts(gateway, "cpu0")["arguments"]
        assert "--output-directory" in line
        assert not {"--user-directory", "--database-url"} & set(line)


def test_a_crash_loop_stops_and_says_why(tmp_path: Path) -> None:
    with up_with(tmp_path, "--gpus", "0") as gateway:
        gateway.says("gateway_ready")
        first = facts(gateway, "gpu0")["pid"]
        (tmp_path / "crash").write_text("ModuleNotFoundError: No module named 'torch'")
        os.kill(first, signal.SIGKILL)
        told = json.loads(gateway.says(r'\{[^\n]*"event":"worker_failed"[^\n]*\}')[0])
        assert told["reason"] == "it ended 3 times in a row; last, it ended with status 1"
        assert "No module named 'torch'" in told["last_lines"]
        assert told["log"] == str(gateway.data / "logs" / "gpu0.log")
        gateway.ready()  # the gateway itself goes on


def test_what_a_custom_node_started_ends_with_the_gateway(tmp_path: Path) -> None:
    (tmp_path / "helper").touch()
    with up_with(tmp_path, "--gpus", "none") as gateway:
        given = facts(gateway, "cpu0")
        assert alive([given["helper"], given["pid"]]) == [given["helper"], given["pid"]]
        gateway.process.kill()
        gateway.process.wait()
        until(lambda: not alive([given["helper"], given["pid"]]), "worker and helper to be gone")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--comfyui-args", "--port 1"), "--port cannot be given in --comfyui-args"),
        (("--comfyui-args", "--output-dir=/x"), "--output-directory cannot be given in --comfyui-args"),
        (("--comfyui-args", "--cuda-device 0"), "--cuda-device cannot be given in --comfyui-args"),
        (("--comfyui-args", "'"), "--comfyui-args cannot be read"),
        (("--gpus", "zero"), "there is no GPU 'zero'"),
        (("--gpus", "GPU-1234,GPU-1234"), "names a GPU twice"),
        (("--comfyui-python", "/nowhere/python"), "--comfyui-python /nowhere/python is not a program"),
        (("--comfyui-python", "/bin/false"), "does not start with /bin/false"),
    ],
)
def test_wrong_ways_to_start_it_are_told(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    base = ("up", "--port", "0", "--data-dir", str(tmp_path / "data"), "--comfyui", str(FAKE))
    python = () if "--comfyui-python" in arguments else ("--comfyui-python", sys.executable)
    found = call(tmp_path, *base, *python, *arguments, more={"FAKE_COMFYUI": str(tmp_path)})
    assert found.returncode == 2
    assert said in found.stderr
    assert "Traceback" not in found.stderr


def test_a_python_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "ComfyUI"
    shutil.copytree(FAKE, folder)
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("no program")
    for command in ("up", "doctor"):
        arguments = (command, "--port", "0", "--data-dir", str(tmp_path / "data"), "--comfyui", str(folder))
        found = call(tmp_path, *arguments, more={"COLUMNS": "500"})
        said = " ".join((found.stdout + found.stderr).split())
        assert found.returncode in {1, 2}
        assert f"{python} cannot be run: Permission denied" in said
        assert "--comfyui-python" in said
        assert "Traceback" not in said


def test_a_comfyui_brings_its_own_python(tmp_path: Path) -> None:
    """The environment in its folder is used, as its own path: a link that is followed is another environment."""
    folder = tmp_path / "ComfyUI"
    shutil.copytree(FAKE, folder)
    (folder / "venv" / "bin").mkdir(parents=True)
    python = folder / "venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nVENV_USED={python} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with up(tmp_path, "--comfyui", str(folder), "--gpus", "none", more={"FAKE_COMFYUI": str(tmp_path)}) as gateway:
        assert facts(gateway, "cpu0")["environment"]["VENV_USED"] == str(python)
