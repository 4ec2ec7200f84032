"""Template files on this machine: shown, written, checked."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.adapters import templates as folders
from gateway.cli import client, failures, node_classes, output, template_tables
from gateway.domain import errors
from gateway.domain.embedded import reading
from gateway.domain.pipelines import model as pipelines
from gateway.domain.templates import describe, model, preflight, sidecar
from gateway.domain.workflow import document

Findings = tuple[preflight.Finding, ...]


def is_file(name: str) -> bool:
    """Whether this names a workflow's file, or a picture, sound or film that may carry one."""
    return Path(name).suffix.lower() in reading.SUFFIXES or name.endswith(folders.PIPELINE)


async def show(
    name: str, source: template_tables.Source, screen: output.Screen, *, object_info: Path | None, write: bool
) -> None:
    """Show a template of this machine; `write` its parameters as the file to start from."""
    place = (source.url, source.api_key) if source.named else None
    classes = await node_classes.known(object_info, place, screen)
    await asyncio.to_thread(_show, name, source, screen, classes=classes, write=write)


def _show(
    name: str, source: template_tables.Source, screen: output.Screen, *, classes: node_classes.Known, write: bool
) -> None:
    path = _path(name, source)
    catalog = next((each.catalog for each in classes.values()), None)
    try:
        template = folders.load_template(path, catalog=catalog, convert=node_classes.converting(classes))
    except errors.TemplateWaiting as error:
        way_out = "say which ComfyUI shall run it: --url http://HOST:8188, or --object-info FILE"
        raise failures.Wrong(error.message, way_out=way_out) from None
    template_tables.show(describe.detail(template), screen)
    if write:
        beside = path.with_suffix(".toml")
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
            "ok": self.ok(everywhere=everywhere),
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
) -> int:
    """Check these files, those in these folders, and templates of the gateway at `place`. Returns 1 when something is
    wrong."""
    named = [str(each) for each in wanted if place is not None and _is_name(each)]
    rest = [each for each in wanted if str(each) not in named]
    paths = await asyncio.to_thread(lambda: [path for each in rest for path in _files(each)])
    classes = await node_classes.known(object_info, place if paths else None, screen)
    found = await asyncio.to_thread(lambda: [_checked(path, classes) for path in paths])
    found += [await _of_gateway(name, place) for name in named if place is not None]
    if screen.as_json:
        screen.json({"files": [each.as_dict(everywhere=everywhere) for each in found]})
    else:
        _report(found, screen, everywhere=everywhere)
    return failures.DONE if all(each.ok(everywhere=everywhere) for each in found) else failures.FAILED


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


def _checked(path: Path, classes: node_classes.Known) -> Checked:
    try:
        if not classes and (draft := folders.read(path)).saved is not None:
            document.read(draft.saved)
            return Checked(name=str(path), note="as the editor saved it: see more with --url or --object-info")
        template = folders.load_template(path, convert=node_classes.converting(classes))
    except (errors.TemplateError, errors.InvalidRequest) as error:
        whole = errors.Fault(reason=error.code, message=error.message)
        return Checked(name=str(path), faults=error.faults or (whole,))
    needed = [template] if template.pipeline is None else _steps(path, template.pipeline, classes)
    workers = {
        name: tuple(finding for each in needed for finding in preflight.check(each, known.catalog))
        for name, known in classes.items()
    }
    return Checked(name=str(path), workers=workers)


def _steps(path: Path, pipeline: pipelines.Pipeline, classes: node_classes.Known) -> Sequence[model.Template]:
    """The templates of a pipeline's steps."""
    find = folders.finding(path.parent, convert=node_classes.converting(classes))
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
    table = output.table("file", "", *(("workers",) if asked else ()), keep=["file"])
    for each in found:
        ok = each.ok(everywhere=everywhere)
        state = output.plain("ok", style="green") if ok else output.plain("wrong", style="red")
        table.add_row(output.plain(each.name), state, *((output.plain(", ".join(each.passing)),) if asked else ()))
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
