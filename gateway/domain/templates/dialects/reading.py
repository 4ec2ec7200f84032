"""From what the dialects of a graph declare to parameters, outputs and the graph that a worker runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info
from gateway.domain.templates import inference, model, roles, values, walking
from gateway.domain.templates.dialects import comfy_deploy, comfy_pack, declared, primitives, swarm, titles
from gateway.domain.templates.model import FILE_TYPES, NUMBER_TYPES, ParameterType, Target

EXPLICIT: Final[tuple[declared.Dialect, ...]] = (
    titles.parameters, comfy_pack.parameters, comfy_deploy.parameters, swarm.parameters,
)  # fmt: skip
#: Nodes that only order other nodes' inputs on somebody's page.
ORNAMENTS: Final = frozenset({"SwarmInputGroup"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What the author wrote into a graph, and the graph without the nodes that only said it."""

    graph: graphs.Graph
    parameters: tuple[model.Parameter, ...]
    inferred: bool  #: nobody said anything: all is found by walking
    outputs: tuple[model.OutputSpec, ...] = ()
    description: str | None = None
    #: where the inputs of nodes that are gone went
    moved: Mapping[Target, tuple[Target, ...]] = field(default_factory=dict[Target, tuple[Target, ...]])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """One parameter, put together of all that declares it."""

    about: declared.Declared
    targets: tuple[Target, ...]


def read(
    graph: graphs.Graph,
    catalog: object_info.NodeCatalog | None = None,
    titled: Mapping[Target, str] | None = None,
) -> Spoken:
    """What this graph says of its parameters; `titled` names inputs that primitives of the editor fed.

    A dialect that was meant for callers (titles with `$`, input nodes) says all that they may set, but for seeds,
    which are found anyway, so that one order differs from the next. Titled primitives name what the walk finds, and
    add to it.
    """
    spoken = [list(_scalars(graph, dialect(graph))) for dialect in EXPLICIT]
    about = titles.description(graph)
    clean, moved = _without_carriers(graph, [each for dialect in spoken for each in dialect])
    clean = _without_ornaments(clean, about)
    moved = {place: tuple(target for target in to if _is_in(clean, target)) for place, to in moved.items()}
    said = _first_come(each for dialect in spoken for each in _joined(clean, dialect, moved))
    said.sort(key=lambda each: each.about.order)
    found = inference.findings(clean, catalog)
    if said:
        taken = {target for each in said for target in each.targets}
        rest = _rest([each for each in found if each.role == roles.SEED], taken)
    else:
        said = _primitives(clean, titled or {}, found)
        rest = _rest(found, {target for each in said for target in each.targets})
    return Spoken(
        graph=clean,
        parameters=_parameters(clean, catalog, said, found, rest),
        inferred=not said,
        outputs=_outputs(clean, catalog),
        description=about[1] if about is not None else None,
        moved=moved,
    )


def _scalars(graph: graphs.Graph, spoken: Iterable[declared.Declared]) -> Iterator[declared.Declared]:
    for each in spoken:
        value = graph[each.node]["inputs"].get(each.field)
        if isinstance(value, (str, int, float)) or (each.stand_in is not None and not graphs.is_link(value)):
            yield each


# The graph.


def _without_carriers(
    graph: graphs.Graph, spoken: Sequence[declared.Declared]
) -> tuple[graphs.Graph, dict[Target, tuple[Target, ...]]]:
    """The graph with the values of carriers where they were handed to, and stock nodes for those that have one."""
    carriers = {each.node: each for each in spoken if each.is_carrier}
    moved: dict[Target, tuple[Target, ...]] = {Target(each.node, each.field): () for each in carriers.values()}
    nodes: dict[str, dict[str, Any]] = {}
    for node_id, node in graph.items():
        if node_id in carriers:
            continue
        inputs = dict(node["inputs"])
        for name, value in node["inputs"].items():
            carrier = carriers.get(value[0]) if graphs.is_link(value) else None
            if carrier is not None:
                inputs[name] = graph[carrier.node]["inputs"][carrier.field]
                moved[Target(carrier.node, carrier.field)] += (Target(node_id, name),)
        nodes[node_id] = node if inputs == node["inputs"] else {**node, "inputs": inputs}
    for each in spoken:
        if each.stand_in is not None and each.node in nodes:
            nodes[each.node] = _stock(nodes[each.node], each, each.stand_in)
            moved[Target(each.node, each.field)] = (Target(each.node, each.stand_in.field),)
    return (graphs.Graph(nodes), moved) if nodes else (graph, {})


def _is_in(graph: graphs.Graph, target: Target) -> bool:
    """Whether the input is there: ornaments go, and a stock node lacks inputs of the node that it stands for."""
    return target.node in graph and target.input in graph[target.node]["inputs"]


def _without_ornaments(graph: graphs.Graph, about: tuple[str, str] | None) -> graphs.Graph:
    """The graph without the nodes that only the author's page needs, as far as nothing uses them."""
    used = {source for node in graph.values() for source in _sources(node)}
    kept = {
        node_id: node
        for node_id, node in graph.items()
        if node_id in used or (node["class_type"] not in ORNAMENTS and (about is None or node_id != about[0]))
    }
    return graphs.Graph(kept) if kept else graph


def _stock(node: dict[str, Any], each: declared.Declared, stock: declared.StandIn) -> dict[str, Any]:
    value = stock.inputs.get(stock.field, node["inputs"].get(each.field))
    return {**node, "class_type": stock.class_type, "inputs": {**stock.inputs, stock.field: value}}


def _sources(node: Mapping[str, Any]) -> Iterator[str]:
    yield from (value[0] for value in node["inputs"].values() if graphs.is_link(value))


# What is said.


def _joined(
    graph: graphs.Graph, spoken: Sequence[declared.Declared], moved: Mapping[Target, tuple[Target, ...]]
) -> list[_Said]:
    """One for each name; what nothing uses is left out."""
    said: dict[str, _Said] = {}
    for each in spoken:
        target = Target(each.node, each.field)
        targets = moved.get(target, (target,) if _is_in(graph, target) else ())
        if targets:
            known = said.get(each.name)
            said[each.name] = (
                _Said(about=each, targets=targets)
                if known is None
                else dataclasses.replace(known, targets=tuple(dict.fromkeys((*known.targets, *targets))))
            )
    return list(said.values())


def _first_come(said: Iterable[_Said]) -> list[_Said]:
    """Without the inputs that another dialect has taken before."""
    taken: set[Target] = set()
    kept: list[_Said] = []
    for each in said:
        targets = tuple(target for target in each.targets if target not in taken)
        taken.update(targets)
        if targets:
            kept.append(dataclasses.replace(each, targets=targets))
    return kept


def _primitives(graph: graphs.Graph, titled: Mapping[Target, str], found: Iterable[walking.Finding]) -> list[_Said]:
    """Titled primitives that the walk met, with the inputs that it joined to them, and those on the outermost level."""
    spoken = _joined(graph, list(_of_editor(graph, titled)), {})
    spoken.extend(
        _Said(about=each, targets=(Target(each.node, each.field),))
        for each in _scalars(graph, primitives.parameters(graph))
    )
    joined = {target: each for each in found if each.role in inference.SHARED for target in each.targets}
    reached = {target for each in found for target in each.targets}
    said: list[_Said] = []
    taken: set[Target] = set()
    for each in spoken:
        targets = tuple(target for target in each.targets if target not in taken)
        if not any(target in reached or ":" not in target.node for target in targets):
            continue
        more = (other for target in targets if target in joined for other in joined[target].targets)
        targets = tuple(dict.fromkeys((*targets, *(other for other in more if other not in taken))))
        taken.update(targets)
        said.append(dataclasses.replace(each, targets=targets))
    return said


def _of_editor(graph: graphs.Graph, titled: Mapping[Target, str]) -> Iterator[declared.Declared]:
    for target, title in titled.items():
        value = graph[target.node]["inputs"].get(target.input) if target.node in graph else None
        if isinstance(value, (str, int, float)):
            yield declared.Declared(name=title.lower(), node=target.node, field=target.input, title=title)


def _rest(found: Iterable[walking.Finding], taken: set[Target]) -> list[walking.Finding]:
    left = (
        dataclasses.replace(each, targets=tuple(target for target in each.targets if target not in taken))
        for each in found
    )
    return [each for each in left if each.targets]


# Parameters.


def _parameters(
    graph: graphs.Graph,
    catalog: object_info.NodeCatalog | None,
    said: Sequence[_Said],
    found: Iterable[walking.Finding],
    rest: Sequence[walking.Finding],
) -> tuple[model.Parameter, ...]:
    meanings = {target: each.role for each in found for target in each.targets}
    known = [next((meanings[target] for target in each.targets if target in meanings), None) for each in said]
    words = [
        declared.name_of(each.about.name) or role or str(each.about.type or "value")
        for each, role in zip(said, known, strict=True)
    ]
    names = list(inference.unique([*words, *(each.role for each in rest)]))
    spoken = [
        _parameter(graph, catalog, each, name, role) for each, name, role in zip(said, names, known, strict=False)
    ]
    walked = [
        inference.parameter(graph, catalog, name=name, targets=each.targets, role=each.role)
        for each, name in zip(rest, names[len(said) :], strict=True)
    ]
    return (*spoken, *walked)


def _parameter(
    graph: graphs.Graph, catalog: object_info.NodeCatalog | None, said: _Said, name: str, role: str | None
) -> model.Parameter:
    """As declared; what the author left open is as the input and its value have it."""
    about = said.about
    base = inference.parameter(graph, catalog, name=name, targets=said.targets, role=role)
    kind = _type(about, base)
    parameter = dataclasses.replace(
        base,
        type=kind,
        title=about.title or base.title,
        description=about.description,
        choices=about.choices if kind == ParameterType.CHOICE and about.choices else base.choices,
        multiline=about.multiline or base.multiline,
        required=about.required if about.required is not None else kind in FILE_TYPES,
        **_bounds(about, base, kind),
    )
    if parameter.required or kind in FILE_TYPES or kind == ParameterType.SEED:
        return dataclasses.replace(parameter, default=None)
    literal = graph[said.targets[0].node]["inputs"][said.targets[0].input]
    default = float(literal) if kind == ParameterType.FLOAT and declared.number_of(literal) is not None else literal
    return dataclasses.replace(parameter, default=default if values.takes(parameter, default) else None)


def _type(about: declared.Declared, base: model.Parameter) -> ParameterType:
    if about.type is None or (about.type == ParameterType.CHOICE and not about.choices):
        return base.type
    if about.type == ParameterType.FILE and base.type in FILE_TYPES:
        return base.type
    # A seed that is given as any number would be the same for every order.
    is_seed = about.type == ParameterType.INTEGER and base.type == ParameterType.SEED
    return ParameterType.SEED if is_seed else about.type


def _bounds(about: declared.Declared, base: model.Parameter, kind: ParameterType) -> dict[str, float | None]:
    if kind not in NUMBER_TYPES:
        return {"minimum": None, "maximum": None, "step": None}
    low = about.minimum if about.minimum is not None else base.minimum
    high = about.maximum if about.maximum is not None else base.maximum
    if kind == ParameterType.SEED:
        low = None if low is None or low <= 0 else low
        high = None if high is None or high >= model.MAX_SEED or high < (low or 0) else high
    if low is not None and high is not None and low > high:
        low = high = None
    return {"minimum": low, "maximum": high, "step": about.step if about.step is not None else base.step}


# Outputs.


def _outputs(graph: graphs.Graph, catalog: object_info.NodeCatalog | None) -> tuple[model.OutputSpec, ...]:
    """Named outputs, and with them the others of the graph; empty where nobody named one."""
    named = [(name, node) for name, node in (*titles.outputs(graph), *comfy_pack.outputs(graph)) if node in graph]
    if not named:
        return ()
    nodes = {node for _name, node in named}
    others = [each for each in inference.infer_outputs(graph, catalog) if each.node not in nodes]
    words = [declared.name_of(name) or "output" for name, _node in named] + [each.name for each in others]
    listed = [*(node for _name, node in named), *(each.node for each in others)]
    return tuple(
        model.OutputSpec(name=name, node=node, title=None if node in nodes else graphs.node_title(graph[node]))
        for name, node in zip(inference.unique(words), dict.fromkeys(listed), strict=False)
    )
