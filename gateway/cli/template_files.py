"""Template files on this machine: shown, written, checked."""

from __future__ import annotations

import asyncio
import dataclasses
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.adapters import templates as folders
from gateway.cli import client, failures, node_classes, output, template_tables
from gateway.domain import errors
from gateway.domain.embedded import reading
from gateway.domain.pipelines import model as pipelines
from gateway.domain.templates import describe, model, preflight, sidecar
from gateway.domain.workflow import document

if TYPE_CHECKING:
    from rich.console import RenderableType

Findings = tuple[preflight.Finding, ...]

_CONVERTING = (
    "start the gateway, say which gateway or ComfyUI shall convert it (--url http://127.0.0.1:8180), or save what a "
    "ComfyUI answers at /object_info and name that: --object-info FILE"
)


def is_file(name: str) -> bool:
    """Whether this names a workflow's file, or a picture, sound or film that may carry one."""
    return Path(name).suffix.lower() in reading.SUFFIXES or name.endswith(folders.PIPELINE)


async def show(
    name: str, source: template_tables.Source, screen: output.Screen, *, object_info: Path | None, write: bool
) -> None:
    """Show a template of this machine; `write` its parameters as the file to start from.

    The gateway or ComfyUI that was named is asked what node classes there are; the one of the default URL only where a
    file must be converted.
    """
    path = await asyncio.to_thread(_path, name, source)
    place = (source.url, source.api_key)
    classes = await node_classes.known(object_info, place if source.named else None, screen)
    try:
        template = await asyncio.to_thread(_loaded, path, classes)
    except errors.TemplateWaiting as waiting:
        try:
            classes = await node_classes.of_workers(*place, screen)
        except failures.Unreachable as lost:
            raise failures.Wrong(f"{waiting.message} ({lost.message})", way_out=_CONVERTING) from None
        template = await asyncio.to_thread(_loaded, path, classes)
    about = describe.detail(template)
    served = not is_file(name) and source.folder is None
    orders = () if served else _orders(about, path, by_path=template.inferred and not write)
    template_tables.show(about, screen, orders=orders, written=write)
    if write:
        await asyncio.to_thread(_write, template, path.with_suffix(".toml"), screen)


def _loaded(path: Path, classes: node_classes.Known) -> model.Template:
    catalog = next((each.catalog for each in classes.values()), None)
    return folders.load_template(path, catalog=catalog, convert=node_classes.converting(classes))


def _orders(about: Mapping[str, Any], path: Path, *, by_path: bool) -> Sequence[str]:
    """How a file is ordered that no gateway may serve. By its path it has the parameters of its graph alone."""
    if by_path:
        return (template_tables.example(about, str(path)),)
    return (shlex.join(["comfy-gateway", "templates", "add", str(path)]), template_tables.example(about))


def _write(template: model.Template, beside: Path, screen: output.Screen) -> None:
    try:
        with beside.open("x", encoding="utf-8") as file:
            file.write(sidecar.write_sidecar(template))
    except FileExistsError:
        raise failures.Wrong(f"{beside} is there already", way_out="move it away to begin anew") from None
    except OSError as error:
        raise failures.Wrong(f"{beside} cannot be written: {error.strerror}") from None
    screen.note(f"Written to {beside}", style="green")


def _path(name: str, source: template_tables.Source) -> Path:
    if is_file(name):
        if not Path(name).is_file():
            raise failures.Wrong(f"there is no file {name}")
        return Path(name)
    found = source.local()
    known = {item.name: item.source for item in (*found.templates, *found.waiting)}
    place = known.get(name) or found.get(name).source
    if place is None:
        raise failures.Wrong(f"{name} is not a file on this machine")
    return Path(place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What came of checking a file, or a template of a gateway."""

    name: str
    faults: tuple[errors.Fault, ...] = ()  #: of the file itself
    workers: Mapping[str, Findings] = field(default_factory=dict[str, Findings])  #: what each would refuse
    note: str | None = None
    unread: bool = False  #: it must be converted, and nobody could: all that was looked at is its form

    @property
    def passing(self) -> tuple[str, ...]:
        """The workers that would run it."""
        return tuple(worker for worker, found in self.workers.items() if not found)

    def ok(self, *, everywhere: bool) -> bool:
        """Whether nothing is wrong: one worker that would run it is enough, unless all must."""
        if self.faults:
            return False
        enough = all if everywhere else any
        return not self.workers or enough(not found for found in self.workers.values())

    def told(self, *, everywhere: bool) -> tuple[errors.Fault, ...]:
        """What is wrong: with the file, else in the words of the worker that comes nearest."""
        if self.ok(everywhere=everywhere):
            return ()
        refused = [found for found in self.workers.values() if found]
        return self.faults or tuple(each.fault for each in min(refused, key=len))

    def as_dict(self, *, everywhere: bool) -> dict[str, Any]:
        """For programs."""
        return {
            "file": self.name,
            "ok": None if self.unread else self.ok(everywhere=everywhere),
            "faults": [fault.as_dict() for fault in self.told(everywhere=everywhere)],
            "workers": list(self.passing) if self.workers else None,
            "refused": {worker: [each.as_dict() for each in found] for worker, found in self.workers.items() if found},
        }


async def check(
    wanted: Sequence[Path],
    screen: output.Screen,
    *,
    object_info: Path | None,
    place: tuple[str, str | None] | None,
    everywhere: bool,
    converter: tuple[str, str | None] | None = None,
) -> int:
    """Check these files, those in these folders, and templates of the gateway at `place`. Returns 1 when something is
    wrong. `converter`: a gateway that nobody named, asked only to convert what the editor saved."""
    named = [str(each) for each in wanted if place is not None and _is_name(each)]
    rest = [each for each in wanted if str(each) not in named]
    paths = await asyncio.to_thread(lambda: [path for each in rest for path in _files(each)])
    classes = await node_classes.known(object_info, place if paths else None, screen)
    found = await asyncio.to_thread(lambda: [_checked(path, classes) for path in paths])
    if converter is not None and any(each.unread for each in found):
        found = await _converted(found, converter, screen)
    found += [await _of_gateway(name, place) for name in named if place is not None]
    if screen.as_json:
        screen.json({"files": [each.as_dict(everywhere=everywhere) for each in found]})
    else:
        _report(found, screen, everywhere=everywhere)
    return failures.DONE if all(each.ok(everywhere=everywhere) for each in found) else failures.FAILED


async def _converted(
    found: Sequence[Checked], converter: tuple[str, str | None], screen: output.Screen
) -> list[Checked]:
    """The same, those that must be converted by what this gateway's workers have, where it answers."""
    try:
        classes = await node_classes.of_workers(*converter, screen)
    except failures.Unreachable as lost:
        return [
            dataclasses.replace(each, note=f"{each.note} ({lost.message})") if each.unread else each for each in found
        ]
    convert = node_classes.converting(classes)
    return [await asyncio.to_thread(_checked, Path(each.name), {}, convert) if each.unread else each for each in found]


def _is_name(place: Path) -> bool:
    """Whether this is no file of ours, and could be what a gateway calls a template."""
    return len(place.parts) == 1 and not is_file(str(place)) and not place.exists() and not _beside(place).exists()


def _beside(place: Path) -> Path:
    return place.with_name(f"{place.name}.json")


def _files(place: Path) -> Iterator[Path]:
    if place.is_dir():
        found = folders.named(place)
        if not found:
            raise failures.Wrong(f"there are no templates in {place}")
        yield from found.values()
    elif is_file(str(place)) and place.exists():
        yield place
    elif place.with_suffix(".json").exists():
        yield place.with_suffix(".json")
    elif _beside(place).exists():
        yield _beside(place)
    else:
        raise failures.Wrong(f"there is no {place}", way_out="name workflows, pictures that carry one, or a folder")


def _checked(path: Path, classes: node_classes.Known, convert: folders.Convert | None = None) -> Checked:
    convert = convert or node_classes.converting(classes)
    try:
        template = folders.load_template(path, convert=convert)
        needed = [template] if template.pipeline is None else _steps(path, template.pipeline, convert)
    except errors.TemplateWaiting as waiting:
        return _unread(path, waiting)
    except (errors.TemplateError, errors.InvalidRequest) as error:
        return _wrong(path, error)
    workers = {
        name: tuple(finding for each in needed for finding in preflight.check(each, known.catalog))
        for name, known in classes.items()
    }
    return Checked(name=str(path), workers=workers)


def _wrong(path: Path, error: errors.TemplateError | errors.InvalidRequest) -> Checked:
    whole = errors.Fault(reason=error.code, message=error.message)
    return Checked(name=str(path), faults=error.faults or (whole,))


def _unread(path: Path, waiting: errors.TemplateWaiting) -> Checked:
    """What can be told of an editor's file without a worker: whether it is one."""
    saved = folders.read(path).saved
    try:
        if saved is not None:
            document.read(saved)
    except errors.InvalidRequest as error:
        return _wrong(path, error)
    return Checked(name=str(path), unread=True, note=f"{waiting.message} Start the gateway, or use --object-info.")


def _steps(path: Path, pipeline: pipelines.Pipeline, convert: folders.Convert | None) -> Sequence[model.Template]:
    """The templates of a pipeline's steps."""
    find = folders.finding(path.parent, convert=convert)
    return [find(step.template) for step in pipeline.steps if step.template is not None]


async def _of_gateway(name: str, place: tuple[str, str | None]) -> Checked:
    """What the gateway says of its template."""
    async with client.connect(*place) as gateway:
        told = await gateway.preflight(name)
    workers = {
        str(each["worker"]): tuple(
            preflight.Finding(fault=fault, nearest=raw.get("nearest"))
            for fault, raw in zip(failures.faults_of(each), each["faults"], strict=True)
        )
        for each in told["workers"]
        if each["passes"] is not None
    }
    return Checked(name=name, workers=workers, note=None if workers else "no worker is known")


def _report(found: Sequence[Checked], screen: output.Screen, *, everywhere: bool) -> None:
    asked = any(each.workers for each in found)
    table = output.table("file", "state", *(("workers",) if asked else ()), keep=["state"])
    for each in found:
        table.add_row(
            output.plain(each.name),
            _state(each, everywhere=everywhere),
            *((output.plain(", ".join(each.passing)),) if asked else ()),
        )
    screen.out.print(table)
    for each in found:
        if each.note:
            screen.note(f"{each.name}: {each.note}")
        refused = {worker: faults for worker, faults in each.workers.items() if faults}
        if each.faults:
            _told(each.name, each.faults, screen)
        elif not each.ok(everywhere=everywhere):
            for worker, faults in refused.items():
                _told(f"{each.name} on {worker}", [_with_nearest(item) for item in faults], screen)


def _state(each: Checked, *, everywhere: bool) -> RenderableType:
    if each.unread:
        return output.plain("not checked", style="yellow")
    return output.plain("ok", style="green") if each.ok(everywhere=everywhere) else output.plain("wrong", style="red")


def _with_nearest(found: preflight.Finding) -> errors.Fault:
    """The fault, its message with the nearest valid value where it does not say it."""
    if found.nearest is None or str(found.nearest) in found.fault.message:
        return found.fault
    message = f"{found.fault.message} Nearest: {found.nearest!r}."
    return dataclasses.replace(found.fault, message=message)


def _told(title: str, faults: Sequence[errors.Fault], screen: output.Screen) -> None:
    screen.out.print()
    screen.out.print(output.plain(title, style="bold"))
    screen.out.print(output.fault_table(faults))
