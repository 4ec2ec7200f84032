"""Editor's files become graphs by what a worker tells of its node classes. Each is converted once and kept, until no
worker describes these classes as they were described then: another ComfyUI's editor would post something else.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Final

import structlog

from gateway.authoring import ties
from gateway.domain import errors, model
from gateway.domain.templates import drafts, records

_log = structlog.get_logger("gateway.templates")
_EARLY_SECONDS: Final = 60.0  #: from the start, in which workers are waited for that have not told yet
_NO_WORKER = (
    "it is in the format of ComfyUI's editor, and no worker is known whose node classes tell what it becomes. Start or "
    "add a worker, or export it with *Export (API)*."
)


class Conversions:
    """Graphs of editor's files."""

    def __init__(self, known: ties.Ties) -> None:
        self._ties = known
        self._kept: dict[str, records.Converted] = {}
        self._early_until = known.clock() + _EARLY_SECONDS
        self._told: dict[model.WorkerId, Mapping[str, object]] = {}  #: while there is much to convert

    async def of(self, draft: drafts.Draft) -> records.Converted:
        """The draft's graph, as workers are now. TemplateError with all that stands against it, in the words of the
        worker that comes nearest; TemplateWaiting while no worker can be asked."""
        if draft.workflow is not None:
            return draft.workflow
        key = await asyncio.to_thread(lambda: draft.conversion)
        kept = self._kept.get(key) or await self._ties.store.conversion(key)
        if kept is None or self.is_outdated(kept):
            kept = await self._anew(draft, kept)
            await self._ties.store.keep_conversion(key, kept)
        self._kept[key] = kept
        return kept

    def is_outdated(self, converted: records.Converted) -> bool:
        """Whether workers have all the classes, and none describes them as they were when this was converted. A worker
        that lacks one of them has no say; for one that has not told yet nothing changes while it is early."""
        if self.is_early:
            return False
        catalogs = {catalog.digest: catalog for catalog in self._ties.workers().values() if catalog is not None}
        told = [catalog.classes for catalog in catalogs.values() if converted.shapes.keys() <= catalog.classes.keys()]
        same = (all(known[name].shape == shape for name, shape in converted.shapes.items()) for known in told)
        return bool(told) and not any(same)

    @property
    def is_early(self) -> bool:
        """Whether the gateway has just started and a worker may still tell that it is as it was."""
        return self._ties.clock() < self._early_until and None in self._ties.workers().values()

    async def _anew(self, draft: drafts.Draft, before: records.Converted | None) -> records.Converted:
        try:
            made = await self._converted(draft)
        except errors.TemplateWaiting:  # they went while we asked
            if before is None:
                raise
            return before
        if before is None or not _is_same(before, made):
            return made
        return dataclasses.replace(before, shapes=made.shapes)  # the same, whatever the nodes are called now

    def rest(self) -> None:
        """Nothing more is to be converted for now: let go of what workers told, which is large."""
        self._told.clear()

    async def _converted(self, draft: drafts.Draft) -> records.Converted:
        refused: list[errors.TemplateError] = []
        for worker in self._different():
            info = await self._asked(worker)
            if info is None:
                continue
            try:
                return await asyncio.to_thread(drafts.converted, draft, info)
            except errors.TemplateError as error:
                refused.append(error)
        if refused:
            raise min(refused, key=lambda error: len(error.faults))
        raise errors.TemplateWaiting(_NO_WORKER)

    def _different(self) -> list[model.WorkerId]:
        """One worker for each set of node classes."""
        found = {
            catalog.digest: worker
            for worker, catalog in sorted(self._ties.workers().items(), reverse=True)
            if catalog is not None
        }
        return sorted(found.values())

    async def _asked(self, worker: model.WorkerId) -> Mapping[str, object] | None:
        try:
            if worker not in self._told:
                self._told[worker] = await self._ties.object_info(worker)
            return self._told[worker]
        except (errors.WorkerError, errors.NotFound) as error:
            _log.info("object_info_not_told", worker=worker, reason=error.message)
            return None


def _is_same(one: records.Converted, other: records.Converted) -> bool:
    """Whether both would run alike: the same classes with the same inputs."""
    return one.titled == other.titled and _content(one) == _content(other)


def _content(converted: records.Converted) -> Mapping[str, object]:
    return {node: (each["class_type"], each["inputs"]) for node, each in converted.graph.items()}
