"""What the store's contract tests order, lease and choose."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import uuid_utils

from gateway import ports
from gateway.domain import model
from gateway.domain.comfy.graph import Requirements
from gateway.domain.states import Outcome

TENANT: Final = model.DEFAULT_TENANT
OTHER: Final = model.TenantId("other")
PLAIN: Final = Requirements(classes=frozenset({"SaveImage"}))
RARE: Final = Requirements(classes=frozenset({"SaveImage", "RareNode"}))
OWNER: Final = "host"

OpenStore = Callable[[], Awaitable[ports.Store]]


@dataclass(slots=True)
class Clock:
    """A clock that stands still until it is moved."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def new_id() -> str:
    return str(uuid_utils.uuid7())


def new_job(clock: Clock, **fields: Any) -> model.NewJob:
    """A job as submission would order it."""
    plain: dict[str, Any] = {
        "id": model.JobId(new_id()),
        "tenant": TENANT,
        "created_at": clock.now,
        "expires_at": clock.now + 3600,
        "graph": b'{"1":{"class_type":"SaveImage","inputs":{}}}',
        "requirements": PLAIN,
    }
    return model.NewJob(**{**plain, **fields})


def new_batch(clock: Clock, **fields: Any) -> model.NewBatch:
    plain: dict[str, Any] = {"id": model.BatchId(new_id()), "created_at": clock.now}
    return model.NewBatch(**{**plain, **fields})


def new_asset(clock: Clock, **fields: Any) -> model.Asset:
    """An upload."""
    plain: dict[str, Any] = {
        "id": model.AssetId(new_id()),
        "tenant": TENANT,
        "hash": f"blake3:{new_id().replace('-', '') * 2}",
        "size_bytes": 3,
        "content_type": "image/png",
        "created_at": clock.now,
    }
    return model.Asset(**{**plain, **fields})


def new_output(clock: Clock, job_id: model.JobId, **fields: Any) -> model.NewOutput:
    """An output of a job, as dispatch would record it."""
    plain: dict[str, Any] = {
        "asset": new_asset(clock, job_id=job_id),
        "node_id": "9",
        "name": "picture.png",
        "type": model.OutputType.IMAGE,
        "index": 0,
    }
    return model.NewOutput(**{**plain, **fields})


def ending(clock: Clock, outcome: Outcome, **fields: Any) -> model.Ending:
    """An attempt's end, now."""
    plain: dict[str, Any] = {"outcome": outcome, "reason": f"it {outcome}", "ended_at": clock.now}
    return model.Ending(**{**plain, **fields})


def one_each(candidates: Sequence[model.Candidate], slots: Sequence[model.Slot]) -> list[model.Assignment]:
    """The plainest placement: in order, each worker the first job that it accepts."""
    taken: set[str] = set()
    chosen: list[model.Assignment] = []
    for slot in slots:
        for candidate in candidates:
            if candidate.job_id not in taken and candidate.requirements_key in slot.accepts:
                taken.add(candidate.job_id)
                chosen.append(model.Assignment(job_id=candidate.job_id, worker=slot.worker, reason="first"))
                break
    return chosen


async def lease(
    store: ports.Store,
    *names: str,
    owner: str = OWNER,
    seconds: float = 60.0,
    accepts: Iterable[Requirements] = (PLAIN, RARE),
    **slot: Any,
) -> list[model.Slot]:
    """Add the workers where they are new, lease them, and offer a slot on each that we hold."""
    known = {worker.id for worker in await store.workers.all()}
    for name in names:
        if name not in known:
            await store.workers.put(new_worker(name))
    held = await store.workers.lease([model.WorkerId(name) for name in names], owner=owner, seconds=seconds)
    keys = frozenset(needed.key for needed in accepts)
    return [model.Slot(worker=worker, epoch=epoch, accepts=keys, **slot) for worker, epoch in sorted(held.items())]


def new_worker(name: str, **fields: Any) -> model.Worker:
    plain: dict[str, Any] = {
        "id": model.WorkerId(name),
        "url": f"http://{name}.invalid:8188",
        "kind": model.WorkerKind.REMOTE,
        "created_at": 5.0,
    }
    return model.Worker(**{**plain, **fields})


async def claim(
    store: ports.Store, slots: Sequence[model.Slot], clock: Clock, choose: ports.Choose = one_each
) -> tuple[model.Claim, ...]:
    """Claim for the slots, now."""
    return (await store.queue.claim(slots, choose, now=clock.now, new_id=new_id)).claims


async def submit_one(store: ports.Store, clock: Clock, **fields: Any) -> model.Job:
    """Queue one job."""
    (job,) = await store.jobs.submit([new_job(clock, **fields)])
    return job


async def run_one(
    store: ports.Store, clock: Clock, slots: Sequence[model.Slot], outcome: Outcome, **fields: Any
) -> model.Job:
    """Claim the next job and end its attempt."""
    (taken,) = await claim(store, slots[:1], clock)
    return await store.queue.settle(taken.attempt.id, ending(clock, outcome, **fields))


async def cancel_batch(
    store: ports.Store, batch_id: str, *, now: float, tenant: model.TenantId = TENANT
) -> list[model.Canceled]:
    """Cancel a batch; what this changed."""
    return [one async for chunk in store.jobs.cancel_batch(tenant, batch_id, now=now) for one in chunk]


def later(asset: model.Asset, expires_at: float | None) -> model.Asset:
    return replace(asset, expires_at=expires_at)
