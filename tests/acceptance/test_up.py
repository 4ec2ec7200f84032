"""`comfy-gateway up` as a user runs it: real processes, real signals."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.acceptance.program import alive, call, until, up

KEY = "0123456789abcdef"


def test_simulators_survive_a_server_that_is_killed(tmp_path: Path) -> None:
    with up(tmp_path, "--simulate", "2") as gateway:
        gateway.ready()
        before = {worker["id"]: worker["pid"] for worker in gateway.workers("idle", 2)}
        assert set(before) == {"sim1", "sim2"}
        first = gateway.server()
        assert first is not None
        os.kill(first, signal.SIGKILL)
        gateway.ready()  # the listening socket is the supervisor's: nobody is refused meanwhile
        assert gateway.server() not in {None, first}
        after = {worker["id"]: worker["pid"] for worker in gateway.workers("idle", 2)}
        assert after == before
        assert all(worker["restarts"] == 0 and worker["simulated"] for worker in gateway.workers("idle", 2))

        family = list(gateway.children())
        assert gateway.stop() == 0
        assert alive(family) == []
        assert "gateway_stopped" in gateway.output
        assert '"level":"error"' not in gateway.output.partition("gateway_stopping")[2]


def test_it_stops_also_while_a_server_that_keeps_ending_waits_for_its_restart(tmp_path: Path) -> None:
    with up(tmp_path, "--simulate", "1") as gateway:
        gateway.ready()
        for ended in range(1, 5):  # each pause is twice as long as the one before
            os.kill(until(gateway.server, "a server"), signal.SIGKILL)
            gateway.says(r'("event":"server_ended"[\s\S]*)' + f"{{{ended}}}")
        family = list(gateway.children())
        assert gateway.stop() == 0
        assert alive(family) == []
        assert "gateway_stopped" in gateway.output


def test_a_supervisor_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    with up(tmp_path, "--simulate", "2") as gateway:
        gateway.workers("idle", 2)
        family = list(gateway.children())
        assert len(family) == 4  # the guard, two simulators, the server
        gateway.process.kill()
        gateway.process.wait()
        until(lambda: not alive(family), "all processes to be gone")
    with up(tmp_path, "--simulate", "2") as gateway:  # and nothing that it left is in the way
        gateway.workers("idle", 2)


def test_a_worker_that_is_killed_comes_back_on_its_port(tmp_path: Path) -> None:
    with up(tmp_path, "--simulate", "1", more={"COMFY_GATEWAY_RESTART__FIRST_DELAY": "0.1"}) as gateway:
        (first,) = gateway.workers("idle", 1)
        os.kill(first["pid"], signal.SIGKILL)

        def back() -> bool:
            (now,) = gateway.workers("idle", 1)
            return now["pid"] not in {None, first["pid"]} and now["restarts"] == 1 and now["url"] == first["url"]

        until(back, "the worker to be back")
        gateway.says("worker_ended.*killed by SIGKILL|killed by SIGKILL.*worker_ended")


def test_the_data_directory_belongs_to_one_gateway(tmp_path: Path) -> None:
    with up(tmp_path) as gateway:
        gateway.ready()
        second = call(tmp_path, "up", "--port", "0", "--data-dir", str(tmp_path / "data"))
        assert second.returncode == 2
        assert f"belongs to a running gateway (process {gateway.process.pid})" in second.stderr
        assert "--data-dir" in second.stderr


def test_a_port_that_is_taken_is_told_with_the_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        found = call(tmp_path, "up", "--port", port, "--data-dir", str(tmp_path / "data"))
    assert found.returncode == 2
    assert f"port {port} of 127.0.0.1 is taken" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "0.0.0.0"), "add an API key"),
        (("--simulate", "1", "--worker", "http://127.0.0.1:1"), "never mix"),
        (("--simulate", "1", "--comfyui", "/nowhere"), "never mix"),
        (("--simulate", "1", "--simulate-args", "--port 28999"), "--port cannot be given in --simulate-args"),
        (("--simulate", "1", "--simulate-args", "--card rtx5090"), "argument --card: invalid choice: 'rtx5090'"),
        (("--simulate", "1", "--simulate-args", "--help"), "unrecognized arguments: --help"),
        (("--worker", "10.0.0.7"), "as in http://10.0.0.7:8188"),
        (("--simulate", "1", "--simulate-args", "--card demo --di=x"), "--dir cannot be given in --simulate-args"),
        (("--comfyui", "/nowhere"), "there is no folder /nowhere"),
        (("--comfyui", "/usr"), "/usr is not a ComfyUI folder: it has no main.py"),
        (("--gpus", "all"), "which ComfyUI? Say where its folder is with --comfyui DIR"),
        (("--worker", "ftp://x"), "is the http(s) address of a ComfyUI"),
        (("--database", "mysql://x/y"), "mysql"),
        (("--config", "absent.toml"), "there is no absent.toml"),
        (("--nonsense",), "No such option"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    found = call(tmp_path, "up", "--port", "0", "--data-dir", str(tmp_path / "data"), *arguments)
    assert found.returncode == 2
    assert said in " ".join(found.stderr.replace("│", " ").split())
    assert "Traceback" not in found.stderr


def test_a_file_where_a_workers_folder_would_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "data" / "workers").mkdir(parents=True)
    (tmp_path / "data" / "workers" / "sim1").touch()
    found = call(tmp_path, "up", "--port", "0", "--data-dir", str(tmp_path / "data"), "--simulate", "1")
    assert found.returncode == 2
    assert "workers/sim1 cannot be made: File exists" in "".join(found.stderr.split("\n"))
    assert "Traceback" not in found.stderr


def test_a_key_opens_a_public_address(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"app:{KEY}\n")
    with up(tmp_path, "--host", "::", "--api-keys-file", str(keys)) as gateway:
        port = gateway.url.rpartition(":")[2]
        for host in ("127.0.0.1", "[::1]"):
            url = f"http://{host}:{port}/v1/workers"
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(url, timeout=10)
            assert refused.value.code == 401
            refused.value.close()
            asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {KEY}"})
            with urllib.request.urlopen(asked, timeout=10) as answer:
                assert answer.status == 200
        for pid in gateway.children():  # neither in arguments nor in the environment of any process
            process = psutil.Process(pid)
            assert KEY not in " ".join(process.cmdline()) + " ".join(process.environ().values())
        assert gateway.stop(signal.SIGINT) == 0


def test_it_starts_as_soon_as_nobody_locks_the_database(tmp_path: Path) -> None:
    with up(tmp_path) as gateway:
        gateway.ready()
        assert gateway.stop() == 0
    (database,) = (tmp_path / "data").glob("*.db")
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with up(tmp_path, "--worker", "http://127.0.0.1:9") as gateway:  # which it writes down
            gateway.says(r'"event":"start_waits_for_the_store"')
            other.execute("ROLLBACK")
            gateway.ready()
            assert gateway.stop() == 0


def test_without_workers_the_way_out_is_in_the_log_too(tmp_path: Path) -> None:
    with up(tmp_path) as gateway:
        gateway.says(r'"hint":"none yet, what is submitted waits: add real ones')


def test_without_workers_it_waits_and_says_how_to_add_some(tmp_path: Path) -> None:
    with up(tmp_path, form="console") as gateway:
        gateway.says(r"Workers +none yet, what is submitted waits: .*--comfyui DIR or --worker URL.*--simulate 2")
        gateway.says(r"URL +http://127.0.0.1:\d+ ")
        assert gateway.stop() == 0


def test_a_comfyui_that_runs_here_is_used(tmp_path: Path) -> None:
    with up(tmp_path, "--simulate", "1", data="first") as first:
        (worker,) = first.workers("idle", 1)
        with up(tmp_path, data="second", more={"COMFY_GATEWAY_LOOK_FOR": worker["url"]}) as second:
            (seen,) = second.workers("idle", 1)
            assert (seen["url"], seen["kind"]) == (worker["url"], "remote")


def test_systemd_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        with up(tmp_path, more={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as gateway:
            told = systemd.recv(4096).decode()
            assert "READY=1" in told.splitlines()
            assert gateway.stop() == 0
            assert systemd.recv(4096) == b"STOPPING=1"


def test_version_and_help() -> None:
    folder = Path.cwd()
    assert call(folder, "--version").stdout.startswith("comfy-gateway ")
    assert "--simulate" in call(folder, "up", "--help").stdout
    assert "--card" in call(folder, "simulate", "--help").stdout
