"""docs/reference/cli.md is printed from the command line itself; run this file to write it anew."""

from __future__ import annotations

import re
from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from gateway import cli
from gateway.cli import failures

PAGE = Path(__file__).parents[3] / "docs/reference/cli.md"
HEAD = """# Command line

Printed from the program; `comfy-gateway COMMAND --help` says the same.

`run`, `batch`, `bench`, `jobs`, `queue`, `workers`, `templates` and `webhooks` talk to a running gateway: at `--url`,
else at `COMFY_GATEWAY_URL`, else at http://127.0.0.1:8180. Results go to stdout, everything else to stderr; with
`--json` stdout holds JSON only, errors included.

Exit statuses:

```text
{statuses}
```

"""


def page() -> str:
    """The page, from the commands."""
    command = cli.command()
    told = get_docs_for_click(obj=command, ctx=typer.Context(command), name="comfy-gateway")
    body = "\n".join(line.rstrip() for line in told.splitlines() if line != "# `comfy-gateway`").strip()
    statuses = (failures.__doc__ or "").partition("\n\n")[2].rstrip()
    lines = "\n".join(line.removeprefix("    ") for line in statuses.splitlines())
    return HEAD.format(statuses=lines) + body + "\n"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tests/unit/cli/test_reference.py"


def test_every_command_says_what_it_does_and_how() -> None:
    commands = ("up", "doctor", "demo", "simulate", "run", "batch", "bench", "jobs list", "jobs watch", "jobs cancel")
    for command in (*commands, "workers", "workers add", "templates check", "templates remove"):
        section = page().partition(f"`comfy-gateway {command}`\n")[2].partition("\n#")[0]
        assert "Examples:" in section, command


def test_types_are_said_as_people_do() -> None:
    assert not re.findall(r"<bool>|^\$ .*\[\[.*$|^\* `-[^`]*(?:range|<list).*$", page(), re.MULTILINE)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
