"""The NVIDIA GPUs of this machine, as NVML tells. A machine without NVML, or without GPUs, is a normal case."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pynvml

from gateway.domain import errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU, or a MIG slice of one. `index` counts in PCI order, as CUDA does under `CUDA_DEVICE_ORDER=PCI_BUS_ID`."""

    index: int
    uuid: str
    name: str
    memory_bytes: int
    mig: int | None = None  #: which slice of the GPU

    @property
    def visible(self) -> str:
        """What `CUDA_VISIBLE_DEVICES` takes: an index, or for a slice its UUID (slices have no index there)."""
        return self.uuid if self.mig is not None else str(self.index)

    @property
    def label(self) -> str:
        """A short name for people: `0`, or `0.1` for the second slice of GPU 0."""
        return str(self.index) if self.mig is None else f"{self.index}.{self.mig}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found. Without a driver there are no GPUs, and `missing` says what is not there."""

    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    missing: str | None = None


def find() -> Found:
    """Ask NVML."""
    try:
        with _nvml():
            gpus = tuple(gpu for index in range(pynvml.nvmlDeviceGetCount()) for gpu in _at(index))
            return Found(gpus=gpus, driver=str(pynvml.nvmlSystemGetDriverVersion()))
    except pynvml.NVMLError as error:
        return Found(missing=str(error))


class Utilisation:
    """How busy the GPU is that `CUDA_VISIBLE_DEVICES` names, whoever uses it. NVML stays open: to open it is slow."""

    def __init__(self, visible: str | None) -> None:
        self._visible = visible
        self._handle: Any = None

    def __call__(self) -> float | None:
        """Right now, 0..1; None: NVML does not tell, as for slices of a card."""
        if not self._visible:
            return None
        try:
            if self._handle is None:
                pynvml.nvmlInit()
                self._handle = _handle(self._visible)
            rates: Any = pynvml.nvmlDeviceGetUtilizationRates(self._handle)
            return int(rates.gpu) / 100
        except pynvml.NVMLError:
            self._handle = None
            return None


def _handle(visible: str) -> Any:
    if visible.isdigit():
        return pynvml.nvmlDeviceGetHandleByIndex(int(visible))
    return pynvml.nvmlDeviceGetHandleByUUID(visible)


@contextmanager
def _nvml() -> Generator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def _at(index: int) -> Iterator[Gpu]:
    device: Any = pynvml.nvmlDeviceGetHandleByIndex(index)
    slices = tuple(_slices(device))
    if not slices:
        yield _gpu(device, index, None)
    for number, part in enumerate(slices):
        yield _gpu(part, index, number)


def _slices(device: Any) -> Iterator[Any]:
    """The MIG slices of a GPU that is cut into some."""
    try:
        current, _pending = pynvml.nvmlDeviceGetMigMode(device)
        most = int(pynvml.nvmlDeviceGetMaxMigDeviceCount(device)) if current else 0
    except pynvml.NVMLError:
        return
    for number in range(most):
        with suppress(pynvml.NVMLError):
            yield pynvml.nvmlDeviceGetMigDeviceHandleByIndex(device, number)


def _gpu(device: Any, index: int, mig: int | None) -> Gpu:
    return Gpu(
        index=index,
        uuid=str(pynvml.nvmlDeviceGetUUID(device)),
        name=str(pynvml.nvmlDeviceGetName(device)),
        memory_bytes=_memory(device),
        mig=mig,
    )


def _memory(device: Any) -> int:
    try:
        return int(pynvml.nvmlDeviceGetMemoryInfo(device).total)
    except pynvml.NVMLError:  # some share the machine's memory
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What a worker process is pinned to: `visible` for `CUDA_VISIBLE_DEVICES`, the GPU where it is known."""

    visible: str
    label: str
    gpu: Gpu | None = None


def choose(wanted: str | Sequence[str], found: Found, environment: Mapping[str, str] | None = None) -> tuple[Pin, ...]:
    """The GPUs that `--gpus` means (`all`, or indices and UUIDs); ConfigError with the way out.

    `all` keeps to the `CUDA_VISIBLE_DEVICES` that we were started with: somebody shared this machine out.
    """
    if isinstance(wanted, str):
        return _all(found, (os.environ if environment is None else environment).get("CUDA_VISIBLE_DEVICES"))
    pins = tuple(_one(name, found) for name in wanted)
    visible = [pin.visible for pin in pins]
    if len(set(visible)) < len(visible):
        raise errors.ConfigError("--gpus names a GPU twice; --workers-per-gpu puts more workers on one")
    return pins


def _all(found: Found, allowed: str | None) -> tuple[Pin, ...]:
    if not found.gpus:
        why = f" ({found.missing})" if found.missing else ""
        raise errors.ConfigError(
            f"no NVIDIA GPU was found{why}: name them (--gpus 0,1), or run ComfyUI on the CPU with --gpus none"
        )
    if allowed is None:
        return tuple(_pin(gpu) for gpu in found.gpus)
    names = [name.strip() for name in allowed.split(",") if name.strip()]
    if not names:
        raise errors.ConfigError(
            "CUDA_VISIBLE_DEVICES is empty in this shell: unset it, or say --gpus 0,1 or --gpus none"
        )
    return tuple(_one(name, found) for name in names)


def _one(name: str, found: Found) -> Pin:
    for gpu in found.gpus:
        # CUDA takes any unambiguous beginning of a UUID.
        if name in {gpu.visible, gpu.label} or (len(name) > 8 and gpu.uuid.startswith(name)):
            return _pin(gpu)
    by_uuid = name.startswith(("GPU-", "MIG-"))
    if found.gpus or not (by_uuid or name.isdigit()):
        known = ", ".join(f"{gpu.label} ({gpu.name}, {gpu.uuid})" for gpu in found.gpus) or "none were found"
        raise errors.ConfigError(f"there is no GPU {name!r}; this machine has: {known}")
    return Pin(visible=name, label=name[4:12].lower() if by_uuid else name)


def _pin(gpu: Gpu) -> Pin:
    return Pin(visible=gpu.visible, label=gpu.label, gpu=gpu)
