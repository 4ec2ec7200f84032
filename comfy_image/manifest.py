"""The manifest of model files (`models.toml`): what to fetch, from where, and how to know that it is right."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast
from urllib.parse import urlsplit

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FIELDS = frozenset({"path", "url", "sha256", "size", "optional", "groups", "token", "license"})


class ManifestError(Exception):
    """A manifest or a choice from it that a person must mend; every fault is in the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One file. `path` is relative to the models folder; `token` names the environment variable with a bearer token."""

    path: PurePosixPath
    url: str
    sha256: str | None = None
    size: int | None = None
    optional: bool = False  #: a failure to fetch it is a warning
    groups: tuple[str, ...] = ()
    token: str | None = None
    license: str | None = None


def read_manifest(path: Path) -> tuple[Model, ...]:
    """Read and check a manifest, all faults at once."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} is not TOML: {error}") from error
    entries = data.get("model", [])
    if not isinstance(entries, list) or set(data) - {"model"}:
        raise ManifestError(f"{path}: only [[model]] entries belong in a manifest")
    faults: list[str] = []
    models = [_model(entry, f"model {index}", faults) for index, entry in enumerate(cast(list[Any], entries), 1)]
    paths = [model.path for model in models if model is not None]
    faults += [f"{path} is listed twice" for path in sorted({path for path in paths if paths.count(path) > 1})]
    if faults:
        raise ManifestError("\n".join([f"{path} has {len(faults)} faults:", *(f"  {fault}" for fault in faults)]))
    return tuple(model for model in models if model is not None)


def choose(models: Sequence[Model], wanted: Sequence[str]) -> tuple[Model, ...]:
    """Return the models that `wanted` names by group or by path; "all" names everything, nothing names nothing."""
    if "all" in wanted:
        return tuple(models)
    names = {name for model in models for name in (*model.groups, str(model.path))}
    unknown = [name for name in wanted if name not in names]
    if unknown:
        groups = ", ".join(sorted({group for model in models for group in model.groups}))
        raise ManifestError(f"The manifest has no group or file {', '.join(unknown)}. Its groups: {groups or 'none'}")
    return tuple(model for model in models if {*model.groups, str(model.path)} & set(wanted))


def _model(entry: Any, place: str, faults: list[str]) -> Model | None:
    """Check one entry; what is wrong with it goes to `faults`."""
    if not isinstance(entry, Mapping):
        faults.append(f"{place}: not a table")
        return None
    fields = cast(Mapping[str, Any], entry)
    place = f"{place} ({fields['path']})" if isinstance(fields.get("path"), str) else place
    found = [f"{place}: unknown field {name!r}" for name in sorted(set(fields) - _FIELDS)]
    found += [
        f"{place}: {fault}" for fault in (_path_fault(fields), _url_fault(fields), *_detail_faults(fields)) if fault
    ]
    faults += found
    if found:
        return None
    return Model(
        path=PurePosixPath(fields["path"]),
        url=fields["url"],
        sha256=fields.get("sha256"),
        size=fields.get("size"),
        optional=fields.get("optional", False),
        groups=tuple(fields.get("groups", ())),
        token=fields.get("token"),
        license=fields.get("license"),
    )


def _path_fault(fields: Mapping[str, Any]) -> str | None:
    text = fields.get("path")
    if not isinstance(text, str) or not text:
        return "path is missing"
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "\\" in text or "\0" in text or len(path.parts) < 2:
        return "path must be FOLDER/FILE below the models folder"
    return "path may not hold hidden names" if any(part.startswith(".") for part in path.parts) else None


def _url_fault(fields: Mapping[str, Any]) -> str | None:
    url = fields.get("url")
    if not isinstance(url, str):
        return "url is missing"
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "url must be an http or https address"
    return "url may not hold a password; name a `token` variable" if parts.username or parts.password else None


def _detail_faults(fields: Mapping[str, Any]) -> list[str]:
    sha256, size, groups = fields.get("sha256"), fields.get("size"), fields.get("groups", [])
    faults: list[str] = []
    if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        faults.append("sha256 must be 64 lower-case hexadecimal digits")
    if size is not None and not (type(size) is int and size > 0):
        faults.append("size must be a number of bytes")
    if not isinstance(fields.get("optional", False), bool):
        faults.append("optional must be true or false")
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in cast(list[Any], groups)):
        faults.append("groups must be a list of names")
    texts = [name for name in ("token", "license") if not isinstance(fields.get(name, ""), str)]
    faults += [f"{name} must be a text" for name in texts]
    return faults
