"""What `comfy-gateway bench` orders: jobs of one kind or of several, no two of them alike."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.cli import batching, bench, client, failures, inputs, manifest, ordering, shapes
from gateway.domain.comfy import graph as graphs
from gateway.domain.templates import building
from gateway.domain.templates import model as templates

_VARIED: Mapping[str, str] = {bench.MODEL_FREE: "color"}  #: of shipped templates without a seed
_KEPT_SECONDS = 3600
_MOST = 1 << 48
_BUSY_SECONDS = 5.0  #: before ordering again when the gateway's queue is full

Order = Callable[[Mapping[str, Any]], Awaitable[shapes.Job]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for."""

    what: str
    words: tuple[str, ...] = ()
    file: Path | None = None
    vary: str | None = None
    priority: int = 0

    @property
    def about(self) -> Mapping[str, Any]:
        """What stands beside the inputs of each order."""
        return {"priority": self.priority, "expires_in": _KEPT_SECONDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A parameter that is another number in each job."""

    name: str
    first: int
    least: int
    span: int

    @classmethod
    def of(cls, parameter: templates.Parameter, given: Any = None) -> Count:
        """From the given value on, or from a random one; beyond the largest comes the least."""
        least = int(parameter.minimum or 0)
        span = (_MOST if parameter.maximum is None else int(parameter.maximum)) - least + 1
        if given is None or given == -1:
            given = least + secrets.randbelow(min(span, _MOST))
        return cls(name=parameter.name, first=int(given), least=least, span=span)

    def at(self, number: int) -> int:
        """Its value in the job of this number, from 0."""
        return self.least + (self.first - self.least + number) % self.span


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Jobs that differ in one number."""

    order: Order
    inputs: Mapping[str, Any]
    count: Count | None

    async def ordered(self, number: int) -> shapes.Job:
        """Order the job of this number. A full queue is waited for."""
        more = {} if self.count is None else {self.count.name: self.count.at(number)}
        while True:
            try:
                return await self.order({**self.inputs, **more})
            except failures.Refused as refused:
                if refused.http_status != 429:
                    raise
                await asyncio.sleep(refused.retry_after or _BUSY_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Kinds of jobs, in turn."""

    name: str
    kinds: Sequence[Kind]

    @property
    def differ(self) -> bool:
        """Whether no two jobs of a kind are alike."""
        return all(kind.count is not None for kind in self.kinds)

    async def ordered(self, number: int) -> shapes.Job:
        """Order the job of this number."""
        return await self.kinds[number % len(self.kinds)].ordered(number)


async def prepared(gateway: client.Gateway, wish: Wish) -> Workload:
    """What is wished for, checked, with its files uploaded; nothing is ordered yet."""
    if ordering.is_workflow(wish.what):
        return await _of_workflow(gateway, wish)
    uploader = inputs.Uploader(gateway=gateway)
    if wish.file is None:
        template = await ordering.known_template(gateway, wish.what)
        given = await uploader.uploaded(inputs.from_words(wish.words, template.parameters))
        return Workload(name=template.name, kinds=[_kind(gateway, wish, template, given)])
    if wish.words:
        raise failures.Wrong("values stand in the file of --inputs, or on the command line, not in both")
    lines = await asyncio.to_thread(manifest.read, wish.file, wish.what)
    known = {name: await ordering.known_template(gateway, name) for name in {line.template for line in lines}}
    kinds = [
        _kind(gateway, wish, known[each.line.template], await uploader.uploaded(each.inputs))
        for each in batching.typed_lines(lines, known, wish.file)
    ]
    return Workload(name=", ".join(sorted(known)), kinds=kinds)


def _kind(gateway: client.Gateway, wish: Wish, template: shapes.Template, given: Mapping[str, Any]) -> Kind:
    async def order(values: Mapping[str, Any]) -> shapes.Job:
        return await gateway.order_template(template.name, values, wish.about)

    name = wish.vary or template.seed or _VARIED.get(template.name)
    return Kind(order=order, inputs=given, count=_count(template.parameters, name, given))


def _count(parameters: Sequence[templates.Parameter], name: str | None, given: Mapping[str, Any]) -> Count | None:
    if name is None:
        return None
    known = {parameter.name: parameter for parameter in parameters}
    if name not in known:
        raise inputs.refusal([inputs.unknown(name, known)])
    if known[name].type not in {templates.ParameterType.SEED, templates.ParameterType.INTEGER}:
        raise failures.Wrong(f"--vary: {name} is no whole number")
    return Count.of(known[name], given.get(name))


async def _of_workflow(gateway: client.Gateway, wish: Wish) -> Workload:
    """A graph as it is, with its parameters found in it as in a template without a sidecar."""
    if wish.file is not None:
        raise failures.Wrong("--inputs goes with a template, not with a workflow's file")
    name = "workflow" if wish.what == "-" else Path(wish.what).stem
    template = building.build(name, graphs.parse_graph(ordering.read_workflow(wish.what)))
    parameters = template.parameters
    given = inputs.from_words(wish.words, parameters)
    ordering.check(parameters, given)
    given = await inputs.Uploader(gateway=gateway).uploaded(given)

    async def order(values: Mapping[str, Any]) -> shapes.Job:
        return await gateway.order_workflow(ordering.patched(template.graph, parameters, values), wish.about)

    count = _count(parameters, wish.vary or shapes.seed_of(parameters), given)
    return Workload(name=name, kinds=[Kind(order=order, inputs=given, count=count)])
