"""What `comfy-gateway templates test` does: order the examples, compare what they made, say what differs."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.adapters import templates as folders
from gateway.cli import (
    board,
    client,
    failures,
    golden_files,
    inputs,
    interrupts,
    ordering,
    output,
    own_gateway,
    placing,
    shapes,
)
from gateway.domain import errors
from gateway.domain.templates import examples, values
from gateway.domain.templates import model as templates

_SIMULATORS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for."""

    names: tuple[str, ...]
    update: bool
    tolerance: float | None
    simulate: bool
    out: Path
    folder: Path | None
    timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An example of a template, to be run."""

    template: str
    version: str | None  #: of the files here, where that can be told without a worker
    example: templates.Example
    path: Path  #: the template's file
    broken: str | None = None  #: why that file cannot be used

    @property
    def label(self) -> str:
        """What to call it."""
        return f"{self.template} {self.example.name}"


async def play(wish: Wish, place: tuple[str, str | None], screen: output.Screen) -> int:
    """Run the examples. Returns the exit status."""
    cases = await asyncio.to_thread(_cases, wish)
    async with interrupts.watched() as stop, _gateway(wish, place, screen) as gateway:
        with tempfile.TemporaryDirectory(prefix="comfy-gateway-test-") as aside:
            ran = await _run(gateway, wish, cases, aside=Path(aside), screen=screen, stop=stop)
            if stop.asked.is_set():
                return failures.INTERRUPTED
            results = [await asyncio.to_thread(_judged, wish, case, result) for case, result in ran]
    if any(isinstance(result, ordering.Result) and result.job.simulated for _, result in ran):
        screen.note(ordering.SIMULATED, style="yellow")
    _report(screen, results)
    return failures.DONE if all(result.good for result in results) else failures.FAILED


@asynccontextmanager
async def _gateway(wish: Wish, place: tuple[str, str | None], screen: output.Screen) -> AsyncGenerator[client.Gateway]:
    """The gateway that runs them: one of its own that is simulated, or the one at this place."""
    if not wish.simulate:
        async with client.connect(*place) as gateway:
            await gateway.templates()  # so that one that is not there is told at once
            yield gateway
        return
    own = [part for folder in _own_folders(wish) for part in ("--workflows", str(folder.resolve()))]
    arguments = ("--simulate", str(_SIMULATORS), *own)
    async with own_gateway.running(arguments, screen, name="test") as url, client.connect(url) as gateway:
        await own_gateway.workers_ready(gateway, _SIMULATORS)
        yield gateway


# Which.


def _own_folders(wish: Wish) -> list[Path]:
    if wish.folder is not None:
        return [wish.folder]
    return [Path("workflows")] if Path("workflows").is_dir() else []


def _cases(wish: Wish) -> list[Case]:
    """The examples of the templates that are named; of all that have some, if none is."""
    known: dict[str, Path] = {}
    for folder in (*([] if wish.folder else [folders.builtin_folder()]), *_own_folders(wish)):
        if not folder.is_dir():
            raise failures.Wrong(f"there is no folder {folder}")
        known |= folders.named(folder)
    for name in wish.names:
        if name not in known:
            near = values.suggestion(name, known)
            way_out = "name a template's file with its folder: --folder, or run this where ./workflows is"
            raise failures.Wrong(f"there is no template {name} here.{near}", way_out=way_out)
    cases = [case for name in wish.names or known for case in _of(name, known[name], wanted=bool(wish.names))]
    if not cases:
        raise failures.Wrong(
            "no template here has examples", way_out="add [[examples]] to a NAME.toml, or name a template"
        )
    return cases


def _of(name: str, path: Path, *, wanted: bool) -> list[Case]:
    """The examples of one template. `wanted`: somebody named it, so that its defaults will do."""
    if not wanted and not path.with_suffix(".toml").is_file() and not golden_files.folder_of(path).is_dir():
        return []
    try:
        draft = folders.read(path)
        version = None if draft.workflow is None else draft.template(draft.workflow).version
    except errors.TemplateError as error:
        return [Case(template=name, version=None, example=examples.DEFAULTS, path=path, broken=error.message)]
    told = examples.told(draft.described.examples) if draft.pipeline is None else draft.pipeline.examples
    if not told and (wanted or golden_files.folder_of(path).is_dir()):
        told = (examples.DEFAULTS,)
    return [Case(template=name, version=version, example=example, path=path) for example in told]


# Running.


async def _run(
    gateway: client.Gateway,
    wish: Wish,
    cases: Sequence[Case],
    *,
    aside: Path,
    screen: output.Screen,
    stop: interrupts.Interrupts,
) -> list[tuple[Case, ordering.Result | str]]:
    """What became of each: a job, or why it was not ordered."""
    stop.gentle = True
    orders = await _all_ordered(ordering.desk(gateway, stop, screen), cases, screen)
    placed = [order for order in orders if isinstance(order, ordering.Order)]
    async with board.shown(screen.err) as lines:
        saving = ordering.Saving(folder=aside)
        made = iter(await ordering.watch(gateway, placed, lines, stop, saving, timeout=wish.timeout))
    if stop.asked.is_set():
        return []  # not all were ordered
    return [(case, order if isinstance(order, str) else next(made)) for case, order in zip(cases, orders, strict=True)]


async def _all_ordered(at: placing.Desk, cases: Sequence[Case], screen: output.Screen) -> list[ordering.Order | str]:
    """An order of each, or why there is none; fewer once Ctrl-C is pressed, and none when something goes wrong."""
    orders: list[ordering.Order | str] = []
    try:
        for case in cases:
            if at.stop.is_set():
                break
            orders.append(await _ordered(at, case, screen))
    except errors.GatewayError:
        job_ids = [job_id for order in orders if isinstance(order, ordering.Order) for job_id in order.job_ids]
        await placing.cancel_all(at.gateway, job_ids, at.tell)
        raise
    return orders


async def _ordered(at: placing.Desk, case: Case, screen: output.Screen) -> ordering.Order | str:
    if case.broken is not None:
        return case.broken
    try:
        template = await at.gateway.template(case.template)
        if case.version is not None and template.raw.get("version") != case.version:
            screen.note(f"The gateway's {case.template} is not the one in {case.path.parent}.", style="yellow")
        given = _with_files(case, examples.inputs_of(case.example, template.parameters), template)
        given = await inputs.Uploader(gateway=at.gateway).uploaded(given)
        job = await at.one(lambda about, key: at.gateway.order_template(case.template, given, about, key=key), {})
    except (failures.Refused, failures.Wrong) as error:
        return " ".join([error.message, *(f"{fault.parameter or ''}: {fault.message}" for fault in error.faults)])
    return ordering.Order(name=case.label, told_by=None, job_ids=() if job is None else (job.id,), alone=True)


def _with_files(case: Case, given: dict[str, Any], template: shapes.Template) -> dict[str, Any]:
    """The inputs with files to upload where they are names of files beside the template."""
    found = dict(given)
    for parameter in template.parameters:
        value = given.get(parameter.name)
        if parameter.type in templates.FILE_TYPES and isinstance(value, str):
            try:
                found[parameter.name] = inputs.file_value(value, case.path.parent)
            except values.Refused as refused:
                raise failures.Wrong(f"{parameter.name}: {refused.message}") from None
    return found


# Judging.


def _judged(wish: Wish, case: Case, result: ordering.Result | str) -> golden_files.Verdict:
    if isinstance(result, str):
        return golden_files.Verdict(label=case.label, status="failed", message=result)
    if not result.job.succeeded:
        reason = result.job.complaint or result.job.status
        return golden_files.Verdict(label=case.label, status="failed", message=reason, job=result.job.id)
    pictures = [
        path
        for path, made in zip(result.saved, result.job.outputs, strict=True)
        if made.content_type.startswith("image/")
    ]
    stored = golden_files.Stored(path=case.path, example=case.example.name)
    try:
        if wish.update:
            return stored.kept(pictures, case.label, result.job.id)
        asked = wish.tolerance if wish.tolerance is not None else case.example.tolerance
        return stored.compared(pictures, case.label, result.job.id, tolerance=asked, out=wish.out)
    except errors.InvalidRequest as error:
        return golden_files.Verdict(label=case.label, status="failed", message=error.message, job=result.job.id)


def _report(screen: output.Screen, results: Sequence[golden_files.Verdict]) -> None:
    if screen.as_json:
        screen.json({"examples": [result.as_dict() for result in results]})
        return
    table = output.table(
        "example", "result", "distance", "tolerance", "", right=["distance", "tolerance"], keep=["result"]
    )
    for result in results:
        far = "" if result.distance is None else f"{result.distance:.1f}"
        most = "" if result.tolerance is None else f"{result.tolerance:g}"
        style = "" if result.good else "red"
        cells = (result.label, result.status, far, most, result.message or "")
        table.add_row(*(output.plain(cell, style=style) for cell in cells))
    screen.out.print(table)
    for result in results:
        for path in result.drawn:
            screen.out.print(output.plain(f"{result.label}: expected | made | difference: {path}"))
    if any(result.status == "not stored" for result in results):
        screen.note("Look at what they make, and store it with: comfy-gateway templates test NAME --update")
