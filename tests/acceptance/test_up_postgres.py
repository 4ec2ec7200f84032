"""`comfy-gateway up --database postgresql://…`: the same gateway over a server's database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.program import call, up
from tests.acceptance.test_up_jobs import QUICK, job, reached, submit


@pytest.mark.postgres
def test_jobs_are_kept_in_postgresql(tmp_path: Path, postgres_url: str) -> None:
    with up(tmp_path, "--simulate", "1", "--database", postgres_url, *QUICK, data="one") as gateway:
        gateway.workers("idle", 1)
        job_id = submit(gateway, steps=1, seed=1)
        assert reached(gateway, job_id, "succeeded", "failed")["status"] == "succeeded"
        assert gateway.stop() == 0
    assert not (tmp_path / "one" / "gateway.db").exists()
    with up(tmp_path, "--database", postgres_url, data="two") as gateway:
        assert gateway.ready()["status"] == "ready"
        assert job(gateway, job_id)["status"] == "succeeded"


def test_a_database_that_does_not_answer_is_told(tmp_path: Path) -> None:
    url = f"postgresql://gateway:hidden@/x?host={tmp_path}"
    found = call(tmp_path, "up", "--port", "0", "--data-dir", str(tmp_path / "data"), "--database", url)
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    assert "hidden" not in found.stderr
    assert "comfy-gateway: " in found.stderr
