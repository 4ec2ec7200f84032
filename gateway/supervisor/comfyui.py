"""How a ComfyUI is started as one of several: pinned to its GPU, with folders, database and port of its own.

Models and custom nodes stay shared: the base directory is ComfyUI's own. Flags that a version lacks are left out, for
versions differ; what we could not live without is checked.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.domain import errors

_ENVIRONMENTS = (".venv", "venv", "env", "python_embeded", "../.venv", "../venv")
#: Ours to set: a pinned process that is told another port, card or folder would no longer be the one we know.
_OURS = frozenset(
    {
        "--listen",
        "--port",
        "--cuda-device",
        "--base-directory",
        "--output-directory",
        "--input-directory",
        "--temp-directory",
        "--user-directory",
        "--database-url",
        "--auto-launch",
    }
)
#: Of one worker; ComfyUI wants its user directory to be there.
FOLDERS = ("output", "input", "temp", "user")
_HELP_SECONDS = 120  #: a cold Python environment on a network disk is slow


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A ComfyUI that can be started, and what it understands."""

    folder: Path
    python: str
    flags: frozenset[str]
    extra: tuple[str, ...] = ()
    version: str | None = None


async def inspect(folder: Path, python: Path | None, extra: str) -> Installation:
    """The ComfyUI in `folder`, asked for its flags; ConfigError with the way out."""
    where = _folder(folder)
    arguments = _extra(extra)
    exe = interpreter(where, python)
    return Installation(
        folder=where, python=exe, flags=await _flags(where, exe), extra=arguments, version=version_of(where)
    )


def _folder(folder: Path) -> Path:
    where = folder.expanduser().absolute()
    if not where.is_dir():
        raise errors.ConfigError(f"there is no folder {where} for --comfyui")
    if not (where / "main.py").is_file():
        raise errors.ConfigError(f"{where} is not a ComfyUI folder: it has no main.py")
    return where


def _extra(text: str) -> tuple[str, ...]:
    try:
        arguments = tuple(shlex.split(text))
    except ValueError as error:
        raise errors.ConfigError(f"--comfyui-args cannot be read: {error}") from None
    refuse_ours(arguments, _OURS, option="--comfyui-args")
    return arguments


def refuse_ours(arguments: Iterable[str], ours: frozenset[str], *, option: str) -> None:
    """ConfigError where arguments for a worker hold flags that are ours to set, shortened ones included."""
    given = {argument.partition("=")[0] for argument in arguments}
    found = sorted(flag for flag in ours if any(len(name) > 2 and flag.startswith(name) for name in given))
    if found:
        raise errors.ConfigError(f"{', '.join(found)} cannot be given in {option}: the gateway sets it itself")


def interpreter(folder: Path, wanted: Path | None) -> str:
    """The Python to run ComfyUI with: the one named, else the environment in its folder, else the shell's."""
    if wanted is not None:
        found = shutil.which(os.fspath(wanted.expanduser()))
        if found is None:
            raise errors.ConfigError(f"--comfyui-python {wanted} is not a program")
        # Not resolved: an environment's python is a link, and only its own path makes it that environment's.
        return os.path.abspath(found)  # noqa: PTH100
    for name in _ENVIRONMENTS:
        for program in ("bin/python", "python.exe"):
            if (candidate := folder / name / program).is_file():
                return os.path.abspath(candidate)  # noqa: PTH100
    for name in ("python3", "python"):
        found = shutil.which(name)
        if found is not None and not _is_ours(found):
            return found
    raise errors.ConfigError(
        f"no Python environment was found in {folder}: say which Python runs ComfyUI with --comfyui-python"
    )


def _is_ours(program: str) -> bool:
    """Whether it is the Python of our own virtual environment, which has no PyTorch."""
    return sys.prefix != sys.base_prefix and Path(program).absolute().is_relative_to(sys.prefix)


def version_of(folder: Path) -> str | None:
    """What `comfyui_version.py` says."""
    with suppress(OSError, UnicodeDecodeError):
        found = re.search(r'__version__\s*=\s*"([^"]+)"', (folder / "comfyui_version.py").read_text(encoding="utf-8"))
        return found[1] if found else None
    return None


async def _flags(folder: Path, python: str) -> frozenset[str]:
    """Ask ComfyUI itself: it answers `--help` before it touches PyTorch."""
    try:
        process = await asyncio.create_subprocess_exec(
            *(python, "main.py", "--help"),
            cwd=folder,
            env=environment(os.environ, visible=None, mark=""),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        way_out = "mend it, or say which Python runs ComfyUI with --comfyui-python"
        raise errors.ConfigError(f"{python} cannot be run: {error.strerror}; {way_out}") from None
    try:
        async with asyncio.timeout(_HELP_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        raise errors.ConfigError(f"{python} main.py --help in {folder} did not answer") from None
    finally:
        if process.returncode is None:  # also where we are told to stop meanwhile
            process.kill()
            await process.wait()
    text = output.decode("utf-8", "replace")
    flags = frozenset(re.findall(r"(?<![\w-])--[a-z0-9][a-z0-9_-]*", text))
    if process.returncode != 0 or not {"--listen", "--port"} <= flags:
        tail = "\n".join(text.strip().splitlines()[-8:])
        raise errors.ConfigError(f"ComfyUI in {folder} does not start with {python}:\n{tail}")
    return flags


def arguments(installation: Installation, *, port: int, folder: Path, cpu: bool) -> tuple[str, ...]:
    """The command line of one worker, whose own folder is `folder`."""
    wanted = (
        ("--disable-auto-launch", None),
        ("--output-directory", str(folder / "output")),
        ("--input-directory", str(folder / "input")),
        ("--temp-directory", str(folder)),  # ComfyUI adds `temp` itself
        ("--user-directory", str(folder / "user")),
        ("--database-url", f"sqlite:///{folder / 'user' / 'comfyui.db'}"),
    )
    known = [part for flag, value in wanted if flag in installation.flags for part in (flag, value) if part is not None]
    processor = ("--cpu",) if cpu else ()
    listen = ("--listen", "127.0.0.1", "--port", str(port))
    return (installation.python, "main.py", *listen, *known, *processor, *installation.extra)


def environment(ours: Mapping[str, str], *, visible: str | None, mark: str) -> dict[str, str]:
    """The environment of a worker pinned to `visible` (None: not pinned). Our settings, keys included, stay out."""
    kept = {
        name: value
        for name, value in ours.items()
        if not name.startswith("COMFY_GATEWAY_") and name not in {"VIRTUAL_ENV", "PYTHONHOME", "NOTIFY_SOCKET"}
    }
    kept["PYTHONUNBUFFERED"] = "1"
    if mark:
        kept["COMFY_GATEWAY_MARK"] = mark
    if visible is not None:
        # CUDA counts fastest first unless told otherwise; NVML, and so people, count in PCI order.
        kept |= {"CUDA_VISIBLE_DEVICES": visible, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return kept
