"""Start exactly one ComfyUI on exactly one GPU: `python -m comfy_image.entrypoint [ComfyUI's own options]`.

Models are fetched first; then this process *becomes* ComfyUI (exec), so that the container's signals reach it. What
makes a worker a worker is not open to options: address, port, device and folders come from the variables below.

    MODELS            groups or paths of models.toml to fetch first, separated by blanks; "all"; empty: nothing
    MODELS_MANIFEST   another manifest than the image's own
    MODELS_DIR        where models live (default /models; the image links ComfyUI's models folder to it)
    WORKER_DATA       output, input, temp and user folders and the database (default /data)
    WORKER_PORT       8188
    WORKER_LISTEN     0.0.0.0; ComfyUI asks nobody for a password, so keep the port on a private network
    WARM_UP           a checkpoint file, or a graph (.json in API format), to run once before the worker is healthy
    COMFYUI_DIR       /opt/ComfyUI
    COMFYUI_PYTHON    the interpreter to run it with (default: the one that runs this)
    CUDA_VISIBLE_DEVICES  which GPU, as an index or a UUID, when the container sees more than one
    WORKER_DEVICES    where GPUs appear as nvidia0, nvidia1, … (default /dev)
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from comfy_image import fetch_models

#: Options that are decided here; ComfyUI's parser takes abbreviations, so those are refused too.
RESERVED: Mapping[str, str] = {
    "--listen": "WORKER_LISTEN",
    "--port": "WORKER_PORT",
    "--output-directory": "WORKER_DATA",
    "--input-directory": "WORKER_DATA",
    "--temp-directory": "WORKER_DATA",
    "--user-directory": "WORKER_DATA",
    "--database-url": "WORKER_DATA",
    "--base-directory": "WORKER_DATA and MODELS_DIR",
    "--cuda-device": "CUDA_VISIBLE_DEVICES",
}
REFUSED = 2


class Refusal(Exception):
    """The container is set up in a way that cannot work; the message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What the variables say."""

    comfyui: Path
    python: str
    listen: str
    port: int
    data: Path
    models: Path
    manifest: Path | None
    wanted: tuple[str, ...]
    warm_up: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Worker:
        """Read the variables; an empty one counts as unset."""
        known = {name: value for name, value in environment.items() if value}
        port = known.get("WORKER_PORT", "8188")
        if not (port.isdigit() and 0 < int(port) < 65536):
            raise Refusal(f"WORKER_PORT is {port!r}, not a port number")
        return cls(
            comfyui=Path(known.get("COMFYUI_DIR", "/opt/ComfyUI")).absolute(),
            python=known.get("COMFYUI_PYTHON", sys.executable),
            listen=known.get("WORKER_LISTEN", "0.0.0.0"),  # noqa: S104  inside a container, behind its network
            port=int(port),
            data=Path(known.get("WORKER_DATA", "/data")).absolute(),
            models=Path(known.get("MODELS_DIR", "/models")),
            manifest=Path(known["MODELS_MANIFEST"]) if "MODELS_MANIFEST" in known else None,
            wanted=tuple(known.get("MODELS", "").replace(",", " ").split()),
            warm_up=known.get("WARM_UP"),
        )

    @property
    def note(self) -> Path:
        """Where the warm-up tells the health check how it ended."""
        return self.data / "warmed-up.json"

    def command(self, options: Sequence[str]) -> list[str]:
        """ComfyUI's command line."""
        fixed = {
            "--listen": self.listen,
            "--port": str(self.port),
            **{f"--{name}-directory": str(self.data / name) for name in ("output", "input", "temp", "user")},
            "--database-url": f"sqlite:///{self.data / 'user' / 'comfyui.db'}",
        }
        flat = [word for pair in fixed.items() for word in pair]
        return [self.python, str(self.comfyui / "main.py"), *flat, *options]


def main(options: Sequence[str], environment: Mapping[str, str], devices: Path) -> int:
    """Check, fetch, and become ComfyUI; returns only when something is in the way."""
    try:
        worker = Worker.from_environment(environment)
        refuse_reserved(options)
        pinned = pin(environment, options, devices)
        prepare(worker)
    except Refusal as refusal:
        print(f"The worker does not start: {refusal}", file=sys.stderr)
        return REFUSED
    if worker.wanted:
        status = fetch_models.main(fetch_arguments(worker))
        if status != fetch_models.OK:
            print("The worker does not start without its models (see above).", file=sys.stderr)
            return status
    worker.note.unlink(missing_ok=True)
    if worker.warm_up:
        arguments = ["--url", f"http://127.0.0.1:{worker.port}", "--note", str(worker.note), worker.warm_up]
        detached = ["--detach", "--pid", str(os.getpid())]
        subprocess.run([sys.executable, "-m", "comfy_image.warm_up", *detached, *arguments], check=True)
    environment = {**environment, **pinned, "PYTHONUNBUFFERED": "1"}
    return become(worker.command(options), worker.comfyui, environment)


def become(command: list[str], folder: Path, environment: Mapping[str, str]) -> NoReturn:
    """Replace this process, so that nothing stands between the container's signals and ComfyUI."""
    print("Starting", " ".join(command), flush=True)
    os.chdir(folder)
    os.execvpe(command[0], command, environment)  # noqa: S606  no shell is the point


def refuse_reserved(options: Sequence[str]) -> None:
    """Refuse what would undo the pinning or send files where nobody looks."""
    for option in options:
        name = option.split("=", 1)[0]
        for reserved, variable in RESERVED.items():
            if len(name) > 2 and name.startswith("--") and reserved.startswith(name):
                raise Refusal(f"{option} is decided by the image ({reserved}); set {variable} instead")


def pin(environment: Mapping[str, str], options: Sequence[str], devices: Path) -> dict[str, str]:
    """Variables that leave ComfyUI one GPU to see. Which one must be said when there are several."""
    if "--cpu" in options:
        return {"CUDA_VISIBLE_DEVICES": ""}
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    cards = sorted(path.name for path in devices.glob("nvidia[0-9]*"))
    if chosen is not None and ("," in chosen or not chosen.strip()):
        raise Refusal(f"CUDA_VISIBLE_DEVICES is {chosen!r}; a worker has one GPU. Start one container for each")
    if chosen is None and len(cards) > 1:
        raise Refusal(
            f"{len(cards)} GPUs are visible. Give this container one (docker run --gpus device=N), or set "
            "CUDA_VISIBLE_DEVICES to its index or UUID"
        )
    if not cards and not (devices / "dxg").exists():
        raise Refusal("no GPU is visible. Start the container with --gpus device=N, or give ComfyUI's --cpu")
    # With PCI_BUS_ID an index means the same card here as in nvidia-smi.
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **({} if chosen is None else {"CUDA_VISIBLE_DEVICES": chosen})}


def prepare(worker: Worker) -> None:
    """Make the worker's folders."""
    if not (worker.comfyui / "main.py").is_file():
        raise Refusal(f"there is no ComfyUI in {worker.comfyui}; set COMFYUI_DIR")
    try:
        for name in ("output", "input", "temp", "user"):
            (worker.data / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refusal(
            f"{error.filename} cannot be made: {error.strerror}. The volume must belong to user {os.getuid()}"
        ) from error


def fetch_arguments(worker: Worker) -> list[str]:
    """The fetcher's command line."""
    manifest = ["--manifest", str(worker.manifest)] if worker.manifest else []
    return ["--into", str(worker.models), *manifest, "--", *worker.wanted]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], dict(os.environ), Path(os.environ.get("WORKER_DEVICES", "/dev"))))
