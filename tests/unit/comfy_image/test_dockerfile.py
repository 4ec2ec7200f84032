"""What can be said of the Dockerfiles without a container engine: that they hold together."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WORKER, GATEWAY = ROOT / "comfy_image" / "Dockerfile", ROOT / "deploy" / "Dockerfile"
#: Each Dockerfile with the folder that it is built from.
BUILDS = [(WORKER, WORKER.parent), (GATEWAY, ROOT)]
KNOWN = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "USER", "VOLUME",
    "WORKDIR",
}  # fmt: skip


def instructions(path: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, continued lines joined."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


@pytest.fixture(params=BUILDS, ids=["worker", "gateway"])
def build(request: pytest.FixtureRequest) -> tuple[list[tuple[str, str]], Path]:
    """A Dockerfile's instructions and its context."""
    path, context = request.param
    return instructions(path), context


def test_every_instruction_is_one(build: tuple[list[tuple[str, str]], Path]) -> None:
    assert {word for word, _ in build[0]} <= KNOWN


def test_every_copied_file_exists_and_is_not_ignored(build: tuple[list[tuple[str, str]], Path]) -> None:
    found, context = build
    ignore = context / ".dockerignore" if context == WORKER.parent else GATEWAY.with_name("Dockerfile.dockerignore")
    let_in = [line.removeprefix("!") for line in ignore.read_text().splitlines() if line.startswith("!")]
    for _, rest in [pair for pair in found if pair[0] == "COPY" and "--from=" not in pair[1]]:
        *sources, _target = [word for word in rest.split() if not word.startswith("--")]
        for source in sources:
            assert (context / source).exists(), source
            assert any(fnmatch.fnmatch(source.removeprefix("./"), pattern) for pattern in let_in), source


def test_every_argument_has_a_default_and_every_variable_is_known(build: tuple[list[tuple[str, str]], Path]) -> None:
    found, _ = build
    arguments = [rest for word, rest in found if word == "ARG"]
    assert all("=" in argument for argument in arguments)
    names = {argument.split("=")[0] for argument in arguments}
    names |= {name for word, rest in found if word == "ENV" for name in re.findall(r"(\w+)=", rest)}
    used = {name for word, rest in found if word != "RUN" for name in re.findall(r"\$\{(\w+)", rest)}
    assert used <= names


def test_no_secret_is_built_in_and_nothing_runs_as_root(build: tuple[list[tuple[str, str]], Path]) -> None:
    found, _ = build
    built_in = " ".join(rest.split("=")[0] for word, rest in found if word in {"ARG", "ENV"})
    assert not re.search(r"TOKEN|SECRET|PASSWORD|API_KEY", built_in)
    assert [rest for word, rest in found if word == "USER"][-1] not in {"root", "0"}
    last_user = max(place for place, (word, _) in enumerate(found) if word == "USER")
    assert not [word for word, _ in found[last_user:] if word == "RUN"]


def test_programs_are_started_without_a_shell(build: tuple[list[tuple[str, str]], Path]) -> None:
    for word, rest in build[0]:
        if word in {"ENTRYPOINT", "CMD"}:
            assert isinstance(json.loads(rest), list)
        if word == "HEALTHCHECK":
            assert isinstance(json.loads(rest.partition("CMD ")[2]), list)


def test_the_worker_s_image_holds_all_of_its_program() -> None:
    copied = next(rest for word, rest in instructions(WORKER) if word == "COPY").split()
    shipped = {path.name for path in WORKER.parent.iterdir() if path.suffix in {".py", ".toml"}}
    assert set(copied[:-1]) == shipped
