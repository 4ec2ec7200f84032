"""What this package works with; the composition root puts it together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from gateway import ports
from gateway.domain import model
from gateway.domain.comfy import object_info

Known = Mapping[model.WorkerId, object_info.NodeCatalog | None]  #: None: it has told nothing yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Ties:
    """The world of the templates."""

    files: ports.TemplateFiles
    store: ports.Templates
    workers: Callable[[], Known]  #: what each worker has told of itself
    #: A worker's whole `GET /object_info`, asked for anew; WorkerError.
    object_info: Callable[[model.WorkerId], Awaitable[Mapping[str, object]]]
    clock: ports.Clock
