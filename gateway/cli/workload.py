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
_KEPT_SECONDS = 24 * 3600  #: counted from the order, so that it is longer than a bench
_MOST = 1 << 48

#: Orders a job of these inputs, with what stands beside them, under this idempotency key.
Order = Callable[[Mapping[str, Any], Mapping[str, Any], str], Awaitable[shapes.Job]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for."""

    what: str
    words: tuple[str, ...] = ()
    file: Path | None = None
    vary: str | None = None
    priority: int = 0

    def about(self, line: manifest.Line | None = None) -> Mapping[str, Any]:
        """What stands beside the inputs of each order; a line's own priority goes before that of all."""
        priority = self.priority if line is None or line.priority is None else line.priority
        metadata = {} if line is None else dict(line.metadata)
        return {"priority": priority, "expires_in": _KEPT_SECONDS, "metadata": metadata}


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A parameter that is another number in each job."""

    name: str
    first: int
    least: int
    span: int

    @classmethod
    def of(cls, parameter: templates.Parameter, given: Any = None, *, drawn: bool = False) -> Count:
        """From the given value on, else from the default or the least; beyond the largest comes the least.

        Seeds begin anywhere, so that no worker knows them from before; `drawn`: so does this one.
        """
        least = int(parameter.minimum or 0)
        span = (_MOST if parameter.maximum is None else int(parameter.maximum)) - least + 1
        seed = parameter.type is templates.ParameterType.SEED
        if given is None or (seed and given == -1):
            any_of_all = least + secrets.randbelow(min(span, _MOST))
            given = any_of_all if seed or drawn else least if parameter.default is None else parameter.default
        return cls(name=parameter.name, first=int(given), least=least, span=span)

    def at(self, number: int) -> int:
        """Its value in the job of this number, from 0."""
        return self.least + (self.first - self.least + number) % self.span


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Jobs that differ in one number."""

    order: Order
    inputs: Mapping[str, Any]
    about: Mapping[str, Any]
    count: Count | None

    async def ordered(self, number: int, key: str, metadata: Mapping[str, str]) -> shapes.Job:
        """Order the job of this number, under this idempotency key and with this metadata besides its own."""
        more = {} if self.count is None else {self.count.name: self.count.at(number)}
        about = {**self.about, "metadata": {**self.about["metadata"], **metadata}}
        return await self.order({**self.inputs, **more}, about, key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Kinds of jobs, in turn."""

    name: str
    kinds: Sequence[Kind]

    @property
    def differ(self) -> bool:
        """Whether no two jobs of a kind are alike."""
        return all(kind.count is not None for kind in self.kinds)

    async def ordered(self, number: int, key: str, metadata: Mapping[str, str]) -> shapes.Job:
        """Order the job of this number, under this idempotency key and with this metadata besides its own."""
        return await self.kinds[number % len(self.kinds)].ordered(number, key, metadata)


async def prepared(gateway: client.Gateway, wish: Wish) -> Workload:
    """What is wished for, checked, with its files uploaded; nothing is ordered yet."""
    if ordering.is_workflow(wish.what):
        return await _of_workflow(gateway, wish)
    uploader = inputs.Uploader(gateway=gateway)
    if wish.file is None:
        template = await ordering.known_template(gateway, wish.what)
        given = await uploader.uploaded(await inputs.given(wish.words, template.parameters))
        return Workload(name=template.name, kinds=[_kind(gateway, template, given, wish.vary, wish.about())])
    if wish.words:
        raise failures.Wrong("values stand in the file of --inputs, or on the command line, not in both")
    lines = await asyncio.to_thread(manifest.read, wish.file, wish.what)
    known = {name: await ordering.known_template(gateway, name) for name in {line.template for line in lines}}
    kinds: list[Kind] = []
    for each in batching.typed_lines(lines, known, wish.file):
        given, about = await uploader.uploaded(each.inputs), wish.about(each.line)
        kinds.append(_kind(gateway, known[each.line.template], given, wish.vary, about))
    return Workload(name=", ".join(sorted(known)), kinds=kinds)


def _kind(
    gateway: client.Gateway,
    template: shapes.Template,
    given: Mapping[str, Any],
    vary: str | None,
    about: Mapping[str, Any],
) -> Kind:
    async def order(values: Mapping[str, Any], about: Mapping[str, Any], key: str) -> shapes.Job:
        return await gateway.order_template(template.name, values, about, key=key)

    as_shipped = _VARIED.get(template.name)
    name = vary or template.seed or as_shipped
    count = _count(template.parameters, name, given, drawn=name == as_shipped)
    return Kind(order=order, inputs=given, about=about, count=count)


def _count(
    parameters: Sequence[templates.Parameter], name: str | None, given: Mapping[str, Any], *, drawn: bool = False
) -> Count | None:
    if name is None:
        return None
    known = {parameter.name: parameter for parameter in parameters}
    if name not in known:
        raise inputs.refusal([inputs.unknown(name, known)])
    if known[name].type not in {templates.ParameterType.SEED, templates.ParameterType.INTEGER}:
        raise failures.Wrong(f"--vary: {name} is no whole number")
    ordering.check([known[name]], given)
    return Count.of(known[name], given.get(name), drawn=drawn)


async def _of_workflow(gateway: client.Gateway, wish: Wish) -> Workload:
    """A graph as it is, with its parameters found in it as in a template without a sidecar."""
    if wish.file is not None:
        raise failures.Wrong("--inputs goes with a template, not with a workflow's file")
    name = "workflow" if wish.what == "-" else Path(wish.what).stem
    template = building.build(name, graphs.parse_graph(await ordering.read_graph(gateway, wish.what)))
    parameters = template.parameters
    given = await inputs.given(wish.words, parameters, taken=wish.what == "-")
    ordering.check(parameters, given)
    given = await inputs.Uploader(gateway=gateway).uploaded(given)

    async def order(values: Mapping[str, Any], about: Mapping[str, Any], key: str) -> shapes.Job:
        return await gateway.order_workflow(ordering.patched(template.graph, parameters, values), about, key=key)

    count = _count(parameters, wish.vary or shapes.seed_of(parameters), given)
    return Workload(name=name, kinds=[Kind(order=order, inputs=given, about=wish.about(), count=count)])
