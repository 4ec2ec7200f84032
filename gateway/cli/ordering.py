"""What `comfy-gateway run` does: order, follow, save, report."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from gateway.cli import (
    board,
    client,
    failures,
    files,
    following,
    inputs,
    interrupts,
    node_classes,
    output,
    placing,
    shapes,
)
from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.embedded import reading
from gateway.domain.templates import building, values
from gateway.domain.templates import model as templates

if TYPE_CHECKING:
    from rich.console import RenderableType

_STREAMS = 48  #: jobs that are followed at once; the others wait their turn in the queue anyway
_SEED_BITS = 48
_MARK = "run_order"  #: the metadata key under which a job knows its order
SIMULATED = "Simulated: a simulator ran this, no model was at work."

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for."""

    what: str
    words: tuple[str, ...] = ()
    n: int = 1
    out: Path = Path("out")
    priority: int = 0
    deadline: float | None = None
    metadata: tuple[str, ...] = ()
    wait: bool = True
    timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Jobs that were ordered together."""

    name: str
    told_by: str | None  #: the parameter that tells them apart: the seed
    job_ids: tuple[str, ...]
    seeds: Mapping[str, int] = field(default_factory=dict[str, int])  #: by job, where the job itself does not tell
    alone: bool = False  #: no other job has this name

    def label(self, job: shapes.Job) -> str:
        """What to call a job on the screen."""
        if self.alone:
            return self.name
        value = self._value(job)
        return f"{self.name} {shapes.short(job.id)}" if value is None else f"{self.name} {self.told_by} {value}"

    def stem(self, job: shapes.Job) -> str:
        """What its files' names begin with."""
        return self.name if self.alone else files.stem(self.name, job, self._value(job))

    def _value(self, job: shapes.Job) -> Any:
        return self.seeds.get(job.id, job.inputs.get(self.told_by) if self.told_by else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A job that ended, with its files."""

    job: shapes.Job
    label: str
    saved: tuple[Path, ...]

    def as_dict(self) -> dict[str, Any]:
        """The job as the gateway tells it, and where its files are."""
        return {**self.job.raw, "files": [str(path) for path in self.saved]}


async def fulfil(wish: Wish, url: str, api_key: str | None, screen: output.Screen) -> int:
    """Order, and unless told otherwise wait and save. Returns the exit status."""
    async with client.connect(url, api_key) as gateway, interrupts.watched() as stop:
        order = await place(desk(gateway, stop, screen), wish, stop)
        if not wish.wait:
            return await _left(gateway, order, stop, screen)
        await _warn_without_workers(gateway, screen)
        async with board.shown(screen.err) as lines:
            results = await watch(gateway, [order], lines, stop, Saving(folder=wish.out), timeout=wish.timeout)
        report(screen, results)
    if stop.asked.is_set():
        return failures.INTERRUPTED
    return failures.DONE if all(result.job.succeeded for result in results) else failures.FAILED


def desk(gateway: client.Gateway, stop: interrupts.Interrupts, screen: output.Screen) -> placing.Desk:
    """Where people order: Ctrl-C ends it, and a full queue is an answer."""
    return placing.Desk(gateway=gateway, mark=_MARK, tell=screen.note, stop=stop.asked, waits=False)


async def place(at: placing.Desk, wish: Wish, stop: interrupts.Interrupts) -> Order:
    """Order what is wished for: a template by its name, a workflow by its file.

    From the first order on Ctrl-C is gentle, so that no job is left that nobody knows of. The order then has the jobs
    that came before it.
    """
    if wish.wait:
        files.usable_folder(wish.out)
    about: dict[str, Any] = {"priority": wish.priority}
    if wish.deadline is not None:
        about["deadline_ms"] = max(1, round(wish.deadline * 1000))
    if wish.metadata:
        about["metadata"] = pairs(wish.metadata, "--metadata")
    if is_workflow(wish.what):
        return await _workflow(at, wish, about, stop)
    return await _template(at, wish, about, stop)


def is_workflow(what: str) -> bool:
    """Whether this names a workflow, or a picture, film or sound that carries one, and no template."""
    suffix = Path(what).suffix.lower()
    return what == "-" or suffix == ".json" or (suffix in reading.MEDIA_SUFFIXES and _is_file(what))


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # too long for one
        return False


def pairs(words: Sequence[str], flag: str) -> dict[str, str]:
    """`key=value` words as a mapping."""
    found = dict(word.split("=", 1) for word in words if "=" in word)
    if len(found) != len(words):
        raise failures.Wrong(f"{flag} takes key=value, each key once")
    return found


async def _template(at: placing.Desk, wish: Wish, about: Mapping[str, Any], stop: interrupts.Interrupts) -> Order:
    template = await known_template(at.gateway, wish.what)
    given = await inputs.Uploader(gateway=at.gateway).uploaded(await inputs.given(wish.words, template.parameters))
    stop.gentle = True
    if wish.n == 1:
        job = await at.one(lambda about, key: at.gateway.order_template(wish.what, given, about, key=key), about)
        job_ids: Sequence[str] = () if job is None else (job.id,)
    else:
        job_ids = await at.copies(
            lambda about, key: at.gateway.order_copies(wish.what, given, about, n=wish.n, key=key), about, wish.n
        )
    return Order(name=template.name, told_by=template.seed, job_ids=tuple(job_ids))


async def known_template(gateway: client.Gateway, name: str) -> shapes.Template:
    """The template of this name; Wrong with near misses."""
    try:
        return await gateway.template(name)
    except failures.Refused as refused:
        if refused.http_status == 404:
            way_out = "`comfy-gateway templates list` shows them; a workflow's file ends with .json, .png …"
            raise failures.Wrong(f"{name}: {refused.message}", way_out=way_out) from None
        raise


async def _workflow(at: placing.Desk, wish: Wish, about: Mapping[str, Any], stop: interrupts.Interrupts) -> Order:
    """A graph as it is; with values or `-n`, its parameters are found in it as in a template without a sidecar."""
    name = "workflow" if wish.what == "-" else Path(wish.what).stem
    workflow = await read_graph(at.gateway, wish.what)
    if not wish.words and wish.n == 1:
        stop.gentle = True
        return Order(name=name, told_by=None, job_ids=tuple(await _graphs(at, [workflow], about)))
    template = building.build(name, graphs.parse_graph(workflow))
    graph, parameters = template.graph, template.parameters
    given = await inputs.given(wish.words, parameters, taken=wish.what == "-")
    check(parameters, given)
    seed = shapes.seed_of(parameters)
    if seed is None and wish.n > 1:
        raise failures.Wrong("this workflow has no seed to tell the jobs apart", way_out="order it without -n")
    drawn = given.get(seed or "", -1) == -1
    first = secrets.randbits(_SEED_BITS) if drawn else int(given[seed or ""])
    if seed and not drawn:
        check(parameters, {**given, seed: first + wish.n - 1})
    given = await inputs.Uploader(gateway=at.gateway).uploaded(given)
    counted = [
        {**given, **({seed: first + number} if seed and (wish.n > 1 or seed in given) else {})}
        for number in range(wish.n)
    ]
    stop.gentle = True
    job_ids = await _graphs(at, (patched(graph, parameters, each) for each in counted), about)
    seeds = {job_id: each[seed] for job_id, each in zip(job_ids, counted, strict=False) if seed in each}
    return Order(name=name, told_by=seed, job_ids=tuple(job_ids), seeds=seeds)


async def _graphs(at: placing.Desk, wanted: Iterable[Any], about: Mapping[str, Any]) -> list[str]:
    """Order these graphs; all, or none when something goes wrong. Fewer when Ctrl-C is pressed."""
    job_ids: list[str] = []
    try:
        for graph in wanted:
            job = await at.one(functools.partial(at.gateway.order_workflow, graph), about)
            if job is None:
                break
            job_ids.append(job.id)
    except errors.GatewayError:
        await placing.cancel_all(at.gateway, job_ids, at.tell)
        raise
    return job_ids


async def read_graph(gateway: client.Gateway, what: str) -> Any:
    """What the file holds, as a graph: what the editor saved is converted by what the gateway's workers have."""
    workflow = await read_workflow(what)
    if not isinstance(workflow, dict) or not graphs.is_ui_format(cast("dict[str, Any]", workflow)):
        return workflow
    try:
        classes = await node_classes.of_gateway(gateway)
    except failures.Unreachable as lost:
        message = f"{what} is in the format of ComfyUI's editor, and {lost.message}"
        way_out = "see `comfy-gateway workers`, or export the workflow in ComfyUI with *Export (API)*"
        raise failures.Wrong(message, way_out=way_out) from None
    return (await asyncio.to_thread(node_classes.graph_of, workflow, classes)).graph


async def read_workflow(what: str) -> Any:
    """The workflow in a workflow's file, or in what comes from stdin."""
    try:
        data = await inputs.stdin() if what == "-" else await asyncio.to_thread(Path(what).read_bytes)
    except OSError as error:
        raise failures.Wrong(f"the workflow {what} cannot be read: {error.strerror}") from None
    try:
        return reading.read_workflow(data, source=what)
    except errors.InvalidRequest as error:
        raise failures.Wrong(error.message) from None


def check(parameters: Sequence[templates.Parameter], given: Mapping[str, Any]) -> None:
    """Refuse values that these parameters do not take, all at once."""
    faults: list[errors.Fault] = []
    for parameter in parameters:
        try:
            inputs.check(parameter, given.get(parameter.name))
        except values.Refused as refused:
            faults.append(values.fault(parameter, refused.reason, refused.message))
    if faults:
        raise inputs.refusal(faults)


def patched(graph: graphs.Graph, parameters: Sequence[templates.Parameter], given: Mapping[str, Any]) -> graphs.Graph:
    """The graph with these values in their places."""
    places = {
        (target.node, target.input): given[parameter.name]
        for parameter in parameters
        if parameter.name in given
        for target in parameter.targets
    }
    return graphs.replace_inputs(graph, places)


async def _warn_without_workers(gateway: client.Gateway, screen: output.Screen) -> None:
    with contextlib.suppress(failures.Refused):
        if not await gateway.workers():
            screen.note(
                "The gateway has no worker yet, so this waits. Add one: comfy-gateway workers add http://127.0.0.1:8188",
                style="yellow",
            )


# Following and saving.


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """Where files go. `replace`: a file of the same name gives way."""

    folder: Path
    replace: bool = False


@dataclass(slots=True, kw_only=True)
class _Watch:
    gateway: client.Gateway
    lines: board.Board
    saving: Saving
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_STREAMS))

    async def one(self, order: Order, job_id: str) -> Result:
        """Follow one job, save what it made."""

        def tell(name: str, data: Mapping[str, Any]) -> None:
            if name == "job":
                self.lines.rename(job_id, order.label(shapes.Job.of(data)))
            self.lines.tell(job_id, name, data)

        async with self.turns:
            job = await following.follow(self.gateway, job_id, tell)
            saved = await files.save(
                self.gateway, job, self.saving.folder, order.stem(job), replace=self.saving.replace
            )
        return Result(job=job, label=order.label(job), saved=tuple(saved))

    async def cancel_all(self, stop: interrupts.Interrupts, job_ids: Sequence[str]) -> None:
        """Once Ctrl-C is pressed, ask for the end of every job."""
        await stop.asked.wait()
        self.lines.say("Canceling; press Ctrl-C again to leave at once.")
        await placing.cancel_all(self.gateway, job_ids, self.lines.say)


async def watch(
    gateway: client.Gateway,
    orders: Sequence[Order],
    lines: board.Board,
    stop: interrupts.Interrupts,
    saving: Saving,
    *,
    timeout: float | None = None,
) -> list[Result]:
    """Follow all jobs of these orders to their ends; the results are in the order of the jobs."""
    follower = _Watch(gateway=gateway, lines=lines, saving=saving)
    job_ids = [job_id for order in orders for job_id in order.job_ids]
    for order in orders:
        for job_id in order.job_ids:
            lines.add(job_id, order.name if order.alone else f"{order.name} {shapes.short(job_id)}")
    canceling = asyncio.create_task(follower.cancel_all(stop, job_ids))
    try:
        async with asyncio.timeout(timeout):
            return await together([follower.one(order, job_id) for order in orders for job_id in order.job_ids])
    except TimeoutError:
        raise failures.CommandFailed(
            f"not done within {timeout:g} seconds; the jobs go on",
            way_out=f"follow them with: comfy-gateway jobs watch {' '.join(job_ids[:8])}",
            details={"job_ids": job_ids},
        ) from None
    finally:
        canceling.cancel()


async def together(tasks: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all at once; the first error ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(task) for task in tasks]
    except BaseExceptionGroup as failed:
        raise _first(failed) from None
    return [task.result() for task in running]


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


# Reports.


def report(screen: output.Screen, results: Sequence[Result]) -> None:
    """A table of what was made, and why what failed did."""
    if screen.as_json:
        screen.json({"jobs": [result.as_dict() for result in results]})
        return
    screen.out.print(result_table(results))
    for result in results:
        if result.job.status in {"failed", "expired"}:
            why = f": {result.job.complaint}" if result.job.complaint else ""
            screen.err.print(output.plain(f"{result.label} {result.job.status}{why}", style="red"))
            screen.err.print(output.plain(f"  comfy-gateway jobs show {result.job.id}", style="dim"))
    if any(result.job.simulated for result in results):
        screen.note(SIMULATED, style="yellow")


def result_table(results: Sequence[Result]) -> RenderableType:
    """Job, worker, seconds, files."""
    table = output.table("job", "worker", "seconds", "file", right=["seconds"], keep=["worker", "seconds"])
    for result in results:
        seconds = "" if result.job.seconds is None else f"{result.job.seconds:.1f}"
        saved = "\n".join(str(path) for path in result.saved) or f"({result.job.status})"
        table.add_row(*(output.plain(cell) for cell in (result.label, result.job.worker or "", seconds, saved)))
    return table


async def _left(gateway: client.Gateway, order: Order, stop: interrupts.Interrupts, screen: output.Screen) -> int:
    """The end where nobody waits: the jobs' ids, or, after Ctrl-C, no jobs."""
    if stop.asked.is_set():
        await placing.cancel_all(gateway, order.job_ids, screen.note)
        return failures.INTERRUPTED
    _show_ids(screen, order)
    return failures.DONE


def _show_ids(screen: output.Screen, order: Order) -> None:
    if screen.as_json:
        screen.json({"jobs": [{"id": job_id} for job_id in order.job_ids]})
        return
    for job_id in order.job_ids:
        screen.out.print(job_id)
    screen.note(f"Follow with: comfy-gateway jobs watch {' '.join(order.job_ids[:3])}")
