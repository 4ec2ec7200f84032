"""Making a claimed job's graph ready for one worker: its input assets uploaded there, its output prefix its own."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import orjson

from gateway import assets, ports
from gateway.domain import errors, model
from gateway.domain.comfy import graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What following a prompt needs to know of its graph: classes by node id, in its order, the model files it loads,
    and the nodes whose results a worker may have cached: not those that save, whose prefix is the job's own."""

    classes: dict[str, str]
    loaders: dict[str, frozenset[str]]  #: model files by the node that names them, of the nodes that run
    cacheable: frozenset[str]

    @property
    def models(self) -> tuple[str, ...]:
        """All model files."""
        return tuple(sorted(frozenset[str]().union(*self.loaders.values())))

    def reused(self, cached: Collection[str]) -> bool:
        """Whether a run with these nodes cached made nothing anew."""
        return bool(self.cacheable) and self.cacheable <= set(cached)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A graph to send, as JSON bytes."""

    graph: bytes
    outline: Outline


@dataclass(slots=True, kw_only=True)
class Inputs:
    """Puts assets on one worker, each content once a boot, under a name made from its hash: the same bytes never get
    two names, so ComfyUI's own cache of loaded inputs keeps working across jobs."""

    client: ports.WorkerClient
    assets: assets.Assets
    _names: dict[str, asyncio.Task[str]] = field(default_factory=dict[str, asyncio.Task[str]])

    async def ready(self, claim: model.Claim, folder: str) -> Ready:
        """The claim's graph as this worker takes it.

        MissingAsset when an input was deleted meanwhile; WorkerError when an upload fails.
        """
        whole = graph.Graph(orjson.loads(claim.graph))  # checked when it was submitted
        wanted = list(dict.fromkeys(reference.asset_id for reference in graph.asset_references(whole)))
        if wanted:
            whole = graph.replace_assets(whole, await self._upload_all(claim.tenant, wanted))
        whole = graph.rewrite_prefixes(whole, folder)
        return Ready(graph=orjson.dumps(whole), outline=outline_of(whole))

    async def _upload_all(self, tenant: model.TenantId, wanted: list[str]) -> dict[str, str]:
        found = await self.assets.many(tenant, wanted)
        missing = [asset_id for asset_id in wanted if asset_id not in found]
        if missing:
            raise errors.MissingAsset("an input of this job was deleted before it ran", missing_ids=missing)
        names = await asyncio.gather(*(self._upload(found[asset_id]) for asset_id in wanted))
        return dict(zip(wanted, names, strict=True))

    async def _upload(self, asset: model.Asset) -> str:
        """The asset's name on the worker, uploading it at most once; concurrent jobs share the upload."""
        suffix = PurePosixPath(asset.file_path or "").suffix.lower()
        key = f"{asset.hash}{suffix}"
        task = self._names.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            name = f"{asset.hash.removeprefix('blake3:')[:32]}{suffix}"
            task = asyncio.create_task(self.client.upload(name, self.assets.chunks(asset)))
            self._names[key] = task
        return await asyncio.shield(task)

    def forget(self) -> None:
        """The worker may have lost its files (it restarted): upload again from now on."""
        self._names = {key: task for key, task in self._names.items() if not task.done()}


def stored_outline(data: bytes) -> Outline:
    """The outline of a stored graph, for following a prompt that was sent before we started."""
    return outline_of(graph.Graph(orjson.loads(data)))


def outline_of(whole: graph.Graph) -> Outline:
    """The outline of a graph."""
    reached = graph.reached_nodes(whole)
    saving = {node for node, body in whole.items() if isinstance(body["inputs"].get("filename_prefix"), str)}
    return Outline(
        classes={node: str(body["class_type"]) for node, body in whole.items()},
        loaders=graph.loaders(whole, reached),
        cacheable=reached - saving,
    )
