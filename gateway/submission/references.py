"""What a graph says about files, turned into assets of the caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway import assets
from gateway.domain import errors, model
from gateway.domain.comfy import graph as graphs
from gateway.domain.templates import binding
from gateway.submission import checks

_PICTURES: Final = frozenset({"image", "mask"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An asset that a node will load as a picture."""

    asset: model.Asset
    node: str
    class_type: str
    field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A graph whose references are all the caller's, and the assets that it refers to."""

    graph: graphs.Graph
    assets: tuple[model.AssetId, ...]
    pictures: tuple[Picture, ...]


async def resolve(
    library: assets.Assets, tenant: model.TenantId, graph: graphs.Graph, facts: graphs.NodeFacts
) -> Resolved:
    """The graph with every literal that names an uploaded file made a reference.

    MissingAsset for references to what the caller does not have, InvalidWorkflow for names that leave the input
    folder. A name that no upload has stays: a worker may have that file.
    """
    fields = graphs.upload_fields(graph, facts)
    faults = tuple(checks.file_name_faults(fields))
    if faults:
        raise errors.InvalidWorkflow(f"The workflow cannot run. {faults[0].message}", faults=faults)
    references = graphs.asset_references(graph)
    used = await _require(library, tenant, references)
    uploads = await library.by_path(tenant, list(dict.fromkeys(item.value for item in fields if item.value)))
    named = [(item, uploads[item.value]) for item in fields if item.value in uploads]
    if named:
        values = {(item.node, item.field): binding.reference(asset.id) for item, asset in named}
        graph = graphs.replace_inputs(graph, values)
    ids = [*(item.asset_id for item in references), *(asset.id for _, asset in named)]
    return Resolved(
        graph=graph,
        assets=tuple(model.AssetId(asset_id) for asset_id in dict.fromkeys(ids)),
        pictures=(
            *(_picture(item, used[item.asset_id]) for item in references if _is_picture(item, facts)),
            *(_picture(item, asset) for item, asset in named if item.kind in _PICTURES),
        ),
    )


def _is_picture(item: graphs.AssetReference, facts: graphs.NodeFacts) -> bool:
    return graphs.upload_kind(item.class_type, item.field, facts) in _PICTURES


def _picture(item: graphs.AssetReference | graphs.UploadField, asset: model.Asset) -> Picture:
    return Picture(asset=asset, node=item.node, class_type=item.class_type, field=item.field)


async def _require(
    library: assets.Assets, tenant: model.TenantId, references: Sequence[graphs.AssetReference]
) -> Mapping[str, model.Asset]:
    found = await library.usable(tenant, list(dict.fromkeys(item.asset_id for item in references)))
    faults = [
        errors.Fault(
            reason="missing_asset",
            message=f"There is no asset {item.asset_id[:100]!r} of yours.",
            node=item.node,
            class_type=item.class_type,
            field=item.field,
        )
        for item in references
        if item.asset_id not in found
    ]
    if faults:
        missing = list(dict.fromkeys(item.asset_id for item in references if item.asset_id not in found))
        raise errors.MissingAsset(
            f"The workflow refers to assets that you do not have: {', '.join(missing)[:500]}",
            missing_ids=missing,
            faults=faults,
        )
    return found
