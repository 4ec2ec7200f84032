"""What a simulator can be told, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway import simulator
from gateway.simulator import __main__ as program
from gateway.simulator import faults


@pytest.mark.parametrize(
    "wrong", [{"version": "1.0"}, {"card": "abacus"}, {"cache": "big"}, {"node_packs": frozenset({"x"})}]
)
def test_unknown_values_are_refused(wrong: dict[str, object]) -> None:
    """With the known ones in the message."""
    with pytest.raises(ValueError, match="one of"):
        simulator.Options(**wrong)  # type: ignore[arg-type]


def test_the_version_decides_about_the_job_routes() -> None:
    """Unless told otherwise."""
    assert simulator.Options().has_jobs_api
    assert not simulator.Options(version="0.3.64").has_jobs_api
    assert not simulator.Options(jobs_api=False).has_jobs_api


def test_the_command_line_is_read() -> None:
    """All of it."""
    options = program.parse(
        ["--port", "0", "--dir", "/tmp/x", "--name", "a", "--version", "0.3.64", "--card", "h100", "--step-ms", "5",
         "--model", "loras=a.safetensors", "--model", "loras=b.safetensors", "--node-pack", "ipadapter",
         "--without-node", "ImageInvert", "--no-jobs-api", "--end-delay", "0.1"]
    )  # fmt: skip
    assert options == simulator.Options(
        port=0,
        directory=Path("/tmp/x"),
        name="a",
        version="0.3.64",
        card="h100",
        step_ms=5,
        models={"loras": ("a.safetensors", "b.safetensors")},
        node_packs=frozenset({"ipadapter"}),
        without_nodes=frozenset({"ImageInvert"}),
        jobs_api=False,
        end_delay_s=0.1,
    )


def test_every_option_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    """And what comes after says how."""
    with pytest.raises(SystemExit):
        program.parse(["--help"])
    told, _, examples = capsys.readouterr().out.partition("options:")[2].partition("examples:")
    options = re.findall(r"^  (--\S+)(.*)(?=\n(.*))", told, flags=re.MULTILINE)
    assert len(options) >= 15
    assert [name for name, here, below in options if "  " not in here and not below.startswith("   ")] == []
    assert "python -m gateway.simulator --port 8188" in examples


def test_a_model_without_its_folder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With the form that it takes."""
    with pytest.raises(SystemExit):
        program.parse(["--model", "a.safetensors"])
    assert "--model: takes FOLDER=FILE, not 'a.safetensors'" in capsys.readouterr().err


def test_faults_are_read_with_their_tie() -> None:
    """Under `match`, or beside."""
    tied = faults.parse({"kind": "hang", "match": {"nth": 3}, "count": 0})
    assert (tied.kind, tied.nth, tied.count, tied.is_tied, tied.is_spent) == ("hang", 3, 0, True, False)
    with pytest.raises(faults.BadFault, match="known:"):
        faults.parse({"kind": "hang", "when": 1})
