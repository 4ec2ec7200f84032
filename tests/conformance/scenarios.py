"""Which recordings are played, and what has to be known to play them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway import simulator


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One recording to be played, by the number and letter of its name."""

    #: Labels or paths of requests whose values are facts of the machine or the install.
    loose: tuple[str, ...] = ()
    #: Labels or paths of requests that are left out.
    left_out: tuple[str, ...] = ()
    #: Labels of jobs, or paths of lists, whose order a real server leaves to chance.
    any_order: tuple[str, ...] = ()
    #: Files that the recorded client had put on the server's disk: name below the base directory -> content.
    files: tuple[tuple[str, bytes], ...] = ()
    #: File patterns that it deleted from the server's disk at each note that says so.
    deletes: str = ""
    #: How many numbers were used up before.
    numbers: int = 0
    #: Options that the recorded server was started with.
    options: Mapping[str, Any] | None = None
    #: Kills the execution thread or the process, so that no real server is asked to take it.
    deadly: bool = False

    @property
    def needs_disk(self) -> bool:
        """Whether it touches the server's own disk."""
        return bool(self.files or self.deletes)


_PNG = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90wS\xde\0\0\0\x0cIDATx\x9cc```\0\0\0\4\0\1\xf6\x178U"
    b"\0\0\0\0IEND\xaeB`\x82"
)
_WEB_PAGE = ("/users", "/userdata?dir=", "/internal/folder_paths", "/internal/logs", "/extensions")

SCENARIOS: Mapping[str, Scenario] = {
    "01": Scenario(
        loose=(
            "/system_stats",
            "/api/system_stats",
            "/object_info/SaveImage",
            "/api/object_info/EmptyImage",
            "/models/checkpoints",
            "/history",
        ),
        left_out=(*_WEB_PAGE, "/models", "/object_info"),
    ),
    "02": Scenario(left_out=("immediately after POST",)),
    "03": Scenario(deletes="output/s03*"),
    "04": Scenario(),
    "05": Scenario(),
    "06": Scenario(
        files=(("input/vanish.png", _PNG),),
        deletes="input/vanish.png",
        any_order=("two outputs, one branch raises",),
    ),
    "07": Scenario(),
    "08": Scenario(),
    "09": Scenario(),
    "10": Scenario(),
    "11": Scenario(),
    "12": Scenario(),
    "13": Scenario(),
    "14": Scenario(),
    "15": Scenario(),
    "16": Scenario(left_out=("/object_info/LoadImage", "mask")),
    "17": Scenario(
        files=(
            ("input/example.png", _PNG),
            ("output/evil.html", b"<script>1</script>"),
            ("output/a.svg", b"<svg/>"),
            ("output/plain.json", b"{}"),
        ),
        left_out=("If-None-Match",),
    ),
    "18": Scenario(numbers=46),
    "20": Scenario(any_order=("both outputs", "client_id only inside extra_data", "partial_execution_targets: null")),
    "21": Scenario(),
    "23": Scenario(any_order=("two async nodes overlap", "progress text + ui text")),
    "24": Scenario(options={"step_ms": 2500}, loose=("/system_stats",)),
    "25": Scenario(options={"step_ms": 2500, "preview_method": "latent2rgb"}),
    "26a": Scenario(deadly=True, loose=("HTTP still answers",)),
    "26b": Scenario(deadly=True),
    "26c": Scenario(),
    "26d": Scenario(),
    "26e": Scenario(),
    "26f": Scenario(),
    "26g": Scenario(deadly=True),
    "26h": Scenario(),
    "26i": Scenario(deadly=True),
    "26j": Scenario(deadly=True),
    "26k": Scenario(),
    "26n": Scenario(),
    "33": Scenario(),
    "34": Scenario(any_order=("three kinds of output",)),
    "35": Scenario(loose=("/api/jobs",)),
    "36": Scenario(),
    "37": Scenario(any_order=("/api/jobs",)),
    "38": Scenario(
        left_out=(
            "/api/settings", "/node_replacements", "/api/node_replacements", "/global_subgraphs",
            "/api/global_subgraphs", "/experiment/models", "/workflow_templates", "/internal/files/output",
            "/internal/folder_paths", "/i18n", "/view_metadata/checkpoints?filename=nosuch.safetensors",
            "/models/diffusion_models",
        ),
    ),
    "39": Scenario(),
    "41": Scenario(deadly=True, any_order=("/api/jobs",)),
}  # fmt: skip

_CACHES: Mapping[str, Mapping[str, Any]] = {
    "31_cache_modes_default": {},
    "31_cache_modes_cache_none": {"cache": "none"},
    "31_cache_modes_cache_lru": {"cache": "lru"},
    "31_cache_modes_cache_ram": {"cache": "lru"},
}

#: Recordings that no replay covers, and what does, or why nothing does.
NOT_REPLAYED: Mapping[str, str] = {
    "19": "a hundred queued jobs: the order by number is played with 18",
    "22": "large bodies: test_limits.py sends its own",
    "26l": "the process ends: test_processes.py",
    "26m": "the process ends: test_processes.py",
    "27": "SIGKILL and restart: test_processes.py",
    "28": "SIGTERM and SIGINT: test_processes.py; the simulator ends with 0 on both",
    "29": "one unread socket stops all: test_processes.py",
    "30": "a lost /free: a race of the real server that is not simulated",
    "32": "two servers with one output directory: a race of the real server that is not simulated",
    "40": "--enable-assets is not simulated",
}


def of(name: str) -> Scenario | None:
    """Return the scenario of a recording, or None when it is not replayed."""
    if name in _CACHES:
        return Scenario(options=_CACHES[name])
    return SCENARIOS.get(name.split("_", maxsplit=1)[0])


def options(version: str, scenario: Scenario) -> simulator.Options:
    """Return how the simulator plays the recorded server."""
    tiny = "sd15_tiny_random_fp16.safetensors"
    new = version == "0.33"
    checkpoints = (tiny,) if new else ("sd15_random_fp16.safetensors", tiny)
    return simulator.Options(
        version="0.33.0" if new else "0.3.64",
        node_packs=frozenset({"wiretest"}),
        models={"checkpoints": checkpoints},
        **(scenario.options or {}),
    )
