"""Files that jobs made, saved under names that tell where they come from; nothing is overwritten unasked."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from gateway.cli import client, failures, shapes

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_MOST_SUFFIX = 16


def stem(what: str, job: shapes.Job, seed: object | None) -> str:
    """`sdxl-7`: the template and the seed, or the end of the job's id where there is no seed."""
    return f"{_safe(what)}-{_safe(str(seed)) if seed is not None else shapes.short(job.id)}"


def _safe(text: str) -> str:
    return _UNSAFE.sub("-", text).strip("-.")[:80] or "job"


def suffix(output: shapes.Output) -> str:
    """The ending that a file of this kind has."""
    given = PurePosixPath(output.name).suffix.lower()
    if 1 < len(given) <= _MOST_SUFFIX and given[1:].isalnum():
        return given
    if output.type == "text":
        return ".txt"
    return mimetypes.guess_extension(output.content_type.partition(";")[0]) or ".bin"


async def save(
    gateway: client.Gateway, job: shapes.Job, folder: Path, name: str, *, replace: bool = False
) -> list[Path]:
    """Download every output of the job as `<name>-<n>.<ext>`. Returns the files."""
    usable_folder(folder)
    saved: list[Path] = []
    for number, output in enumerate(job.outputs, 1):
        part = folder / f".{job.id}-{number}.part"
        try:
            await gateway.download(output.id, part)
            saved.append(_placed(part, folder / f"{name}-{number}{suffix(output)}", replace=replace))
        except OSError as error:
            raise failures.CommandFailed(f"{folder} cannot take the files: {error.strerror or error}") from None
        finally:
            part.unlink(missing_ok=True)
    return saved


def _placed(part: Path, path: Path, *, replace: bool) -> Path:
    """Give the whole file its name, or the next one that nobody has."""
    if replace:
        return part.replace(path)
    for candidate in _candidates(path):
        try:
            candidate.hardlink_to(part)  # unlike a rename, fails where a file is
        except FileExistsError:
            continue
        except OSError:  # a file system without links
            with suppress(FileExistsError):
                candidate.touch(exist_ok=False)
                return part.replace(candidate)
            continue
        return candidate
    raise failures.CommandFailed(f"no free name is left for {path}")


def _candidates(path: Path) -> Iterator[Path]:
    yield path
    for number in range(2, 10_000):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def replace(path: Path, data: bytes) -> None:
    """The file with these bytes, whole whenever somebody looks."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


def usable_folder(folder: Path) -> Path:
    """The folder, made if need be; Wrong when it cannot be one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise failures.Wrong(f"{folder} is not a folder") from None
    except OSError as error:
        raise failures.Wrong(f"{folder} cannot be used for the files: {error.strerror}") from None
    return folder
