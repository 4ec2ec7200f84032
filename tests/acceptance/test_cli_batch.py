"""`comfy-gateway batch`: every line once, whatever interrupts it; and what a terminal shows meanwhile."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.program import COMMAND, Running, call, environment, until, up

HARBOUR = Path(__file__).parents[2] / "workflows" / "assets" / "harbour.png"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("gateway")
    with up(folder, "--simulate", "2", "--simulate-args", "--card instant --step-ms 100") as running:
        running.workers("idle", 2)
        yield running
        running.stop()


def orders(path: Path, name: str, count: int) -> None:
    """A CSV whose lines take a quarter of a second each, on one of the two workers."""
    rows = [f"{name} {number},{number},10,256,256" for number in range(count)]
    path.write_text("\n".join(["prompt,seed,steps,width,height", *rows]) + "\n")


def records(path: Path, state: str) -> list[dict[str, Any]]:
    """What the batch wrote down so far."""
    if not path.exists():
        return []
    whole = (line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n"))
    return [record for record in map(json.loads, whole) if record.get("state") == state]


def ordered(gateway: Running, name: str) -> list[dict[str, Any]]:
    """The gateway's jobs whose prompt begins so."""
    jobs = (gateway.get("/api/v2/jobs?limit=100") or {})["jobs"]
    return [job for job in jobs if str((job["inputs"] or {}).get("prompt")).startswith(name)]


def test_a_batch_that_is_killed_goes_on(gateway: Running, there: Mapping[str, str], tmp_path: Path) -> None:
    orders(tmp_path / "foxes.csv", "killed", 12)
    state = tmp_path / "out" / "foxes.csv.state.jsonl"
    words = ("batch", "foxes.csv", "--template", "sd15", "--in-flight", "4")
    with subprocess.Popen([COMMAND, *words], cwd=tmp_path, env=environment(**there), stderr=subprocess.PIPE) as killed:
        until(lambda: len(records(state, "done")) >= 2, "two lines to be done")
        killed.kill()
    done = len(records(state, "done"))
    assert done < 12

    again = call(tmp_path, *words, more=there)
    assert again.returncode == 0, again.stderr
    assert f"12 of 12 done, {done} of them before" in again.stdout
    assert len(ordered(gateway, "killed")) == 12
    assert {job["priority"] for job in ordered(gateway, "killed")} == {-10}, "people who wait go before a batch"
    names = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert names >= {f"sd15-{seed}-1.png" for seed in range(12)}
    nothing = call(tmp_path, *words, more=there)
    assert nothing.returncode == 0
    assert len(ordered(gateway, "killed")) == 12


def test_a_batch_says_its_priority_and_a_line_its_own(
    gateway: Running, there: Mapping[str, str], tmp_path: Path
) -> None:
    lines = [{"inputs": {"prompt": f"prior {text}"}, **more} for text, more in (("b", {}), ("a", {"priority": 0}))]
    (tmp_path / "orders.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    done = call(tmp_path, "batch", "orders.jsonl", "-t", "sd15", "--priority", "-50", more=there)
    assert done.returncode == 0, done.stderr
    found = {job["inputs"]["prompt"]: job["priority"] for job in ordered(gateway, "prior")}
    assert found == {"prior b": -50, "prior a": 0}


def test_ctrl_c_leaves_the_jobs_and_the_next_run_fetches_them(
    gateway: Running, there: Mapping[str, str], tmp_path: Path
) -> None:
    orders(tmp_path / "foxes.csv", "interrupted", 8)
    state = tmp_path / "out" / "foxes.csv.state.jsonl"
    words = ("batch", "foxes.csv", "-t", "sd15", "--in-flight", "4")
    with subprocess.Popen(
        [COMMAND, *words], cwd=tmp_path, env=environment(**there), stderr=subprocess.PIPE, stdout=subprocess.PIPE
    ) as stopped:
        until(lambda: records(state, "done"), "a line to be done")
        stopped.send_signal(signal.SIGINT)
        output, remarks = stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert b"run the same command to continue" in remarks
    assert b"not yet" in output
    assert call(tmp_path, *words, more=there).returncode == 0
    assert len(ordered(gateway, "interrupted")) == 8


def test_an_order_whose_answer_was_lost_is_found_again(
    gateway: Running, there: Mapping[str, str], tmp_path: Path
) -> None:
    orders(tmp_path / "foxes.csv", "lost", 2)
    words = ("batch", "foxes.csv", "-t", "sd15", "--json")
    assert call(tmp_path, *words, more=there).returncode == 0
    state = tmp_path / "out" / "foxes.csv.state.jsonl"
    kept = [
        line for line in state.read_text().splitlines(keepends=True) if '"state":"ordering"' in line or "batch" in line
    ]
    state.write_text("".join(kept))  # as if it had been killed before the answers came
    again = call(tmp_path, *words, more=there)
    assert json.loads(again.stdout.splitlines()[-1])["summary"]["done"] == 2
    assert len(ordered(gateway, "lost")) == 2
    state.write_text(kept[0])  # as if nothing of it had reached the disk
    assert call(tmp_path, *words, more=there).returncode == 0
    assert len(ordered(gateway, "lost")) == 2


def test_what_failed_is_told_and_tried_again(gateway: Running, there: Mapping[str, str], tmp_path: Path) -> None:
    for each in gateway.workers("idle", 2):
        fault = {"kind": "node_error", "node_class": "KSampler", "message": "no luck"}
        httpx.post(f"{each['url']}/simulator/faults", json=fault).raise_for_status()
    orders(tmp_path / "foxes.csv", "failing", 6)
    words = ("batch", "foxes.csv", "-t", "sd15")
    first = call(tmp_path, *words, more=there)
    assert first.returncode == 1
    assert "no luck" in first.stderr
    failed = [json.loads(line) for line in (tmp_path / "out" / "foxes.csv.failed.jsonl").read_text().splitlines()]
    assert len(failed) == 2
    assert failed[0]["template"] == "sd15"
    second = call(tmp_path, *words, more=there)
    assert second.returncode == 0, second.stderr
    assert not (tmp_path / "out" / "foxes.csv.failed.jsonl").exists()
    assert len(ordered(gateway, "failing")) == 8


def test_files_beside_the_batch_and_lines_of_json(gateway: Running, there: Mapping[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "photo.png").write_bytes(HARBOUR.read_bytes())
    lines = [
        {"template": "edit", "inputs": {"image": "photo.png", "width": 64, "tone": tone}, "metadata": {"is": tone}}
        for tone in ("screen", "multiply", "normal")
    ]
    (folder / "edits.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = call(tmp_path, "batch", "elsewhere/edits.jsonl", "-o", "out", "--json", more=there)
    assert done.returncode == 0, done.stderr
    *told, last = (json.loads(line) for line in done.stdout.splitlines())
    assert {record["line"] for record in told} == {1, 2, 3}
    assert all((tmp_path / path).is_file() for record in told for path in record["files"])
    assert (last["summary"]["done"], last["summary"]["simulated"]) == (3, True)
    job = gateway.get(f"/api/v2/jobs/{told[0]['job']}")
    assert job["metadata"]["is"] in {"screen", "multiply", "normal"}


def test_a_file_that_is_wrong_orders_nothing(gateway: Running, there: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("promt,steps\nnothing 1,5\nnothing 2,many\n")
    refused = call(tmp_path, "batch", "bad.csv", "-t", "sd15", more=there)
    assert refused.returncode == 2
    assert "Did you mean prompt?" in " ".join(refused.stderr.split())
    assert refused.stderr.splitlines()[1].split()[:2] == ["line", "parameter"]
    assert not ordered(gateway, "nothing")
    assert call(tmp_path, "batch", "none.csv", "-t", "sd15", more=there).returncode == 2
    assert call(tmp_path, "batch", "bad.csv", "-t", "nothing", more=there).returncode == 2


def at_a_terminal(folder: Path, *arguments: str, more: Mapping[str, str]) -> tuple[int, str]:
    """The command's exit status, and all that it wrote to a terminal of 100 columns."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    with subprocess.Popen(
        [COMMAND, *arguments],
        cwd=folder,
        env=environment(TERM="xterm-256color", **more),
        stdin=side,
        stdout=side,
        stderr=side,
    ) as running:
        os.close(side)
        written = b""
        while True:
            try:
                chunk = os.read(main, 65536)
            except OSError:  # how a terminal says that nobody is on its other side
                break
            if not chunk:
                break
            written += chunk
    os.close(main)
    return running.returncode, written.decode()


def test_bars_at_a_terminal(there: Mapping[str, str], tmp_path: Path) -> None:
    words = ("run", "sd15", "prompt=seen", "seed=1", "-n", "3", "steps=10", "width=256", "height=256")
    status, written = at_a_terminal(tmp_path, *words, more=there)
    assert status == 0
    assert "\x1b[1A" in written  # it goes back up to draw anew
    assert "━" in written
    assert "KSampler" in written
    assert "queued, position 1" in written
    last = written.rpartition("\x1b[1A")[2]
    assert last.count("done") == 3
    assert "out/sd15-3-1.png" in last
    assert all(len(line) < 100 for line in last.splitlines() if "\x1b" not in line)


def test_a_batch_at_a_terminal(there: Mapping[str, str], tmp_path: Path) -> None:
    orders(tmp_path / "foxes.csv", "terminal", 4)
    status, written = at_a_terminal(tmp_path, "batch", "foxes.csv", "-t", "sd15", more=there)
    assert status == 0
    assert "images an hour" in written
    assert "left" in written
    assert "4 of 4 done" in written
