"""Template + inputs → a graph that names only assets of the caller, or every fault at once."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, Generic, TypeVar

from gateway import assets
from gateway.domain import errors, model
from gateway.domain.comfy import graph as graphs
from gateway.domain.templates import binding, values
from gateway.domain.templates import model as templates

Probe = Callable[[bytes], object]  #: raises InvalidInputs when the bytes are no picture; slow, called in a thread

_PICTURES: Final = frozenset({templates.ParameterType.IMAGE, templates.ParameterType.MASK})
_REMEMBERED: Final = 4096

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A template with values, ready to be queued."""

    template: templates.Template
    graph: graphs.Graph
    inputs: Mapping[str, Any]  #: as used; ordering them again makes the same graph
    assets: tuple[model.AssetId, ...]
    seed_parameter: str | None


class Planner:
    """Binds templates; stores what came inside the inputs, and looks at every picture once."""

    def __init__(self, library: assets.Assets, *, probe: Probe, draw_seed: Callable[[], int], image_bytes: int) -> None:
        self._library = library
        self._probe = probe
        self._draw_seed = draw_seed
        self._image_bytes = image_bytes
        self._pictures = _Recent[str, bool]()  #: hashes of what the probe has passed
        self._kept = _Recent[tuple[str, str], str]()  #: tenant and digest of inline bytes → asset id

    async def plan(self, tenant: model.TenantId, template: templates.Template, inputs: object) -> Plan:
        """The template with these inputs; InvalidInputs or MissingAsset with every fault."""
        bound, faults = self._bind(template, inputs)
        bound = await self._with_uploads(tenant, bound)
        used = await self._library.usable(tenant, [use.asset_id for use in bound.assets])
        faults = [
            *faults,
            *_missing(bound, used),
            *await self._inline_faults(bound.inline),
            *await self._asset_faults(bound, used),
        ]
        if faults:
            missing = [use.asset_id for use in bound.assets if use.asset_id not in used]
            raise refusal(template.name, [_with_place(template, fault) for fault in faults], missing_ids=missing)
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

    def _bind(self, template: templates.Template, inputs: object) -> tuple[binding.Bound, list[errors.Fault]]:
        try:
            return binding.bind(template, inputs, draw_seed=self._draw_seed), []
        except errors.InvalidInputs as error:
            if not error.faults:
                raise
            return binding.Bound(template=template, values=_readable_files(template, inputs)), list(error.faults)

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

    # Pictures.

    async def _inline_faults(self, inline: Iterable[values.Inline]) -> list[errors.Fault]:
        found: list[errors.Fault] = []
        for item in inline:
            if item.media_type.startswith("image/"):
                found += await self._picture_faults(_digest(item.data), item.data, item.parameter)
        return found

    async def _asset_faults(self, bound: binding.Bound, used: Mapping[str, model.Asset]) -> list[errors.Fault]:
        found: list[errors.Fault] = []
        for use in bound.assets:
            parameter, asset = bound.template.parameter(use.parameter), used.get(use.asset_id)
            if asset is None or parameter is None or parameter.type not in _PICTURES or asset.hash in self._pictures:
                continue
            if asset.size_bytes > self._image_bytes:
                message = f"The picture has more than {self._image_bytes} bytes."
                found.append(errors.Fault(reason="too_large", message=message, parameter=use.parameter))
                continue
            data = b"".join([chunk async for chunk in self._library.chunks(asset)])
            found += await self._picture_faults(asset.hash, data, use.parameter)
        return found

    async def _picture_faults(self, key: str, data: bytes, parameter: str) -> list[errors.Fault]:
        if key in self._pictures:
            return []
        try:
            await asyncio.to_thread(self._probe, data)
        except errors.InvalidInputs as error:
            return [dataclasses.replace(fault, parameter=parameter) for fault in error.faults]
        self._pictures.put(key, True)
        return []

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


class _Recent(Generic[K, V]):
    """The entries used last, up to a bound."""

    def __init__(self) -> None:
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return self.get(key) is not None

    def get(self, key: K) -> V | None:
        """The value, which counts as used now."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Remember a value; the one that was not used for longest may go."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > _REMEMBERED:
            self._entries.popitem(last=False)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def _readable_files(template: templates.Template, inputs: object) -> dict[str, Any]:
    """The files among inputs that were refused for something else: what is wrong with them is told as well."""
    if not isinstance(inputs, dict):
        return {}
    found: dict[str, Any] = {}
    for parameter in template.parameters:
        given = inputs.get(parameter.name)
        if given is None or not values.is_file(parameter):
            continue
        try:
            found[parameter.name] = values.read(parameter, given, values.Limits())
        except values.Refused:
            continue
    return found


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
