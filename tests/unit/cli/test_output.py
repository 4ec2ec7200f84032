"""Text that comes from anywhere, as people see it; and errors as programs see them."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from gateway.cli import failures, output


def shown(text: str) -> str:
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    with console.capture() as capture:
        console.print(output.plain(text))
    return capture.get().removesuffix("\n")


@pytest.mark.parametrize(
    "text",
    [
        "森の\u3000狐",
        "Renard\u202f: «\u00a0roux\u00a0»",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
        "\u0627\u0644\u062b\u0639\u0644\u0628",
        "\u0915\u094d\u200d\u0937",
        "two\nlines",
    ],
)
def test_text_of_any_script_is_what_it_is(text: str) -> None:
    assert shown(text) == text


@pytest.mark.parametrize("sign", ["\x1b", "\x00", "\r", "\x07", "\x7f", "\x9b", "\u202e", "\u2066", "\u200f", "\ud800"])
def test_what_a_terminal_would_obey_is_not_sent(sign: str) -> None:
    assert shown(f"a{sign}b") == "a\ufffdb"


def test_an_error_tells_programs_what_it_knows(capsys: pytest.CaptureFixture[str]) -> None:
    output.Screen(as_json=True).tell(failures.CommandFailed("late", way_out="wait", details={"job_ids": ["1", "2"]}))
    error = json.loads(capsys.readouterr().out)["error"]
    assert error == {
        "code": "failed",
        "message": "late",
        "details": {"faults": [], "way_out": "wait", "job_ids": ["1", "2"]},
    }


def test_lines_of_a_pipe_end_where_their_text_ends(capsys: pytest.CaptureFixture[str]) -> None:
    screen = output.Screen()
    made = output.table("name", "", right=[""])
    made.add_row("a long name", "1")
    made.add_row("b", "")
    screen.out.print(made)
    screen.note("beside it")
    printed = capsys.readouterr()
    assert [line for line in printed.out.splitlines() if line != line.rstrip()] == []
    assert printed.out.splitlines()[0] == "name"
    assert printed.err == "beside it\n"
