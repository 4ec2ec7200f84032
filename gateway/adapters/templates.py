"""Templates from folders: whatever the author saved, and beside it an optional `NAME.toml`.

`NAME.json` is a workflow in either of ComfyUI's formats; `NAME.png`, `.webp`, `.mp4` … a picture, film or sound that
carries one; `NAME.pipeline.toml` several templates in a row. Where a JSON file and a picture share a name, the JSON
counts. Pictures that sidecars name as `default_file` are no templates, nor are those whose name a JSON file has.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from gateway import unforeseen
from gateway.domain import errors
from gateway.domain.comfy import object_info, structure
from gateway.domain.embedded import reading
from gateway.domain.pipelines import facing
from gateway.domain.templates import building, drafts, library, model, records, references, sidecar

MAX_GRAPH_BYTES: Final = 50 * 2**20  #: of a workflow, or the picture or film that carries one
MAX_SIDECAR_BYTES: Final = 2**20
PIPELINE: Final = ".pipeline.toml"  #: the end of a pipeline's file name
MAX_DEFAULT_FILE_BYTES: Final = 20 * 2**20

Convert = Callable[
    [drafts.Draft], records.Converted
]  #: an editor's file becomes a graph; TemplateError, TemplateWaiting


def builtin_folder() -> Path:
    """The templates that ship with the gateway: inside the installed package, or in the project it is worked on."""
    package = Path(__file__).resolve().parent.parent
    shipped = package / "_workflows"
    return shipped if shipped.is_dir() else package.parent / "workflows"


def load(folder: Path, *, convert: Convert | None = None) -> library.Library:
    """Every template of this folder; what is broken is told by name and does not stop the others."""
    if not folder.is_dir():
        raise errors.ConfigError(f"The template folder {folder} does not exist.")
    templates: list[model.Template] = []
    broken: list[library.Broken] = []
    waiting: list[library.Waiting] = []
    pipelines: dict[str, Path] = {}
    for name, path in named(folder).items():
        if path.name.endswith(PIPELINE):
            pipelines[name] = path
            continue
        try:
            templates.append(load_template(path, convert=convert))
        except errors.TemplateError as error:
            broken.append(library.Broken(name=name, source=plain(path), reason=error.message, faults=error.faults))
        except errors.TemplateWaiting as error:
            waiting.append(library.Waiting(name=name, source=plain(path), reason=error.message))
    find = _finding(library.library(tuple(templates), tuple(broken), tuple(waiting)), convert)
    for name, path in pipelines.items():
        try:
            templates.append(read(path).face(find))
        except errors.TemplateError as error:
            broken.append(library.Broken(name=name, source=plain(path), reason=error.message, faults=error.faults))
        except errors.TemplateWaiting as error:
            waiting.append(library.Waiting(name=name, source=plain(path), reason=error.message))
    return library.library(tuple(templates), tuple(broken), tuple(waiting))


def load_template(
    path: Path, *, catalog: object_info.NodeCatalog | None = None, convert: Convert | None = None
) -> model.Template:
    """The template of this file; TemplateError that names file and key, TemplateWaiting where it must be converted and
    nothing can."""
    draft = read(path)
    if draft.pipeline is not None:
        return draft.face(finding(path.parent, convert=convert))
    return draft.template(draft.workflow or (convert or _unconverted)(draft), catalog)


def finding(folder: Path, *, convert: Convert | None = None) -> facing.Find:
    """Finds the templates of a pipeline's steps: those beside it, and those that ship."""
    return _finding(load(folder, convert=convert), convert)


def _finding(steps: library.Library, convert: Convert | None) -> facing.Find:
    def find(reference: str) -> model.Template:
        name, _ = references.parse(reference)
        shipped = builtin_folder() / f"{name}.json"
        if name not in steps.names and references.NAME.fullmatch(name) and shipped.is_file():
            return load_template(shipped, convert=convert)
        return steps.get(name)

    return find


def _unconverted(draft: drafts.Draft) -> records.Converted:
    raise errors.TemplateWaiting(
        f"{Path(draft.source or draft.name).name} is in the format of ComfyUI's editor; what it becomes depends on a "
        "worker's node classes."
    )


def converting(info: Mapping[str, object]) -> Convert:
    """The conversion by what this `GET /object_info` tells."""
    return functools.partial(drafts.converted, info=info)


def read(path: Path) -> drafts.Draft:
    """What this file and its sidecar say; TemplateError that names file and key."""
    name = name_of(path)
    if not references.NAME.fullmatch(name):
        raise errors.TemplateError(
            f"{plain(path.name)}: a template's name has letters, digits and .-_ only, at most 64."
        )
    if path.name.endswith(PIPELINE):
        return drafts.pipeline(name, _text(path), source=str(path), file=path.name)
    workflow = workflow_of(_bytes(path, MAX_GRAPH_BYTES), path.name)
    beside = path.with_suffix(".toml")
    if not beside.is_file():
        return drafts.draft(name, workflow, source=str(path), file=path.name)
    text = _text(beside)
    described = drafts.described(text, workflow, file=beside.name)
    files = {file: _default_file(path.parent, file, beside.name) for file in building.default_files(described)}
    return drafts.draft(name, workflow, text=text, described=described, files=files, source=str(path), file=path.name)


def workflow_of(data: bytes, source: str) -> object:
    """The workflow that these bytes are or carry; TemplateError."""
    try:
        return reading.read_workflow(data, source=source)
    except errors.InvalidRequest as error:
        raise errors.TemplateError(error.message, faults=error.faults) from None


def named(folder: Path, *, defaults_of: Callable[[Path], frozenset[str]] | None = None) -> dict[str, Path]:
    """The files of this folder that are, or should be, templates, by name. `defaults_of` tells the default files that
    a sidecar names, for those who remember it."""
    everything = sorted(path for path in folder.iterdir() if path.suffix.lower() in {*reading.SUFFIXES, ".toml"})
    pipelines = {name_of(path): path for path in everything if path.name.endswith(PIPELINE)}
    paths = [path for path in everything if not path.name.endswith(PIPELINE)]
    # A sidecar without its workflow is told as a broken template, too: its author is looking for it.
    found = {path.stem: path.with_suffix(".json") for path in paths if path.suffix == ".toml"}
    with_json = {path.stem: path for path in paths if path.suffix.lower() == ".json"}  # `.json` is the last of them
    found |= with_json
    media = {
        path.stem: path
        for path in reversed(paths)
        if path.suffix.lower() in reading.MEDIA_SUFFIXES and path.stem not in with_json
    }
    if media:
        sidecars = (path for path in paths if path.suffix == ".toml")
        shown = frozenset[str]().union(*map(defaults_of or default_files, sidecars))
        found |= {stem: path for stem, path in media.items() if path.name not in shown}
    return {plain(name): path for name, path in sorted({**pipelines, **found}.items())}


def plain(path: Path | str) -> str:
    """The path as it can be told: the name of a file may be bytes that are no text."""
    return str(path).encode(errors="backslashreplace").decode()


def name_of(path: Path) -> str:
    """The name of the template that this file is."""
    return path.name.removesuffix(PIPELINE) if path.name.endswith(PIPELINE) else path.stem


def default_files(path: Path) -> frozenset[str]:
    """The default files that this sidecar names; none when it cannot be read, which is told where it is needed."""
    try:
        with unforeseen.as_template_error(path.name):
            return frozenset(building.default_files(sidecar.read_sidecar(_text(path), path.name)))
    except errors.TemplateError:
        return frozenset()


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
