"""Templates from folders: `NAME.json`, the workflow as ComfyUI exports it, and beside it an optional `NAME.toml`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import orjson

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info, structure
from gateway.domain.templates import building, library, model, sidecar

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_GRAPH_BYTES: Final = 50 * 2**20
MAX_SIDECAR_BYTES: Final = 2**20
MAX_DEFAULT_FILE_BYTES: Final = 20 * 2**20


def builtin_folder() -> Path:
    """The templates that ship with the gateway: inside the installed package, or in the project it is worked on."""
    package = Path(__file__).resolve().parent.parent
    shipped = package / "_workflows"
    return shipped if shipped.is_dir() else package.parent / "workflows"


def load(folder: Path) -> library.Library:
    """Every template of this folder; what is broken is told by name and does not stop the others."""
    if not folder.is_dir():
        raise errors.ConfigError(f"The template folder {folder} does not exist.")
    templates: list[model.Template] = []
    broken: list[library.Broken] = []
    for name, path in _named(folder).items():
        try:
            templates.append(load_template(path))
        except errors.TemplateError as error:
            broken.append(library.Broken(name=name, source=str(path), reason=error.message, faults=error.faults))
    return library.Library(templates=tuple(templates), broken=tuple(broken))


def load_template(path: Path, *, catalog: object_info.NodeCatalog | None = None) -> model.Template:
    """The template of this `NAME.json`; raises `TemplateError` that names file and key."""
    name = path.stem
    if not NAME.fullmatch(name):
        raise errors.TemplateError(f"{path.name}: a template's name has letters, digits and .-_ only, at most 64.")
    graph = _graph(path)
    beside = path.with_suffix(".toml")
    if not beside.is_file():
        return building.build(name, graph, source=str(path), catalog=catalog)
    text = _text(beside)
    described = sidecar.read_sidecar(text, beside.name)
    files = {file: _default_file(path.parent, file, beside.name) for file in building.default_files(described)}
    return building.build(name, graph, described, text=text, files=files, source=str(path), catalog=catalog)


def _named(folder: Path) -> dict[str, Path]:
    # A sidecar without its workflow is told as a broken template, too: its author is looking for it.
    paths = {path.stem: path.with_suffix(".json") for path in folder.iterdir() if path.suffix in {".json", ".toml"}}
    return dict(sorted(paths.items()))


def _graph(path: Path) -> graphs.Graph:
    data = _bytes(path, MAX_GRAPH_BYTES)
    try:
        return graphs.parse_graph(orjson.loads(data))
    except orjson.JSONDecodeError as error:
        raise errors.TemplateError(f"{path.name} is not JSON: {error}") from None
    except errors.InvalidRequest as error:
        raise errors.TemplateError(f"{path.name}: {error.message}", faults=error.faults) from None


def _text(path: Path) -> str:
    try:
        return _bytes(path, MAX_SIDECAR_BYTES).decode()
    except UnicodeDecodeError:
        raise errors.TemplateError(f"{path.name} is not UTF-8 text.") from None


def _default_file(folder: Path, name: str, source: str) -> bytes:
    complaint = structure.path_complaint(name)
    if complaint is not None:
        raise errors.TemplateError(f"{source}: the default file {name!r} {complaint}.")
    return _bytes(folder / name, MAX_DEFAULT_FILE_BYTES)


def _bytes(path: Path, limit: int) -> bytes:
    try:
        if path.stat().st_size > limit:
            raise errors.TemplateError(f"{path.name} is larger than {limit // 2**20} MiB.")
        return path.read_bytes()
    except OSError as error:
        raise errors.TemplateError(f"{path.name} cannot be read: {error.strerror}.") from None
