"""What the pages tell people to type exists, and links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import cli

ROOT = Path(__file__).parents[3]
PAGES = sorted({ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")})
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|src=\"([^\"]+)\"")


def typed(text: str) -> Iterator[list[str]]:
    """The words of each command of ours in the page's blocks of code."""
    for block in FENCE.findall(text):
        for line in re.sub(r"\\\n", " ", block).splitlines():
            plain = line.strip().removeprefix("$ ").removeprefix(".venv/bin/")
            if plain.startswith("comfy-gateway ") and "[OPTIONS]" not in plain:
                yield shlex.split(plain, comments=True)[1:]


def unknown(words: list[str]) -> str | None:
    """The first word that the command line does not know, or None."""
    command: Any = cli.command()
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return words[0]
        command, words = command.commands[words[0]], words[1:]
    if command.name == "simulate":  # the simulator reads its own
        return None
    known = {"--help", *(name for item in command.params for name in (*item.opts, *item.secondary_opts))}
    flags = (word.partition("=")[0] for word in words if word.startswith("--"))
    return next((flag for flag in flags if flag not in known), None)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_exist(page: Path) -> None:
    wrong = [words for words in typed(page.read_text(encoding="utf-8")) if unknown(words)]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [first or second for first, second in LINK.findall(text)]
    missing = [target for target in targets if ":" not in target and not (page.parent / target).exists()]
    assert not missing


def test_pages_that_the_program_names_exist() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "gateway").rglob("*.py")]
    named = {page for source in sources for page in re.findall(r"docs/[\w./-]+\.md", source)}
    assert "docs/reference/settings.md" in named
    assert [page for page in sorted(named) if not (ROOT / page).is_file()] == []


def test_a_wrong_command_is_seen() -> None:
    assert unknown(["jobs", "lits"]) == "lits"
    assert unknown(["run", "sdxl", "--metdata", "a=b"]) == "--metdata"
    assert unknown(["run", "sdxl", "prompt=x", "-n", "3", "--no-wait"]) is None
