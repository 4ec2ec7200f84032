"""docs/how-to/workflow-authors.md, done to the letter: from the file that ComfyUI's editor saved to a called API."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.program import COMMAND, Running, environment, until, up

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/workflow-authors.md").read_text(encoding="utf-8").partition("That was it.")[0]
SAVED = ROOT / "tests/fixtures/saved/fox.json"
FENCE = re.compile(r"^```(bash|toml|json)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def steps() -> list[tuple[str, str]]:
    """What the page says, one command or file at a time."""
    found: list[tuple[str, str]] = []
    for kind, text in FENCE.findall(PAGE):
        lines = re.sub(r"\\\n\s*", "", text).splitlines() if kind == "bash" else [text]
        found += [(kind, line) for line in lines]
    return found


def curl(line: str, running: Running) -> Any:
    """What the page's `curl` answers."""
    words = shlex.split(line)[1:]
    values = [words[index + 1] for index, word in enumerate(words) if word == "-d"]
    headers = dict(words[index + 1].split(": ", 1) for index, word in enumerate(words) if word == "-H")
    url = words[0].replace("http://127.0.0.1:8180", running.url)
    request = urllib.request.Request(url, data=values[0].encode(), headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return json.loads(error.read())


def typed(line: str, folder: Path, running: Running) -> str:
    """What the page's command prints."""
    words = [word.replace("http://127.0.0.1:8180", running.url) for word in shlex.split(line)[1:]]
    done = subprocess.run(
        [COMMAND, *words],
        cwd=folder,
        env=environment(COMFY_GATEWAY_URL=running.url, COLUMNS="160"),  # nothing is cut
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout


@pytest.mark.slow
def test_the_page_to_the_letter(tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    with up(tmp_path, "--simulate", "1", "--simulate-args", "--card instant") as running:
        running.workers("idle", 1)
        printed: list[str] = []
        answers: list[Any] = []
        for kind, text in steps():
            match kind, text.split()[0]:
                case "bash", "mkdir":
                    assert text == "mkdir -p workflows"
                case "bash", "cp":
                    shutil.copy(SAVED, tmp_path / "workflows")
                    until(lambda: running.get("/v1/templates/fox"), "the template to be there")
                case "bash", "curl":
                    answers.append(curl(text, running))
                case "bash", _:
                    printed.append(typed(text, tmp_path, running))
                case "toml", _:
                    (tmp_path / "workflows" / "fox.toml").write_text(text)
                    until(lambda: len(running.get("/v1/templates/fox")["parameters"]) == 4, "the file to be read")
                case _, _:
                    told = json.loads(text)["error"]["details"]["faults"]
                    assert answers[-1]["error"]["details"]["faults"] == told
        assert "a fox in the forest, oil on canvas" in printed[1]
        assert (tmp_path / "out" / "fox-7-1.png").is_file()
        assert (answers[0]["status"], answers[0]["inputs"]["seed"]) == ("succeeded", 7)
        assert answers[0]["outputs"][0]["url"]
        assert answers[0]["urls"]["self"]
        assert "same" in printed[-1]
        assert running.stop() == 0
