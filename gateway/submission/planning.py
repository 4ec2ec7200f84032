"""Template + inputs → a graph that names only assets of the caller, or every fault at once."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from gateway import assets
from gateway.domain import errors, model
from gateway.domain.comfy import graph as graphs
from gateway.domain.templates import binding, values
from gateway.domain.templates import model as templates
from gateway.submission import pictures, recent

_PICTURES: Final = frozenset({templates.ParameterType.IMAGE, templates.ParameterType.MASK})

#: Why no known worker would run a template's graph.
Refusals = Callable[[templates.Template, graphs.Graph], Sequence[errors.Fault]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A template with values, ready to be queued."""

    template: templates.Template
    graph: graphs.Graph
    inputs: Mapping[str, Any]  #: as used; ordering them again makes the same graph
    assets: tuple[model.AssetId, ...]
    seed_parameter: str | None


class Planner:
    """Binds templates; stores what came inside the inputs."""

    def __init__(
        self,
        library: assets.Assets,
        seen: pictures.Pictures,
        *,
        draw_seed: Callable[[], int],
        refusals: Refusals,
    ) -> None:
        self._library = library
        self._pictures = seen
        self._draw_seed = draw_seed
        self._refusals = refusals
        self._kept = recent.Recent[tuple[str, str], str]()  #: tenant and digest of inline bytes → asset id

    async def plan(self, tenant: model.TenantId, template: templates.Template, inputs: object) -> Plan:
        """The template with these inputs; InvalidInputs or MissingAsset with every fault, those included for which no
        known worker would take the rest."""
        bound, faults = binding.read(template, inputs, draw_seed=self._draw_seed)
        bound = await self._with_uploads(tenant, bound)
        used = await self._library.usable(tenant, [use.asset_id for use in bound.assets])
        faults = [
            *faults,
            *_missing(bound, used),
            *[fault async for fault in self._picture_faults(bound, used)],
        ]
        if faults:
            missing = [use.asset_id for use in bound.assets if use.asset_id not in used]
            faults = [*(_with_place(template, fault) for fault in faults), *self._besides(bound, faults)]
            raise refusal(template.name, faults, missing_ids=missing)
        stored = await self._store(tenant, bound.inline)
        ids = (*(use.asset_id for use in bound.assets), *stored.values())
        return Plan(
            template=template,
            graph=bound.graph(stored),
            inputs=bound.inputs(stored),
            assets=tuple(model.AssetId(asset_id) for asset_id in dict.fromkeys(ids)),
            seed_parameter=bound.seed_parameter,
        )

    def repeat(self, plan: Plan, *, seed: int) -> Plan:
        """The same order with another seed; InvalidInputs when the template does not take that one."""
        if plan.seed_parameter is None:
            return plan
        inputs = {**plan.inputs, plan.seed_parameter: seed}
        bound = binding.bind(plan.template, inputs, draw_seed=self._draw_seed)
        return dataclasses.replace(plan, graph=bound.graph(), inputs=bound.inputs())

    def refused(self, plan: Plan) -> Sequence[errors.Fault]:
        """Why no known worker would run it."""
        return self._refusals(plan.template, plan.graph)

    def _besides(self, bound: binding.Bound, faults: Sequence[errors.Fault]) -> list[errors.Fault]:
        """What no worker would take of the values that nothing else is wrong with."""
        if bound.template.pipeline is not None:
            return []
        blamed = {fault.parameter for fault in faults}
        graph = bound.graph({item.parameter: item.parameter for item in bound.inline})
        found = self._refusals(bound.template, graph)
        return [fault for fault in found if fault.parameter is None or fault.parameter not in blamed]

    async def _with_uploads(self, tenant: model.TenantId, bound: binding.Bound) -> binding.Bound:
        """With the asset in place of each name that an upload has."""
        if not bound.paths:
            return bound
        found = await self._library.by_path(tenant, list(dict.fromkeys(use.path for use in bound.paths)))
        uploads = {
            use.parameter: values.AssetUse(parameter=use.parameter, asset_id=found[use.path].id)
            for use in bound.paths
            if use.path in found
        }
        return dataclasses.replace(bound, values={**bound.values, **uploads})

    async def _picture_faults(
        self, bound: binding.Bound, used: Mapping[str, model.Asset]
    ) -> AsyncIterator[errors.Fault]:
        """What is wrong with what was given for pictures, inline or as assets."""
        for name, value in bound.values.items():
            parameter = bound.template.parameter(name)
            if parameter is None or parameter.type not in _PICTURES:
                continue
            found: Sequence[errors.Fault] = ()
            if isinstance(value, values.Inline):
                found = await self._pictures.faults_of_bytes(_digest(value.data), value.data)
            elif isinstance(value, values.AssetUse) and value.asset_id in used:
                found = await self._pictures.faults_of_asset(used[value.asset_id])
            for fault in found:
                yield dataclasses.replace(fault, parameter=name)

    # Bytes that came with the order.

    async def _store(self, tenant: model.TenantId, inline: Sequence[values.Inline]) -> dict[str, str]:
        keys = {item.parameter: (str(tenant), _digest(item.data)) for item in inline}
        known = {key: kept for key in keys.values() if (kept := self._kept.get(key)) is not None}
        there = await self._library.usable(tenant, list(dict.fromkeys(known.values())))
        ids = {key: asset_id for key, asset_id in known.items() if asset_id in there}
        for item in inline:
            key = keys[item.parameter]
            if key not in ids:
                ids[key] = await self._keep(tenant, item)
                self._kept.put(key, ids[key])
        return {parameter: ids[key] for parameter, key in keys.items()}

    async def _keep(self, tenant: model.TenantId, item: values.Inline) -> str:
        suffix = PurePosixPath(item.file_name).suffix
        asset = await self._library.keep_input(tenant, item.data, content_type=item.media_type, suffix=suffix)
        return asset.id


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def _missing(bound: binding.Bound, used: Mapping[str, model.Asset]) -> list[errors.Fault]:
    return [
        errors.Fault(
            reason="missing_asset",
            message=f"There is no asset {use.asset_id[:100]!r} of yours.",
            parameter=use.parameter,
        )
        for use in bound.assets
        if use.asset_id not in used
    ]


def _with_place(template: templates.Template, fault: errors.Fault) -> errors.Fault:
    """The fault with the first input that its parameter sets."""
    parameter = template.parameter(fault.parameter or "")
    if fault.node is not None or parameter is None or not parameter.targets:
        return fault
    target = parameter.targets[0]
    class_type = template.graph[target.node]["class_type"]
    return dataclasses.replace(fault, node=target.node, field=target.input, class_type=class_type)


def refusal(template: str, faults: Sequence[errors.Fault], *, missing_ids: Sequence[str] = ()) -> errors.InvalidRequest:
    """All faults as one error: MissingAsset, as the contract wants it, when nothing else is wrong."""
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    first = f"{faults[0].parameter}: {faults[0].message}" if faults[0].parameter else faults[0].message
    message = f"The inputs do not fit the template {template}. {first}{more}"
    if all(fault.reason == "missing_asset" for fault in faults):
        return errors.MissingAsset(message, missing_ids=list(dict.fromkeys(missing_ids)), faults=faults)
    return errors.InvalidInputs(message, faults=faults)
