"""The client commands as a person types them, against a real gateway with simulated workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.acceptance.program import COMMAND, Running, call, environment, until, up

HARBOUR = Path(__file__).parents[2] / "workflows" / "assets" / "harbour.png"
QUICK = ("steps=2", "width=128", "height=128")
LONG = ("steps=150", "width=1024", "height=1024")  # a minute here


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("gateway")
    with up(folder, "--simulate", "2", "--simulate-args", "--card instant --step-ms 100") as running:
        running.workers("idle", 2)
        yield running
        running.stop()


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_template_with_seeds_that_count_up(there: Mapping[str, str], tmp_path: Path) -> None:
    done = call(tmp_path, "run", "sd15", "prompt=a red fox", "seed=7", "-n", "3", "-o", "out", *QUICK, more=there)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"sd15-{seed}-1.png" for seed in (7, 8, 9)]
    assert "sd15 seed 8" in done.stdout
    assert "out/sd15-9-1.png" in done.stdout
    assert "sd15 seed 7: done" in done.stderr
    assert "Simulated" in done.stderr
    with Image.open(tmp_path / "out" / "sd15-7-1.png") as picture:
        assert picture.size == (128, 128)


def test_json_is_one_document_and_nothing_is_overwritten(there: Mapping[str, str], tmp_path: Path) -> None:
    words = ("run", "sd15", "prompt=x", "seed=1", "--metadata", "who=me", "--priority", "3", "--json", *QUICK)
    first, second = (answer(call(tmp_path, *words, more=there))["jobs"][0] for _ in range(2))
    assert first["files"] == ["out/sd15-1-1.png"]
    assert second["files"] == ["out/sd15-1-1-2.png"]
    assert (first["status"], first["metadata"]["who"], first["priority"]) == ("succeeded", "me", 3)
    assert first["simulated"] is True


def test_a_file_is_uploaded_once(gateway: Running, there: Mapping[str, str], tmp_path: Path) -> None:
    words = ("run", "edit", f"image={HARBOUR}", "width=64", "height=48", "--json")
    first, second = (answer(call(tmp_path, *words, more=there))["jobs"][0] for _ in range(2))
    assert first["inputs"]["image"] == second["inputs"]["image"]
    asset = gateway.get(f"/api/v2/assets/{first['inputs']['image']['info']['id']}")
    assert (asset["file_path"], asset["size_bytes"]) == ("harbour.png", HARBOUR.stat().st_size)
    with Image.open(tmp_path / second["files"][0]) as picture:
        assert picture.size == (64, 48)


def test_values_from_stdin_and_files(there: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("from a file\n")
    done = call(tmp_path, "run", "sd15", "prompt=@prompt.txt", "--json", *QUICK, more=there)
    assert answer(done)["jobs"][0]["inputs"]["prompt"] == "from a file"
    piped = subprocess.run(
        [COMMAND, "run", "edit", "image=-", "width=64", "height=48", "--json"],
        cwd=tmp_path,
        env=environment(**there),
        input=HARBOUR.read_bytes(),
        capture_output=True,
        check=True,
    )
    assert json.loads(piped.stdout)["jobs"][0]["status"] == "succeeded"


GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 16, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "blue"}},
}


def test_a_workflow_of_ones_own(there: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "blue.json").write_text(json.dumps(GRAPH))
    (job,) = answer(call(tmp_path, "run", "blue.json", "--json", more=there))["jobs"]
    assert (job["status"], job["template"]) == ("succeeded", None)
    (saved,) = job["files"]
    assert saved.startswith("out/blue-")
    with Image.open(tmp_path / saved) as picture:
        assert picture.convert("RGB").getpixel((0, 0)) == (0, 0, 255)


def test_a_picture_or_a_film_that_carries_its_workflow(there: Mapping[str, str], tmp_path: Path) -> None:
    made = Path(__file__).parents[1] / "fixtures" / "embedded"
    for name, words in (("png.png", ()), ("mp4.mp4", ("width=32",))):
        (job,) = answer(call(tmp_path, "run", str(made / name), *words, "--json", more=there))["jobs"]
        assert (job["status"], job["template"]) == ("succeeded", None)
        with Image.open(tmp_path / job["files"][0]) as picture:
            assert picture.size == (32 if words else 16, 16)
    (tmp_path / "plain.webp").write_bytes(b"RIFF\0\0\0\0WEBP")
    refused = call(tmp_path, "run", "plain.webp", more=there)
    assert refused.returncode == 2
    assert "without a workflow" in refused.stderr


def test_input_nodes_of_a_dialect_need_no_node_pack(there: Mapping[str, str], tmp_path: Path) -> None:
    graph = json.loads(json.dumps(GRAPH))
    graph["1"]["inputs"]["width"] = ["3", 0]
    graph["3"] = {
        "class_type": "CPackInputInt",
        "inputs": {"value": 8, "min": 1, "max": 64},
        "_meta": {"title": "edge"},
    }
    (tmp_path / "cpack.json").write_text(json.dumps(graph))
    (job,) = answer(call(tmp_path, "run", "cpack.json", "edge=48", "--json", more=there))["jobs"]
    with Image.open(tmp_path / job["files"][0]) as picture:
        assert picture.size == (48, 16)
    assert call(tmp_path, "run", "cpack.json", "edge=65", more=there).returncode == 2


def test_a_workflow_with_values(there: Mapping[str, str], tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "workflows" / "sd15.json"
    words = ("run", str(shipped), "prompt=a fox", "seed=5", "steps=2", "-n", "2", "--json")
    jobs = answer(call(tmp_path, *words, more=there))["jobs"]
    assert [job["status"] for job in jobs] == ["succeeded"] * 2
    assert [job["files"] for job in jobs] == [["out/sd15-5-1.png"], ["out/sd15-6-1.png"]]
    refused = call(tmp_path, "run", str(shipped), "steps=no", more=there)
    assert refused.returncode == 2
    assert "steps" in refused.stderr


def test_what_the_editor_saved_is_converted(there: Mapping[str, str], tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[1] / "fixtures" / "saved" / "fox.json", tmp_path)
    (job,) = answer(call(tmp_path, "run", "fox.json", "--json", *QUICK, more=there))["jobs"]
    with Image.open(tmp_path / job["files"][0]) as picture:
        assert picture.size == (128, 128)
    strange = json.loads((tmp_path / "fox.json").read_text())
    strange["nodes"][0]["type"] = "NobodysNode"
    (tmp_path / "strange.json").write_text(json.dumps(strange))
    refused = call(tmp_path, "run", "strange.json", more=there)
    assert refused.returncode == 2
    assert "NobodysNode" in refused.stderr


def test_everything_that_is_wrong_is_in_one_table(there: Mapping[str, str], tmp_path: Path) -> None:
    refused = call(tmp_path, "run", "sd15", "prompt=x", "steps=1000", "width=5", more=there)
    assert refused.returncode == 2
    lines = [line.split() for line in refused.stderr.splitlines()]
    assert ["parameter", "node", "field", "what", "is", "wrong"] in lines
    assert ["width", "5", "(EmptyLatentImage)", "width"] in [line[:4] for line in lines]
    assert ["steps", "3", "(KSampler)", "steps"] in [line[:4] for line in lines]
    local = call(tmp_path, "run", "sd15", "promt=x", "width=5", "--json", more=there)
    assert local.returncode == 2
    faults = json.loads(local.stdout)["error"]["details"]["faults"]
    assert {(fault["parameter"], fault["reason"]) for fault in faults} >= {
        ("promt", "unknown_parameter"),
        ("width", "value_smaller_than_min"),
    }
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_near_misses_of_names(there: Mapping[str, str], tmp_path: Path) -> None:
    refused = call(tmp_path, "run", "sdx", "prompt=x", more=there)
    assert refused.returncode == 2
    assert "sdxl" in refused.stderr


def test_errors_are_json_too(tmp_path: Path) -> None:
    for words in (
        ("queue", "pause", "--template", "a", "--worker", "b"),
        ("doctor", "--config", "nosuch.toml"),
        ("jobs", "show", ""),
        ("run", "wf.json", "--api-key", "a\nb"),
    ):
        done = call(tmp_path, *words, "--json")
        assert done.returncode == 2, words
        assert json.loads(done.stdout)["error"]["message"], words
        assert done.stderr == "", words


def test_a_canceled_job_was_given_to_a_worker_whatever_that_does_now(there: Mapping[str, str], tmp_path: Path) -> None:
    (job,) = answer(call(tmp_path, "run", "sd15", "prompt=x", "--no-wait", "--json", *LONG, more=there))["jobs"]
    job_id = job["id"]
    until(lambda: "running on" in call(tmp_path, "jobs", "why", job_id, more=there).stdout, "the job to run")
    assert call(tmp_path, "jobs", "cancel", job_id, more=there).returncode == 0
    said = "canceled; it was given to sim"
    until(lambda: call(tmp_path, "jobs", "why", job_id, more=there).stdout.startswith(said), "its end")
    nothing = call(tmp_path, "jobs", "cancel", "--all-queued", "--running", more=there)
    assert (nothing.returncode, nothing.stderr.strip()) == (0, "Nothing of yours is queued or running.")


def test_without_a_gateway_there_is_a_way_out(tmp_path: Path) -> None:
    for words in (("run", "sd15"), ("jobs", "list"), ("workers",), ("templates", "list")):
        done = call(tmp_path, *words, "--url", "http://127.0.0.1:9", more={})
        assert done.returncode == 3, words
        assert "comfy-gateway up --simulate 2" in done.stderr


def test_a_job_that_fails(gateway: Running, there: Mapping[str, str], tmp_path: Path) -> None:
    for worker in gateway.workers("idle", 2):
        fault = {"kind": "node_error", "node_class": "KSampler", "message": "no luck"}
        httpx.post(f"{worker['url']}/simulator/faults", json=fault).raise_for_status()
    done = call(tmp_path, "run", "sd15", "prompt=fails", "seed=1", "-n", "2", *QUICK, more=there)
    assert done.returncode == 1
    assert "no luck" in done.stderr
    listed = answer(call(tmp_path, "jobs", "list", "--status", "failed", "--template", "sd15", "--json", more=there))
    shown = call(tmp_path, "jobs", "show", listed["jobs"][0]["id"][-8:], more=there)
    assert "Why it failed" in shown.stdout
    assert "Traceback" in shown.stdout
    for worker in gateway.workers("idle", 2):
        httpx.delete(f"{worker['url']}/simulator/faults").raise_for_status()


def test_ordering_watching_listing_and_canceling(there: Mapping[str, str], tmp_path: Path) -> None:
    words = ("run", "sd15", "prompt=x", "-n", "4", "--no-wait", "--metadata", "test=cancel", "--json", *LONG)
    ids = [job["id"] for job in answer(call(tmp_path, *words, more=there))["jobs"]]
    assert len(ids) == 4
    wrong = call(tmp_path, "jobs", "cancel", more=there)
    assert wrong.returncode == 2
    with subprocess.Popen(
        [COMMAND, "jobs", "watch", *ids, "--json"], cwd=tmp_path, env=environment(**there), stdout=subprocess.PIPE
    ) as watching:
        assert watching.stdout is not None
        running = set[str]()
        while len(running) < 2:
            record = json.loads(watching.stdout.readline())
            if record["data"].get("status") == "running":
                running.add(record["job"])
        met = answer(call(tmp_path, "jobs", "cancel", "--all-queued", "--json", more=there))
        assert met == {"canceled": len(set(ids) - running), "canceling": 0}
        stopped = call(tmp_path, "jobs", "cancel", *(job[-8:] for job in running), more=there)
        assert stopped.stdout.count("cancel") == 2
        ends = [json.loads(line) for line in watching.stdout]
        assert watching.wait() == 1
    assert {end["job"] for end in ends if end["data"].get("status") == "canceled"} >= running
    listed = answer(call(tmp_path, "jobs", "list", "--metadata", "test=cancel", "--json", more=there))["jobs"]
    assert [job["status"] for job in listed] == ["canceled"] * 4


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c(presses: int, there: Mapping[str, str], tmp_path: Path) -> None:
    mark = f"ctrl=c{presses}"
    with subprocess.Popen(
        [COMMAND, "run", "sd15", "prompt=x", "-n", "3", "--metadata", mark, *LONG],
        cwd=tmp_path,
        env=environment(**there),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        pressed = False
        for line in running.stderr:
            if "running on" in line and not pressed:  # the other worker's job may begin before the first press is seen
                pressed = True
                running.send_signal(signal.SIGINT)
            if "Canceling" in line:
                if presses == 2:
                    running.send_signal(signal.SIGINT)
                break
        output, _ = running.communicate(timeout=60)
        assert running.returncode == 130
    listed = answer(call(tmp_path, "jobs", "list", "--metadata", mark, "--json", more=there))["jobs"]
    assert len(listed) == 3
    if presses == 1:
        assert {job["status"] for job in listed} == {"canceled"}
        assert output.count("(canceled)") == 3
    else:
        call(tmp_path, "jobs", "cancel", *(job["id"] for job in listed), more=there)


def test_ctrl_c_while_it_waits_for_stdin(tmp_path: Path) -> None:
    with subprocess.Popen([COMMAND, "run", "-"], cwd=tmp_path, env=environment(), stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        running.stdin.write(b" " * (1 << 20))  # more than a pipe holds: it is reading when this is done
        running.stdin.flush()
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130


def test_waiting_has_an_end(there: Mapping[str, str], tmp_path: Path) -> None:
    done = call(tmp_path, "run", "sd15", "prompt=x", "--timeout", "0.5", *LONG, more=there)
    assert done.returncode == 1
    assert "jobs watch" in done.stderr
    (job,) = answer(call(tmp_path, "jobs", "list", "--status", "queued,running", "--json", more=there))["jobs"]
    assert call(tmp_path, "jobs", "cancel", job["id"], more=there).returncode == 0


def test_workers(gateway: Running, there: Mapping[str, str], tmp_path: Path) -> None:
    shown = call(tmp_path, "workers", more=there)
    assert shown.returncode == 0
    assert "sim1" in shown.stdout
    assert "simulated" in shown.stdout
    listed = answer(call(tmp_path, "workers", "list", "--json", more=there))["workers"]
    assert {worker["id"] for worker in listed} == {"sim1", "sim2"}
    assert call(tmp_path, "workers", "remove", "nobody", more=there).returncode == 2
    assert call(tmp_path, "workers", "add", "not a url", more=there).returncode == 2
    before = {worker["id"]: worker["pid"] for worker in gateway.workers("idle", 2)}
    restarted = call(tmp_path, "workers", "restart", "sim2", "--data-dir", str(gateway.data))
    assert restarted.returncode == 0, restarted.stderr
    assert call(tmp_path, "workers", "restart", "sim9", "--data-dir", str(gateway.data)).returncode == 2
    assert call(tmp_path, "workers", "restart", "sim1", "--data-dir", str(tmp_path)).returncode == 3
    os.kill(before["sim1"], 0)  # the other one lives on
    elsewhere = call(tmp_path, "workers", "restart", "127.0.0.1:9188/x", "--data-dir", str(gateway.data))
    assert (elsewhere.returncode, "runs elsewhere is restarted there" in elsewhere.stderr) == (2, True)
    gateway.workers("idle", 2)


def test_draining_a_worker_instead_of_removing_it(gateway: Running, there: Mapping[str, str], tmp_path: Path) -> None:
    refused = call(tmp_path, "workers", "remove", "sim1", more=there)
    assert refused.returncode == 2
    assert "workers drain sim1" in " ".join(refused.stderr.split())
    drained = call(tmp_path, "workers", "drain", "sim1", more=there)
    assert (drained.returncode, drained.stdout.strip()) == (0, "worker sim1 is paused; nothing of it runs")
    gateway.workers("paused", 1)
    whole = call(tmp_path, "queue", "resume", more=there)
    assert whole.returncode == 2
    assert "the queue is not paused" in whole.stderr
    assert "paused: worker sim1" in whole.stderr
    resumed = call(tmp_path, "workers", "resume", "sim1", more=there)
    assert (resumed.returncode, resumed.stdout.strip()) == (0, "worker sim1 takes work again")
    assert "nothing is paused" in call(tmp_path, "workers", "resume", "sim1", more=there).stderr
    gateway.workers("idle", 2)


def test_templates_of_the_gateway(there: Mapping[str, str], tmp_path: Path) -> None:
    listed = answer(call(tmp_path, "templates", "list", "--json", more=there))
    assert {"sd15", "sdxl", "edit"} <= {template["name"] for template in listed["templates"]}
    assert "runs here" in call(tmp_path, "templates", "list", more=there).stdout
    shown = call(tmp_path, "templates", "show", "sd15", more=there).stdout
    assert "negative_prompt" in shown
    assert "Runs on sim1, sim2" in shown
    checked = call(tmp_path, "templates", "check", str(HARBOUR.parents[1] / "sd15.json"), more=there)
    assert checked.returncode == 0
    assert "sim1, sim2" in checked.stdout


def test_a_gateway_that_wants_a_key(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("me:0123456789abcdef\n")
    with up(tmp_path, "--simulate", "1", "--simulate-args", "--card instant", "--api-keys-file", "keys") as locked:
        there = {"COMFY_GATEWAY_URL": locked.url}
        words = ("run", "edit", "width=64", "height=48", f"image={HARBOUR}")
        refused = call(tmp_path, *words, more=there)
        assert refused.returncode == 2
        assert "COMFY_GATEWAY_API_KEY" in refused.stderr
        done = call(tmp_path, *words, "--api-key", "0123456789abcdef", more=there)
        assert done.returncode == 0, done.stderr
        assert len(list((tmp_path / "out").iterdir())) == 1
        locked.stop()


def test_templates_against_a_saved_object_info(tmp_path: Path) -> None:
    (tmp_path / "graph.json").write_text(json.dumps(GRAPH))
    facts = {
        "EmptyImage": {"input": {"required": {}}, "output": ["IMAGE"], "output_node": False},
        "SaveImage": {"input": {"required": {"images": ["IMAGE"]}}, "output": [], "output_node": True},
    }
    (tmp_path / "all.json").write_text(json.dumps(facts))
    (tmp_path / "less.json").write_text(json.dumps({"SaveImage": facts["SaveImage"]}))
    assert call(tmp_path, "templates", "check", "graph.json", "--object-info", "all.json").returncode == 0
    lacking = call(tmp_path, "templates", "check", "graph.json", "--object-info", "less.json", "--json")
    assert lacking.returncode == 1
    (checked,) = json.loads(lacking.stdout)["files"]
    assert ("1", "missing_node_type") in {(fault["node"], fault["reason"]) for fault in checked["faults"]}
    assert call(tmp_path, "templates", "check", "graph.json", "--object-info", "graph.json").returncode in {1, 2}


def test_templates_without_a_gateway(tmp_path: Path) -> None:
    folder = tmp_path / "workflows"
    folder.mkdir()
    shipped = HARBOUR.parents[1]
    (folder / "mine.json").write_bytes((shipped / "sd15.json").read_bytes())
    shown = call(tmp_path, "templates", "show", "workflows/mine.json", "--write")
    assert shown.returncode == 0, shown.stderr
    assert "[parameters.prompt]" in (folder / "mine.toml").read_text()
    again = call(tmp_path, "templates", "show", "workflows/mine.json", "--write")
    assert again.returncode == 2
    assert "already" in again.stderr
    assert call(tmp_path, "templates", "check").returncode == 0
    listed = answer(call(tmp_path, "templates", "list", "--folder", "workflows", "--json"))
    assert [template["name"] for template in listed["templates"]] == ["mine"]

    (folder / "broken.json").write_text('{"1": {"class_type": "KSampler", "inputs": {"model": ["9", 0]}}}')
    (folder / "worse.json").write_text("not json")
    checked = call(tmp_path, "templates", "check")
    assert checked.returncode == 1
    assert "broken.json" in checked.stdout
    assert "not JSON" in checked.stdout
    assert call(tmp_path, "templates", "check", "nothing.json").returncode == 2
    assert call(tmp_path, "templates", "list", "--folder", "workflows").returncode == 1
