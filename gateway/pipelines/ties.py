"""What leading pipelines is tied to; the composition root puts it together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway import assets, ports
from gateway.domain import model
from gateway.domain.pipelines import model as pipelines
from gateway.domain.pipelines import moves


class Finished(Protocol):
    """A picture that was finished."""

    @property
    def data(self) -> bytes:
        """Its bytes."""
        ...

    @property
    def suffix(self) -> str:
        """The end of its file's name, as in `.webp`."""
        ...


Finish = Callable[[bytes, pipelines.Finish], Finished]  #: blocks; InvalidRequest for what is no picture


class OrderStep(Protocol):
    """Queues the job of a step that runs on a worker."""

    async def __call__(
        self, parent: model.Job, planned: moves.Planned, inputs: Mapping[str, Any], *, plan: moves.Plan
    ) -> model.Job:
        """The job, under the id that `step_id` gives; one that is there already is Conflict. All that ordering a
        template may raise."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ties:
    """The world of pipelines."""

    store: ports.Pipelines
    jobs: ports.Jobs
    bus: ports.Bus
    assets: assets.Assets
    outgoing: ports.Outgoing
    order: OrderStep
    finish: Finish
    clock: ports.Clock
    owner: str
