"""What the supervisor works out before it starts anything: GPUs, ports, restarts, folders, logs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.adapters import datadir, gpus
from gateway.domain import errors
from gateway.settings import Restart
from gateway.supervisor import comfyui, listening, logfile, plan, restarts

CARDS = gpus.Found(
    driver="1",
    gpus=(
        gpus.Gpu(index=0, uuid="GPU-aaaaaaaa-1", name="Card", memory_bytes=24 << 30),
        gpus.Gpu(index=1, uuid="GPU-bbbbbbbb-1", name="Card", memory_bytes=24 << 30),
        gpus.Gpu(index=2, uuid="MIG-cccccccc-1", name="Slice", memory_bytes=10 << 30, mig=0),
        gpus.Gpu(index=2, uuid="MIG-dddddddd-1", name="Slice", memory_bytes=10 << 30, mig=1),
    ),
)
NONE = gpus.Found(missing="NVML Shared Library Not Found")


@pytest.mark.parametrize(
    ("wanted", "found", "allowed", "visible"),
    [
        ("all", CARDS, None, ["0", "1", "MIG-cccccccc-1", "MIG-dddddddd-1"]),
        ("all", CARDS, "1", ["1"]),
        ("all", CARDS, "GPU-bbbbbbbb-1,0", ["1", "0"]),
        (("1",), CARDS, "0", ["1"]),
        (("GPU-bbbbbbbb",), CARDS, None, ["1"]),
        (("2.1",), CARDS, None, ["MIG-dddddddd-1"]),
        (("0", "3"), NONE, None, ["0", "3"]),
        (("GPU-12345678-9",), NONE, None, ["GPU-12345678-9"]),
    ],
)
def test_gpus_are_chosen(
    wanted: str | tuple[str, ...], found: gpus.Found, allowed: str | None, visible: list[str]
) -> None:
    environment = {} if allowed is None else {"CUDA_VISIBLE_DEVICES": allowed}
    assert [pin.visible for pin in gpus.choose(wanted, found, environment)] == visible


@pytest.mark.parametrize(
    ("wanted", "found", "allowed", "said"),
    [
        ("all", NONE, None, "no NVIDIA GPU was found (NVML Shared Library Not Found)"),
        ("all", CARDS, "", "CUDA_VISIBLE_DEVICES is empty"),
        (("7",), CARDS, None, "there is no GPU '7'; this machine has: 0 (Card, GPU-aaaaaaaa-1)"),
        (("0", "GPU-aaaaaaaa-1"), CARDS, None, "names a GPU twice"),
        (("first",), NONE, None, "there is no GPU 'first'"),
    ],
)
def test_gpus_that_cannot_be(wanted: str | tuple[str, ...], found: gpus.Found, allowed: str | None, said: str) -> None:
    environment = {} if allowed is None else {"CUDA_VISIBLE_DEVICES": allowed}
    with pytest.raises(errors.ConfigError) as caught:
        gpus.choose(wanted, found, environment)
    assert said in caught.value.message


POLICY = Restart(first_delay=1, most_delay=60, steady_after=60, give_up_after=5)


def test_restarts_wait_longer_each_time_and_never_too_long() -> None:
    delays = [restarts.Record(failures=failures).delay(POLICY, 0.5) for failures in (1, 2, 3, 7, 1000)]
    assert delays == [1, 2, 4, 60, 60]
    assert restarts.Record(failures=1).delay(POLICY, 0) == 0.75
    assert restarts.Record(failures=1).delay(POLICY, 1) == 1.25


def test_a_steady_life_clears_the_record() -> None:
    record = restarts.Record(failures=4).after(61, POLICY)
    assert (record.failures, record.hopeless(POLICY)) == (1, False)
    assert restarts.Record(failures=4).after(59, POLICY).hopeless(POLICY)


def test_ports_are_the_same_each_time_unless_taken(tmp_path: Path) -> None:
    first = next(plan.free_ports(tmp_path))
    assert next(plan.free_ports(tmp_path)) == first
    with socket.create_server(("127.0.0.1", first)):
        assert not plan.is_free(first)
        assert next(plan.free_ports(tmp_path)) != first
    assert plan.is_free(first)


def test_a_data_directory_is_private_and_keeps_its_secret(tmp_path: Path) -> None:
    data = datadir.at(tmp_path / "a" / "data")
    assert data.path.stat().st_mode & 0o777 == 0o700
    secret = data.secret()
    assert len(secret) == 32
    assert datadir.at(data.path).secret() == secret
    assert data.identity() == datadir.at(data.path).identity()
    assert (data.path / "secret").stat().st_mode & 0o077 == 0
    assert not list(data.path.glob(".secret-*"))


def test_a_data_directory_has_one_owner(tmp_path: Path) -> None:
    data = datadir.at(tmp_path)
    assert datadir.holder(data) is None
    with datadir.locked(data):
        assert datadir.holder(data) == os.getpid()
        with pytest.raises(errors.DataDirLocked, match=f"process {os.getpid()}"), datadir.locked(data):
            pass
        other = "import sys; from gateway.adapters import datadir; from pathlib import Path\n"
        other += "with datadir.locked(datadir.at(Path(sys.argv[1]))): pass"
        found = subprocess.run(
            [sys.executable, "-c", other, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert "DataDirLocked" in found.stderr
    assert datadir.holder(data) is None
    with datadir.locked(data):
        pass


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.ConfigError, match="cannot be made"):
        datadir.at(tmp_path / "file" / "data")


def test_a_long_path_has_its_socket_elsewhere(tmp_path: Path) -> None:
    assert datadir.DataDir(path=Path("/short")).socket == Path("/short/supervisor.sock")
    long = datadir.DataDir(path=tmp_path / ("x" * 60) / ("y" * 60))
    assert len(os.fsencode(long.socket)) <= 100
    assert long.socket == datadir.DataDir(path=long.path).socket


def test_logs_are_rotated_and_their_ends_are_readable(tmp_path: Path) -> None:
    log = tmp_path / "gpu0.log"
    logfile.rotate(log)
    assert logfile.tail(log) == ""
    for number in range(6):
        log.write_text(f"run {number}\n")
        logfile.rotate(log)
    assert not log.exists()
    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == ["run 5\n", "run 4\n", "run 3\n"]
    log.write_text("one\n\x1b[31mtwo\x1b[0m\n 10%|#\r 20%|##\r100%|##########\n\nlast\n")
    assert logfile.tail(log, lines=3) == "two\n100%|##########\nlast"


def test_a_log_is_shortened_under_the_hands_of_who_writes_it(tmp_path: Path) -> None:
    log = tmp_path / "gpu0.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 100)
        logfile.shorten(log, over=200)
        assert log.stat().st_size == 100
        logfile.shorten(log, over=99)
        writer.write(b"after")
    assert log.read_bytes() == b"after"
    assert (tmp_path / "gpu0.log.1").read_bytes() == b"x" * 100


def test_the_workers_environment() -> None:
    ours = {"PATH": "/bin", "COMFY_GATEWAY_API_KEYS": "a:b", "VIRTUAL_ENV": "/v", "CUDA_VISIBLE_DEVICES": "5"}
    assert comfyui.environment(ours, visible="1", mark="m") == {
        "PATH": "/bin",
        "PYTHONUNBUFFERED": "1",
        "COMFY_GATEWAY_MARK": "m",
        "CUDA_VISIBLE_DEVICES": "1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "localhost"),
        ("0.0.0.0", "127.0.0.1"),
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
        ("[::]", "127.0.0.1"),
    ],
)
def test_listening(host: str, shown: str) -> None:
    sockets = listening.open_sockets(host, 0)
    try:
        ports = {opened.getsockname()[1] for opened in sockets}
        assert len(ports) == 1
        assert listening.url(host, sockets) == f"http://{shown}:{ports.pop()}"
    finally:
        listening.close(sockets)


def test_a_name_that_is_not_ours_cannot_be_listened_on() -> None:
    with pytest.raises(errors.ConfigError, match="cannot be listened on"):
        listening.open_sockets("192.0.2.1", 0)


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
def test_what_is_no_name_cannot_be_listened_on(host: str) -> None:
    with pytest.raises(errors.ConfigError, match="is not an address of this machine"):
        listening.open_sockets(host, 0)


@pytest.mark.parametrize("load", ["import gateway.cli", "from gateway.cli import build; build()"])
def test_the_command_line_loads_nothing_heavy(load: str) -> None:
    heavy = "{'aiohttp', 'fastapi', 'sqlalchemy', 'pydantic', 'numpy', 'structlog'}"
    code = f"import sys; {load}; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
