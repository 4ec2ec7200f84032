"""Which local workers to run, from the settings and what the machine has."""

from __future__ import annotations

import dataclasses
import os
import shlex
import socket
import string
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.adapters import datadir, gpus
from gateway.domain import errors, model
from gateway.settings import Settings
from gateway.supervisor import child, comfyui

#: Ours to set: a simulator elsewhere would not be the one we know.
_SIMULATORS_OURS = frozenset({"--host", "--port", "--dir", "--name"})
_PORTS = range(20_000, 30_000)  #: below the range that outgoing connections take theirs from


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One local worker: what to run, and how people call it."""

    id: model.WorkerId
    kind: model.WorkerKind
    port: int
    command: child.Command
    gpu: str | None = None  #: `CUDA_VISIBLE_DEVICES`
    device: str = ""  #: for people
    log: Path

    @property
    def url(self) -> str:
        """Where it will listen."""
        return f"http://127.0.0.1:{self.port}"


async def local_workers(settings: Settings, data: datadir.DataDir, mark: str) -> tuple[Spec, ...]:
    """The local workers that the settings ask for; ConfigError with the way out."""
    ports = free_ports(data.path)
    if settings.simulate:
        return tuple(
            _simulator(settings, data, mark, number, next(ports)) for number in range(1, settings.simulate + 1)
        )
    if settings.comfyui is None:
        return ()
    installation = await comfyui.inspect(settings.comfyui, settings.comfyui_python, settings.comfyui_args)
    places = tuple(_places(settings))
    return tuple(_comfyui(installation, data, mark, place, next(ports)) for place in places)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    worker: model.WorkerId
    visible: str
    device: str
    cpu: bool = False


def _places(settings: Settings) -> Iterator[_Place]:
    if settings.gpus == "none":
        for number in range(settings.workers_per_gpu):
            yield _Place(worker=model.WorkerId(f"cpu{number}"), visible="", device="CPU", cpu=True)
        return
    for pin in gpus.choose(settings.gpus, gpus.find()):
        device = "" if pin.gpu is None else _device(pin.gpu)
        for number in range(settings.workers_per_gpu):
            worker = model.WorkerId(f"gpu{pin.label}{_letter(number)}")
            yield _Place(worker=worker, visible=pin.visible, device=device or f"GPU {pin.visible}")


def _device(gpu: gpus.Gpu) -> str:
    return f"{gpu.name}, {gpu.memory_bytes / 2**30:.0f} GB" if gpu.memory_bytes else gpu.name


def _letter(number: int) -> str:
    """`gpu0`, then `gpu0b`, `gpu0c` …, `gpu0aa` …"""
    if number == 0:
        return ""
    letters = string.ascii_lowercase
    return letters[number] if number < len(letters) else letters[number // 26 - 1] + letters[number % 26]


def _comfyui(installation: comfyui.Installation, data: datadir.DataDir, mark: str, place: _Place, port: int) -> Spec:
    folder = _folder(data, place.worker, *comfyui.FOLDERS)
    log = data.logs / f"{place.worker}.log"
    return Spec(
        id=place.worker,
        kind=model.WorkerKind.LOCAL,
        port=port,
        gpu=None if place.cpu else place.visible,
        device=place.device,
        log=log,
        command=child.Command(
            arguments=comfyui.arguments(installation, port=port, folder=folder, cpu=place.cpu),
            environment=comfyui.environment(os.environ, visible=place.visible, mark=mark),
            folder=installation.folder,
            output=log,
        ),
    )


def _simulator(settings: Settings, data: datadir.DataDir, mark: str, number: int, port: int) -> Spec:
    worker = model.WorkerId(f"sim{number}")
    folder = _folder(data, worker)
    log = data.logs / f"{worker}.log"
    return Spec(
        id=worker,
        kind=model.WorkerKind.SIMULATED,
        port=port,
        device="simulated",
        log=log,
        command=child.Command(
            arguments=(
                *(sys.executable, "-P", "-m", "gateway.simulator"),
                *("--port", str(port), "--dir", str(folder), "--name", worker),
                *_simulator_arguments(settings.simulate_args),
            ),
            environment=comfyui.environment(os.environ, visible=None, mark=mark),
            output=log,
        ),
    )


def _folder(data: datadir.DataDir, worker: model.WorkerId, *inside: str) -> Path:
    """The worker's own folder, made, with these in it; ConfigError."""
    folder = data.worker(worker)
    try:
        for path in (folder, *(folder / name for name in inside)):
            path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.ConfigError(f"the folder {folder} cannot be made: {error.strerror}") from None
    return folder


def _simulator_arguments(text: str) -> Sequence[str]:
    try:
        arguments = shlex.split(text)
    except ValueError as error:
        raise errors.ConfigError(f"--simulate-args cannot be read: {error}") from None
    comfyui.refuse_ours(arguments, _SIMULATORS_OURS, option="--simulate-args")
    return arguments


def free_ports(data_dir: Path) -> Iterator[int]:
    """Ports that nobody listens on, the same ones at each start of this data directory if they are still free."""
    first = zlib.crc32(os.fsencode(data_dir)) % len(_PORTS)
    for offset in range(len(_PORTS)):
        port = _PORTS[(first + offset) % len(_PORTS)]
        if is_free(port):
            yield port
    raise errors.ConfigError("no free port is left for local workers")


def at_free_port(spec: Spec) -> Spec:
    """The same worker; on another port when somebody else has taken its own meanwhile."""
    if is_free(spec.port):
        return spec
    port = next(free_ports(spec.log))
    arguments = list(spec.command.arguments)
    arguments[arguments.index("--port") + 1] = str(port)
    return dataclasses.replace(spec, port=port, command=dataclasses.replace(spec.command, arguments=tuple(arguments)))


def is_free(port: int) -> bool:
    """Whether nobody listens on the port of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
