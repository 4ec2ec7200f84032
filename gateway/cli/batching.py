"""What `comfy-gateway batch` does: each line ordered once, followed, saved, written down."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from gateway.cli import (
    client,
    failures,
    files,
    following,
    inputs,
    journal,
    manifest,
    ordering,
    output,
    placing,
    shapes,
    tallying,
)
from gateway.domain import errors, model
from gateway.domain.templates import model as templates
from gateway.domain.templates import values


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for."""

    file: Path
    template: str | None
    out: Path
    in_flight: int
    priority: int = model.BATCH_PRIORITY  #: of lines that say none


async def fulfil(wish: Wish, url: str, api_key: str | None, screen: output.Screen) -> int:
    """Order what is left of the file, save what comes. Returns the exit status."""
    lines = await asyncio.to_thread(manifest.read, wish.file, wish.template)
    files.usable_folder(wish.out)
    state = wish.out / f"{wish.file.name}.state.jsonl"
    async with client.connect(url, api_key) as gateway:
        known = {name: await ordering.known_template(gateway, name) for name in {line.template for line in lines}}
        prepared = typed_lines(lines, known, wish.file)
        with journal.opened(state) as kept:
            work = _Batch(wish=wish, gateway=gateway, templates=known, kept=kept, screen=screen, lines=prepared)
            try:
                async with tallying.shown(work.tally, screen.err):
                    await work.all()
            except asyncio.CancelledError:
                screen.note("Interrupted. What was ordered goes on; run the same command to continue.", style="yellow")
                raise
            finally:
                work.finish()
    return failures.FAILED if work.tally.failed else failures.DONE


@dataclass(frozen=True, slots=True)
class Prepared:
    """A line whose values have their types, files as `inputs.Upload`."""

    line: manifest.Line
    inputs: Mapping[str, Any]
    told: Mapping[str, Any]  #: the same as JSON, files with their whole paths

    def as_line(self) -> dict[str, Any]:
        """The line in its long form, for a file that may lie anywhere."""
        return {**self.line.as_dict(), "inputs": dict(self.told)}


def typed_lines(lines: Sequence[manifest.Line], known: Mapping[str, shapes.Template], file: Path) -> list[Prepared]:
    """Every line with typed values; Wrong with names that are no parameters and files that are not there."""
    faults: list[errors.Fault] = []
    prepared: list[Prepared] = []
    for line in lines:
        parameters = {parameter.name: parameter for parameter in known[line.template].parameters}
        found: dict[str, Any] = {}
        told: dict[str, Any] = {}
        for name, value in line.inputs.items():
            parameter = parameters.get(name)
            if parameter is None:
                faults.append(_at(line, inputs.unknown(name, parameters)))
                continue
            try:
                found[name] = _value(parameter, value, line, file.parent)
                told[name] = _told(parameter, value, found[name])
            except values.Refused as refused:
                faults.append(_at(line, values.fault(parameter, refused.reason, refused.message)))
        prepared.append(Prepared(line, found, told))
    if faults:
        count = "one value is" if len(faults) == 1 else f"{len(faults)} values are"
        raise failures.Wrong(f"{count} wrong in {file}, nothing was ordered", faults=faults[:50], counted="line")
    return prepared


def _at(line: manifest.Line, fault: errors.Fault) -> errors.Fault:
    return dataclasses.replace(fault, index=line.number)


def _value(parameter: templates.Parameter, value: Any, line: manifest.Line, folder: Path) -> Any:
    if values.is_file(parameter) and isinstance(value, str):
        return inputs.file_value(value, folder)
    typed = values.from_text(parameter, value) if line.texts else value
    inputs.check(parameter, typed)
    return typed


def _told(parameter: templates.Parameter, value: Any, typed: Any) -> Any:
    """What means the same in any folder."""
    if isinstance(typed, inputs.Upload):
        return str(typed.path.absolute())
    return value if values.is_file(parameter) else typed


@dataclass(slots=True, kw_only=True)
class _Batch:
    wish: Wish
    gateway: client.Gateway
    templates: Mapping[str, shapes.Template]
    kept: journal.Journal
    screen: output.Screen
    lines: Sequence[Prepared]
    tally: tallying.Tally = field(init=False)
    uploader: inputs.Uploader = field(init=False)
    desk: placing.Desk = field(init=False)

    def __post_init__(self) -> None:
        self.tally = tallying.Tally(total=len(self.lines))
        self.uploader = inputs.Uploader(gateway=self.gateway)
        self.desk = placing.Desk(gateway=self.gateway, mark=journal.MARK, tell=self.screen.note)

    async def all(self) -> None:
        """Every line that is not done; so many at once as are wished for."""
        waiting = [each for each in self.lines if not self._is(each.line, "done")]
        self.tally.before = len(self.lines) - len(waiting)
        rest = iter(waiting)
        await ordering.together([self._some(rest) for _ in range(min(self.wish.in_flight, len(waiting)))])

    def _is(self, line: manifest.Line, state: str) -> bool:
        entry = self.kept.of(line.key)
        return entry is not None and entry.state == state

    async def _some(self, rest: Iterator[Prepared]) -> None:
        for each in rest:
            self.tally.flying += 1
            try:
                await self._one(each)
            finally:
                self.tally.flying -= 1

    async def _one(self, each: Prepared) -> None:
        """One line to its end."""
        try:
            job, number = await self._job(each)
            saved = await self._saved(each.line, job)
        except failures.Refused as refused:
            if refused.http_status >= 500 or refused.http_status in {401, 403}:
                raise
            self._failed(each.line, reason=refused.message, faults=[fault.as_dict() for fault in refused.faults])
            return
        self.tally.simulated = self.tally.simulated or job.simulated
        if not job.succeeded:
            self._failed(each.line, job=job, reason=job.complaint or job.status)
            return
        self.kept.write(each.line.key, "done", number=number, job=job.id, files=[str(path) for path in saved])
        self.tally.done += 1
        self.tally.images += len(saved)
        self._told(each.line, job=job, saved=saved)

    async def _saved(self, line: manifest.Line, job: shapes.Job) -> list[Path]:
        told_by = self.templates[line.template].seed
        name = files.stem(line.template, job, job.inputs.get(told_by) if told_by else None)
        return await files.save(self.gateway, job, self.wish.out, name) if job.succeeded else []

    def _failed(self, line: manifest.Line, *, reason: str, job: shapes.Job | None = None, **more: Any) -> None:
        entry = self.kept.of(line.key)
        number = entry.number if entry else 1
        self.kept.write(line.key, "failed", number=number, job=job and job.id, reason=reason, **more)
        self.tally.failed += 1
        self._told(line, job=job, reason=reason, **more)

    def _told(self, line: manifest.Line, *, job: shapes.Job | None, saved: Sequence[Path] = (), **more: Any) -> None:
        if self.screen.as_json:
            record = {"line": line.number, "status": job.status if job else "refused", "job": job and job.id}
            self.screen.json({**record, "files": [str(path) for path in saved], **more}, lines=True)
        elif more:
            self.screen.note(f"line {line.number}: {more['reason']}", style="red")

    # Ordering, once.

    async def _job(self, each: Prepared) -> tuple[shapes.Job, int]:
        """The line's job at its end, and the number of the try: one that was ordered before, or a new one."""
        entry = self.kept.of(each.line.key)
        number = 1 if entry is None else entry.number + 1 if entry.state == "failed" else entry.number
        if entry is not None and entry.state != "failed":
            found = entry.job or await self._found(self.kept.order_key(each.line.key, number))
            job = await self._followed(found) if found else None
            if job is not None:
                return job, number
            number += found is not None  # the gateway has forgotten it: this is a new try
        job_id = await self._ordered(each, number)
        self.kept.write(each.line.key, "ordered", number=number, job=job_id)
        job = await self._followed(job_id)
        if job is None:
            raise failures.CommandFailed(f"the gateway knows nothing of its job {job_id} any more")
        return job, number

    async def _followed(self, job_id: str) -> shapes.Job | None:
        """The job at its end; None when the gateway has none of this id."""
        try:
            return await following.follow(self.gateway, job_id, lambda _name, _data: None)
        except failures.Refused as refused:
            if refused.http_status != 404:
                raise
            return None

    async def _ordered(self, each: Prepared, number: int) -> str:
        """Order a line. An answer that is lost is no reason to order twice."""
        given = await self.uploader.uploaded(each.inputs)
        key = self.kept.order_key(each.line.key, number)
        priority = self.wish.priority if each.line.priority is None else each.line.priority
        about = {"priority": priority, "metadata": self.desk.marked(each.line.metadata, key)}
        self.kept.write(each.line.key, "ordering", number=number)
        job = await self.desk.placed(
            lambda: self.gateway.order_template(each.line.template, given, about, key=key), lambda: self.desk.job(key)
        )
        if job is None:
            raise RuntimeError("nobody stops a batch's orders")
        return job.id

    async def _found(self, key: str) -> str | None:
        job = await self.desk.job(key)
        return None if job is None else job.id

    def finish(self) -> None:
        """The failures' file and the summary."""
        file = self.wish.out / f"{self.wish.file.name}.failed.jsonl"
        failed = [each.as_line() for each in self.lines if self._is(each.line, "failed")]
        if failed:
            files.replace(file, b"".join(orjson.dumps(line) + b"\n" for line in failed))
        else:
            file.unlink(missing_ok=True)
        if self.screen.as_json:
            self.screen.json({"summary": self.tally.as_dict()}, lines=True)
            return
        self.screen.out.print(output.plain(tallying.summary(self.tally, self.wish.out)))
        if failed:
            self.screen.note(f"The lines that failed are in {file}; running this again tries them again.", style="")
        if self.tally.simulated:
            self.screen.note(ordering.SIMULATED, style="yellow")
