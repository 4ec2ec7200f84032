"""Jobs while servers are killed, gateways stopped and started again on the same data."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

from tests.acceptance.program import Running, until, up

#: Long enough that a test can act while a job runs.
SLOW = ("--simulate-args", "--card instant --step-ms 400")
QUICK = ("--simulate-args", "--card instant")


def submit(gateway: Running, *, steps: int, seed: int) -> str:
    """Order a picture; returns the job's id."""
    body = json.dumps({"inputs": {"prompt": "a red fox", "steps": steps, "seed": seed}}).encode()
    request = urllib.request.Request(
        gateway.url + "/v1/templates/sd15/jobs", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())["id"]


def job(gateway: Running, job_id: str) -> dict[str, Any]:
    return gateway.get(f"/api/v2/jobs/{job_id}") or {}


def reached(gateway: Running, job_id: str, *statuses: str) -> dict[str, Any]:
    """Wait until the job has one of these statuses."""

    def look() -> dict[str, Any] | None:
        found = job(gateway, job_id)
        return found if found.get("status") in statuses else None

    return until(look, f"job {job_id} to be {' or '.join(statuses)}")


def test_a_job_that_runs_while_the_server_is_killed_is_adopted(tmp_path: Path) -> None:
    with up(tmp_path, "--simulate", "1", *SLOW) as gateway:
        gateway.workers("idle", 1)
        job_id = submit(gateway, steps=10, seed=1)
        reached(gateway, job_id, "running")
        gateway.says("job_claim")
        server = gateway.server()
        assert server is not None
        os.kill(server, signal.SIGKILL)
        done = reached(gateway, job_id, "succeeded", "failed")
        assert done["status"] == "succeeded"
        assert len(done["attempts"]) == 1
        assert len(done["outputs"]) == 1


def test_a_server_that_is_told_to_end_leaves_what_runs_to_the_next_one(tmp_path: Path) -> None:
    with up(tmp_path, "--simulate", "1", "--grace", "10m", *SLOW) as gateway:
        gateway.workers("idle", 1)
        job_id = submit(gateway, steps=20, seed=1)
        reached(gateway, job_id, "running")
        gateway.says("job_claim")
        server = gateway.server()
        assert server is not None
        os.kill(server, signal.SIGTERM)
        gateway.says("server_left")
        gateway.says("(?s)server_left.*server_ready")
        done = reached(gateway, job_id, "succeeded", "failed")
        assert done["status"] == "succeeded"
        assert len(done["attempts"]) == 1
        assert "gateway_draining" not in gateway.output
        assert '"level":"error"' not in gateway.output


def test_stopping_lets_a_running_job_finish_and_keeps_what_is_queued(tmp_path: Path) -> None:
    with up(tmp_path, "--simulate", "1", *SLOW) as gateway:
        gateway.workers("idle", 1)
        running = submit(gateway, steps=5, seed=1)
        queued = submit(gateway, steps=1, seed=2)
        reached(gateway, running, "running")
        assert gateway.stop() == 0
        assert '"level":"error"' not in gateway.output
    with up(tmp_path, "--simulate", "1", *QUICK) as gateway:
        assert job(gateway, running)["status"] == "succeeded"
        assert reached(gateway, queued, "succeeded", "failed")["status"] == "succeeded"


def test_what_does_not_finish_in_the_grace_time_is_handed_back_without_a_try_spent(tmp_path: Path) -> None:
    with up(tmp_path, "--simulate", "1", "--grace", "0.2", *SLOW) as gateway:
        gateway.workers("idle", 1)
        job_id = submit(gateway, steps=100, seed=1)
        reached(gateway, job_id, "running")
        assert gateway.stop() == 0
    with up(tmp_path) as gateway:  # no worker: it stays as it is
        assert reached(gateway, job_id, "queued")["tries"] == 0
        assert gateway.stop() == 0
    with up(tmp_path, "--simulate", "1", *QUICK) as gateway:
        assert reached(gateway, job_id, "succeeded", "failed")["status"] == "succeeded"


def test_asking_twice_does_not_wait(tmp_path: Path) -> None:
    with up(tmp_path, "--simulate", "1", "--grace", "10m", *SLOW) as gateway:
        gateway.workers("idle", 1)
        job_id = submit(gateway, steps=100, seed=1)
        reached(gateway, job_id, "running")
        gateway.process.send_signal(signal.SIGINT)
        gateway.says("gateway_draining")
        assert gateway.stop(signal.SIGINT) == 0
    with up(tmp_path) as gateway:
        assert reached(gateway, job_id, "queued")["status"] == "queued"


def test_a_gateway_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    with up(tmp_path, "--simulate", "1", *SLOW) as gateway:
        gateway.workers("idle", 1)
        running = submit(gateway, steps=100, seed=1)
        queued = submit(gateway, steps=1, seed=2)
        reached(gateway, running, "running")
        gateway.process.kill()
        gateway.process.wait()
    with up(tmp_path, "--simulate", "1", *QUICK) as gateway:
        for job_id in (running, queued):
            assert reached(gateway, job_id, "succeeded", "failed")["status"] == "succeeded"
        again, behind = (job(gateway, job_id)["attempts"][-1] for job_id in (running, queued))
        assert again["created_at"] < behind["created_at"]  # it goes first, as it did


def test_what_ran_on_a_worker_that_is_not_there_any_more_runs_elsewhere(tmp_path: Path) -> None:
    with up(tmp_path, "--simulate", "2", *SLOW) as gateway:
        gateway.workers("idle", 2)
        jobs = [submit(gateway, steps=100, seed=seed) for seed in (1, 2)]
        for job_id in jobs:
            reached(gateway, job_id, "running")
        gateway.process.kill()
        gateway.process.wait()
    with up(tmp_path, "--simulate", "1", *QUICK) as gateway:
        for job_id in jobs:
            assert reached(gateway, job_id, "succeeded", "failed")["status"] == "succeeded"
